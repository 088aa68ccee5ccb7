"""What every component must hold, whoever wrote it."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.adapter import Adapter, Need
from tlhub.artifact import load
from tlhub.backbone import Backbone
from tlhub.case import Case, baseline_of
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints, sha256
from tlhub.data import NO_LABEL, Dataset
from tlhub.errors import UserError
from tlhub.head import Head
from tlhub.randomness import seed_all
from tlhub.run import Run, open_data
from tlhub.score import TransferScore
from tlhub.selection import Selection
from tlhub.settings import describe
from tlhub.symptom import Finding, Symptom
from tlhub.testing.toys import toy_catalog, toy_manifest
from tlhub.train import train
from tlhub.validator import Validator
from tlhub.watch import Watch


class _Contract:
    """What holds for a component of any kind."""

    component: ClassVar[type[Any]]
    settings: ClassVar[Mapping[str, Any]] = {}

    def make(self) -> Any:
        """A fresh instance."""
        seed_all(0, "contract")
        return self.component(**self.settings)

    def test_every_setting_is_described(self) -> None:
        facts = describe(self.component)
        assert facts.summary, "the docstring's first sentence says what the component is"
        assert [s.name for s in facts.settings if not s.description] == [], "settings without a line under `Args:`"

    def test_an_instance_remembers_its_settings(self) -> None:
        made = self.make()
        assert made.spec["use"] == self.component.name
        assert {key: made.settings[key] for key in self.settings} == dict(self.settings)
        assert copy.deepcopy(made).settings == made.settings


class BackboneContract(_Contract):
    """A backbone: features of the width it says, stages that cover it, preprocessing that repeats.

    `example` is a raw input; by default a small image, or a vector of `vector_width`.
    """

    component: ClassVar[type[Backbone]]
    vector_width: ClassVar[int] = 4

    def network(self) -> Backbone:
        """The network of a fresh instance, which may only say where that is found."""
        made: Backbone = self.make()
        return made.resolved()

    def example(self, number: int = 0) -> Any:
        """A raw input of the backbone's modality."""
        import numpy as np
        from PIL import Image

        generator = np.random.default_rng(number)
        if self.component.modality == "image":
            return Image.fromarray(generator.integers(0, 255, (40, 48, 3), dtype=np.uint8))
        if self.component.modality == "text":
            return " ".join(generator.choice(["good", "bad", "book", "film"], 5 + number))
        return generator.normal(size=self.vector_width).astype("float32")

    def batch(self, backbone: Backbone, rows: int = 3, train: bool = False) -> Any:
        """A collated batch."""
        preprocess = backbone.preprocess(train)
        return backbone.collate([preprocess(self.example(number)) for number in range(rows)])

    def test_features_have_the_width_it_says(self) -> None:
        backbone = self.network().eval()
        features = backbone(self.batch(backbone))
        assert features.shape == (3, backbone.width)
        assert torch.isfinite(features).all()

    def test_an_example_does_not_depend_on_its_neighbours_in_evaluation(self) -> None:
        backbone = self.network().eval()
        with torch.inference_mode():
            together = backbone(self.batch(backbone))
            alone = backbone(self.batch(backbone, rows=1))
        torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-4)

    def test_stages_hold_every_parameter_once(self) -> None:
        backbone = self.network()
        staged = [name for stage in backbone.stages() for name in stage]
        assert sorted(staged) == sorted(name for name, _ in backbone.named_parameters())
        assert all(stage for stage in backbone.stages()), "no stage is empty"

    def test_preprocessing_for_evaluation_is_not_random(self) -> None:
        assert not self.network().preprocess(train=False).random

    def test_preprocessing_repeats_under_the_same_seed(self) -> None:
        preprocess = self.network().preprocess(train=True)
        made = []
        for _ in range(2):
            seed_all(1, "augmentation")
            made.append(preprocess(self.example()))
        torch.testing.assert_close(made[0], made[1], rtol=0, atol=0)

    def test_equal_preprocessing_compares_equal(self) -> None:
        backbone = self.network()
        first, second = backbone.preprocess(train=False), backbone.preprocess(train=False)
        assert first == second
        assert hash(first) == hash(second)

    def test_preprocessing_travels_to_other_processes(self) -> None:
        for training in (False, True):
            preprocess = self.network().preprocess(training)
            assert pickle.loads(pickle.dumps(preprocess)) == preprocess

    def test_it_can_be_built_again_without_its_weights(self) -> None:
        backbone = self.network()
        again = type(backbone)(**backbone.rebuild())
        assert again.state_dict().keys() == backbone.state_dict().keys()
        again.load_state_dict(backbone.state_dict())
        again.eval()
        backbone.eval()
        with torch.inference_mode():
            torch.testing.assert_close(backbone(self.batch(backbone)), again(self.batch(again)))

    def test_the_gradient_reaches_every_parameter(self) -> None:
        backbone = self.network().train()
        if not list(backbone.parameters()):  # it hands on what it is given
            return
        backbone(self.batch(backbone)).square().sum().backward()
        without = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
        assert without == []


class DatasetContract(_Contract):
    """A data set: it opens every split, hides labels when asked to, and says the same each time."""

    component: ClassVar[type[Dataset]]

    def test_every_split_opens(self) -> None:
        dataset = self.make()
        for split in dataset.splits() or [None]:
            examples = dataset.open(split, labels=True)
            assert len(examples.inputs) > 0
            assert examples.inputs[0] is not None
            assert examples.where(0)

    def test_labels_count_through_the_class_names(self) -> None:
        dataset = self.make()
        for split in dataset.splits() or [None]:
            examples = dataset.open(split, labels=True)
            assert examples.labels is not None
            assert len(examples.labels) == len(examples.inputs)
            labels = torch.as_tensor(examples.labels)
            if examples.classes is None:
                assert labels.ndim == 1
                assert labels.is_floating_point(), "labels without classes are numbers to be predicted"
                continue
            if labels.is_floating_point():
                assert labels.shape == (len(examples.inputs), len(examples.classes))
                assert set(labels.flatten().tolist()) <= {0.0, 1.0}
            else:
                assert set(labels.flatten().tolist()) <= {*range(len(examples.classes)), NO_LABEL}
            assert len(set(examples.classes)) == len(examples.classes)
            assert dataset.class_names() in (None, examples.classes)

    def test_hidden_labels_are_not_there(self) -> None:
        dataset = self.make()
        for split in dataset.splits() or [None]:
            hidden = dataset.open(split, labels=False)
            assert hidden.labels is None
            assert len(hidden.inputs) == len(dataset.open(split, labels=True).inputs)

    def test_it_says_the_same_each_time(self) -> None:
        split = next(iter(self.make().splits()), None)
        first, second = (self.make().open(split, labels=True) for _ in range(2))
        assert first.fingerprint == second.fingerprint
        assert first.labels is not None
        assert second.labels is not None
        assert torch.equal(torch.as_tensor(first.labels), torch.as_tensor(second.labels))

    def test_examples_travel_to_other_processes(self) -> None:
        dataset = self.make()
        for split in dataset.splits() or [None]:
            examples = dataset.open(split, labels=True)
            there = pickle.loads(pickle.dumps(examples))
            assert len(there.inputs) == len(examples.inputs)
            assert there.inputs[0] is not None
            assert there.where(0) == examples.where(0)

    def test_it_names_its_modality(self) -> None:
        assert isinstance(self.make().modality, str)


class HeadContract(_Contract):
    """A neck or head: it maps `[rows, features]` to `[rows, width]`."""

    component: ClassVar[type[Head]]

    def test_the_answer_has_the_width_it_says(self) -> None:
        head = self.make()
        assert head(torch.randn(4, self.settings.get("features", 8))).shape == (4, head.width)


@cache
def _catalog(kind: str, component: type[Any]) -> Catalog:
    """The toys and the component that is tried; looking for plugins takes a while."""
    return toy_catalog(**{kind: [component]})


class AdapterContract(_Contract):
    """An adapter: it trains, touches nothing it must not, resumes exactly, and leaves a model that loads.

    `modality` chooses the toys it is tried on, images or texts; their layers have the same names. `others` are adapters
    it cannot do without; `manifest` may be overridden where the toys do not fit.
    """

    component: ClassVar[type[Adapter]]
    modality: ClassVar[Literal["image", "text"]] = "image"
    others: ClassVar[list[Mapping[str, Any]]] = []

    def manifest(self, **train: Any) -> dict[str, Any]:
        """What it is tried on."""
        adapters = [*self.others, {"use": self.component.name, **self.settings}]
        return toy_manifest(adapters, self.modality, **train)

    def catalog(self) -> Catalog:
        """The components it is tried with."""
        return _catalog("adapters", self.component)  # type: ignore[arg-type]  # a class can be hashed

    def compose(self, **train: Any) -> Run:
        """A fresh run."""
        catalog = self.catalog()
        loaded = manifests.from_dict(self.manifest(**train), catalog=catalog)
        return Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))

    def test_it_trains_and_the_model_loads_to_the_same_logits(self, tmp_path: Path) -> None:
        run = self.compose()
        train(run, Checkpoints(tmp_path / "checkpoints"), Watch())
        images = [run.sources[0].raw(number) for number in range(4)]
        folder = tmp_path / "out"
        adapt(self.manifest(), out=folder, catalog=self.catalog(), baseline=False)
        loaded = load(folder, "cpu", self.catalog())
        preprocess = run.model.backbone.preprocess(train=False)
        with torch.inference_mode():
            expected = run.model.eval()(run.model.backbone.collate([preprocess(image) for image in images]))
        torch.testing.assert_close(loaded.logits(images), expected, rtol=1e-5, atol=1e-5)

    def test_a_resumed_training_equals_an_uninterrupted_one(self, tmp_path: Path) -> None:
        whole, stopped = self.compose(), self.compose(checkpoint_every=1)
        train(whole, Checkpoints(tmp_path / "whole"), Watch())
        for stop in range(1, stopped.steps):
            _train_until(stopped, stop, tmp_path / "stopped")
            stopped = self.compose(checkpoint_every=1)
        train(stopped, Checkpoints(tmp_path / "stopped"), Watch())
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, stopped.model.state_dict()[name]), name

    def test_two_runs_are_equal(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            adapt(self.manifest(), out=tmp_path / name, catalog=self.catalog(), baseline=False)
        assert sha256(tmp_path / "first/model.safetensors") == sha256(tmp_path / "second/model.safetensors")

    def test_what_is_frozen_stays_bit_for_bit(self, tmp_path: Path) -> None:
        run = self.compose(weight_decay=0.1)
        frozen = {n for n, p in run.model.named_parameters() if not p.requires_grad}
        for prefix, module in run.model.named_modules(remove_duplicate=False):
            learns = [parameter.requires_grad for parameter in module.parameters()]
            if learns and not any(learns):  # then its buffers, such as running statistics, stay too
                frozen |= {f"{prefix}.{name}" for name, _ in module.named_buffers()}
        before = {name: value.clone() for name, value in run.model.state_dict().items() if name in frozen}
        changed: set[str] = set()

        class Looking(Watch):
            def epoch(self, row: Mapping[str, Any]) -> None:  # before `finish`, which may change the structure
                now = run.model.state_dict()
                changed.update(name for name, value in before.items() if not torch.equal(now[name], value))

        train(run, Checkpoints(tmp_path), Looking())
        assert changed == set()

    def test_it_has_its_say_in_the_loss_or_the_model(self) -> None:
        kind = self.component
        training = ("pretrain", "start_round", "start_epoch", "weights", "penalty", "end_round")
        moments = ("modify", "prepare", *training, "finish")
        assert any(getattr(kind, moment) is not getattr(Adapter, moment) for moment in moments)


class ValidatorContract(_Contract):
    """A validator: its score is finite and depends on the model alone, and training with it resumes exactly.

    `modality` chooses the toys it is tried on, images or texts; `manifest` may be overridden where they do not fit.
    """

    component: ClassVar[type[Validator]]
    modality: ClassVar[Literal["image", "text"]] = "image"

    def manifest(self, **train: Any) -> dict[str, Any]:
        """What it is tried on; target labels are shown to a validator that needs them."""
        written = toy_manifest([{"use": "mmd"}], self.modality, **train)
        if Need.TARGET_LABELS in self.component.needs:
            written["target"]["labels"] = "all"
        return {**written, "select": {"use": self.component.name, **self.settings}}

    def compose(self, **train: Any) -> Run:
        """A fresh run."""
        catalog = _catalog("validators", self.component)
        loaded = manifests.from_dict(self.manifest(**train), catalog=catalog)
        return Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))

    def test_the_score_is_finite_and_needs_no_global_generator(self) -> None:
        run = self.compose()
        assert run.validator is not None
        scores = []
        for number in range(2):
            seed_all(number, "something else")
            scores.append(run.validator.score(run.task, Selection(run, Watch()).evidence()))
        assert math.isfinite(scores[0])
        assert scores[0] == scores[1]

    def test_scoring_leaves_the_model_as_it_was(self) -> None:
        run = self.compose()
        assert run.validator is not None
        run.model.train()
        before = {name: value.clone() for name, value in run.model.state_dict().items()}
        training = [module.training for module in run.model.modules()]
        run.validator.score(run.task, Selection(run, Watch()).evidence())
        assert [module.training for module in run.model.modules()] == training
        assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())

    def test_every_epoch_is_scored_and_the_model_loads(self, tmp_path: Path) -> None:
        catalog = _catalog("validators", self.component)
        result = adapt(self.manifest(epochs=3), out=tmp_path / "out", catalog=catalog, baseline=False)
        history = load(result.folder, "cpu", catalog).record["history"]
        assert [math.isfinite(row["selection"]) for row in history] == [True] * 3

    def test_a_resumed_training_equals_an_uninterrupted_one(self, tmp_path: Path) -> None:
        whole, stopped = self.compose(), self.compose(checkpoint_every=1)
        scores = [row["selection"] for row in train(whole, Checkpoints(tmp_path / "whole"), Watch())]
        for stop in range(1, stopped.steps):
            _train_until(stopped, stop, tmp_path / "stopped")
            stopped = self.compose(checkpoint_every=1)
        history = train(stopped, Checkpoints(tmp_path / "stopped"), Watch())
        assert [row["selection"] for row in history] == scores
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, stopped.model.state_dict()[name]), name


class TransferScoreContract(_Contract):
    """A score of transfer: larger where classes are told apart, and a finite number or a refusal in words."""

    component: ClassVar[type[TransferScore]]

    def given(self, separation: float, examples: int = 60, classes: int = 3) -> tuple[Tensor, Tensor]:
        """Features, or probabilities, and labels; the farther apart, the easier the classes are to tell."""
        seed_all(0, "contract")
        labels = torch.arange(examples) % classes
        features = torch.randn(examples, classes) + separation * torch.eye(classes)[labels]
        return (features if self.component.reads == "features" else features.softmax(1)), labels

    def test_what_tells_the_classes_apart_scores_higher(self) -> None:
        score = self.make()
        assert score.measure(*self.given(4.0)) > score.measure(*self.given(0.0))

    def test_the_order_of_the_examples_does_not_matter(self) -> None:
        given, labels = self.given(1.0)
        order = torch.randperm(len(labels))
        score = self.make()
        assert math.isclose(score.measure(given[order], labels[order]), score.measure(given, labels), abs_tol=0.05)

    def test_the_same_examples_have_the_same_score(self) -> None:
        found = []
        for number in range(2):
            given, labels = self.given(1.0)
            seed_all(number, "something else")
            found.append(self.make().measure(given, labels))
        assert found[0] == found[1]

    def test_what_it_cannot_score_is_finite_or_refused(self) -> None:
        _, labels = self.given(1.0)
        for given in (torch.full((len(labels), 3), 1 / 3), torch.eye(3)[labels]):
            with suppress(UserError):
                assert math.isfinite(self.make().measure(given, labels))


class SymptomContract(_Contract):
    """A symptom: its findings are sentences with a mend where there is something to mend, and looking changes nothing.

    It is tried on small adaptations of images and of texts, with a baseline and without, and on a training without a
    target.
    """

    component: ClassVar[type[Symptom]]

    def cases(self) -> list[Case]:
        """What it is tried on."""
        adapted = [_toy_case(modality, ("mmd", "dann")) for modality in ("image", "text")]
        return [*adapted, Case(adapted[0].after, None, adapted[0].catalog), _toy_case("image", ())]

    def test_it_looks_at_something(self) -> None:
        kind = self.component
        assert kind.watch is not Symptom.watch or kind.examine is not Symptom.examine

    def test_it_has_nothing_to_say_before_the_first_epoch(self) -> None:
        assert self.make().watch([]) is None

    def test_what_it_finds_is_told_in_sentences(self) -> None:
        for case in self.cases():
            for finding in (self.make().examine(case), self.make().watch(case.history)):
                if finding is not None:
                    assert finding.symptom == self.component.name
                    assert _sentence(finding.measured)
                    assert _sentence(finding.meaning)
                    assert _sentence(finding.mend) if finding.ill else not finding.mend
                    assert Finding(**json.loads(json.dumps(finding.as_dict()))) == finding

    def test_looking_again_finds_the_same_and_leaves_the_models_as_they_were(self) -> None:
        for case in self.cases():
            models = [adapted.model for adapted in (case.before, case.after) if adapted is not None]
            before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
            seed_all(0, "something")
            first = self.make().examine(case)
            seed_all(1, "something else")
            assert self.make().examine(case) == first
            for model, state in zip(models, before, strict=True):
                assert not any(module.training or module._forward_pre_hooks for module in model.modules())
                assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def _sentence(text: str) -> bool:
    return text[:1] == text[:1].upper() and text.endswith(".")


@cache
def _toy_case(modality: Literal["image", "text"], adapters: tuple[str, ...]) -> Case:
    """A finished adaptation of the toys; without adapters, a training on the source alone."""
    catalog, manifest = toy_catalog(), toy_manifest([{"use": name} for name in adapters], modality)
    if not adapters:
        del manifest["target"]
    with TemporaryDirectory() as folder:
        result = adapt(manifest, out=Path(folder) / "out", device="cpu", keep=False, catalog=catalog)
        after = load(result.folder, "cpu", catalog)
        return Case(after, baseline_of(after, "cpu", catalog), catalog)


class _KilledError(Exception):
    """Stands for whatever ends a training between two steps."""


def _train_until(run: Run, stop: int, folder: Path) -> None:
    """Train until `stop` steps are done, then leave as a kill would: with the checkpoints alone."""

    class Killer(Watch):
        def step(self, done: int) -> None:
            if done >= stop:
                raise _KilledError

    try:
        train(run, Checkpoints(folder), Killer())
    except _KilledError:
        return
    raise AssertionError("training was not stopped")
