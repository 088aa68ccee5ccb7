"""The training loop: what a step does, what stops it, and what it does not depend on."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.adapter import Adapter
from tlhub.checkpoint import Checkpoints, sha256
from tlhub.errors import TrainingError, UserError
from tlhub.run import Run, open_data
from tlhub.step import Step, View
from tlhub.task import Task
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.testing.toys import ToyNet
from tlhub.train import make_optimizer, train
from tlhub.validator import Evidence, Validator
from tlhub.watch import Watch

from .conftest import Command
from .tables import write_images

PLAIN = {"use": "lenet", "fc": False, "dropout": 0.0}
"""A network without batch normalisation or dropout, on images that are not augmented."""
FROZEN = {"use": "partial_freeze", "stages": "all"}


class Breaking(Adapter):
    """Adds a term whose value or gradient stops being finite.

    Args:
        value: what the term is.
    """

    name = "breaking"
    at: ClassVar[int] = 3
    """The step in which that happens; not a setting, so that a resumed run may be luckier."""

    def __init__(self, value: str = "nan") -> None:
        super().__init__()
        self.value = value

    def penalty(self, step: Step) -> Tensor:
        nothing = step.source.features.sum() * 0
        if step.number != self.at:
            return nothing
        return nothing.sqrt() if self.value == "gradient" else nothing + float(self.value)


class Noting(Adapter):
    """Notes every step, and changes nothing.

    Args:
        tap: a layer of the backbone to look at.
    """

    name = "noting"
    steps: ClassVar[list[Step]] = []

    def __init__(self, tap: str | None = None) -> None:
        super().__init__()
        self.tap = tap

    def prepare(self, run: Run) -> None:
        if self.tap is not None:
            run.model.tap(self.tap)

    def penalty(self, step: Step) -> None:
        self.steps.append(step)


class Weighing(Adapter):
    """Weighs every example alike, or by its position.

    Args:
        weight: what every example counts; null: 1 at even positions, 0 at odd ones.
    """

    name = "weighing"

    def __init__(self, weight: float | None = None) -> None:
        super().__init__()
        self.weight = weight

    def weights(self, view: View) -> Tensor:
        if self.weight is not None:
            return torch.full((len(view),), self.weight)
        return (view.indices % 2 == 0).float()


class Scripted(Validator):
    """Scores epochs as the test says."""

    name = "scripted"
    script: ClassVar[list[float]] = []

    def __init__(self) -> None:
        self.left = iter(self.script)

    def score(self, task: Task, seen: Evidence) -> float:
        return next(self.left)


class CountingNet(ToyNet):
    """The toy network, which counts how often it is asked."""

    name = "counting_net"
    calls: ClassVar[list[int]] = []

    def forward(self, inputs: Any) -> Tensor:
        self.calls.append(len(inputs))
        return super().forward(inputs)


CATALOG = toy_catalog(adapters=[Breaking, Noting, Weighing], validators=[Scripted], backbones=[CountingNet])


class Ended(Exception):  # noqa: N818 - not an error: the test ends training
    """Stands for a kill between two steps."""


class Seeing(Watch):
    """Keeps the weights after every step and every epoch, and ends training after `last` steps."""

    def __init__(self, run: Run, last: int | None = None) -> None:
        self.run, self.last = run, last
        self.after_step: dict[int, dict[str, Tensor]] = {0: state(run.model)}
        self.after_epoch: list[dict[str, Tensor]] = []

    def step(self, done: int) -> None:
        self.after_step[done] = state(self.run.model)
        if done == self.last:
            raise Ended

    def epoch(self, row: Mapping[str, Any]) -> None:
        self.after_epoch.append(state(self.run.model))


@pytest.fixture(autouse=True)
def _forget() -> None:
    Noting.steps.clear()
    CountingNet.calls.clear()


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def composed(
    *adapters: Any, backbone: Mapping[str, Any] | None = None, parts: Mapping[str, Any] | None = None, **settings: Any
) -> Run:
    written = toy_manifest((), **settings)
    written["adapters"] = list(adapters)
    written["backbone"] = dict(backbone or {"use": "toy_net", "augment": False})
    loaded = manifests.from_dict({**written, **(parts or {})}, catalog=CATALOG)
    return Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Run, list[dict[str, Any]]]]:
    """Composes a run and trains it; gives it with its history."""

    def trained(*adapters: Any, **settings: Any) -> tuple[Run, list[dict[str, Any]]]:
        run = composed(*adapters, **settings)
        return run, train(run, Checkpoints(tmp_path_factory.mktemp("checkpoints")), Watch())

    return trained


Trained = Callable[..., tuple[Run, list[dict[str, Any]]]]


def assert_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


class TestNotFinite:
    """What is not finite stops training before the optimizer steps."""

    @pytest.mark.parametrize(("value", "named"), [("nan", "`breaking`"), ("inf", "`breaking`"), ("gradient", "")])
    def test_the_weights_are_those_before_the_step(self, value: str, named: str, tmp_path: Path) -> None:
        run = composed({"use": "breaking", "value": value})
        watch = Seeing(run)
        with pytest.raises(TrainingError) as error:
            train(run, Checkpoints(tmp_path), watch)
        assert f"the loss term {named or '`gradient`'} is not finite in step 4" in error.value.message
        assert max(watch.after_step) == 3
        learned = dict(run.model.named_parameters())
        assert_equal({name: watch.after_step[3][name] for name in learned}, learned)

    def test_the_last_checkpoint_is_finite_and_resumes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained
    ) -> None:
        checkpoints = Checkpoints(tmp_path)
        with pytest.raises(TrainingError, match="the last checkpoint is from before"):
            train(composed("breaking", checkpoint_every=1), checkpoints, Watch())
        kept, _ = checkpoints.latest()
        assert kept is not None
        assert kept.facts["step"] == 3
        assert all(value.isfinite().all() for value in kept.tensors.values())
        monkeypatch.setattr(Breaking, "at", -1)
        run = composed("breaking", checkpoint_every=1)
        train(run, checkpoints, Watch())
        whole, _ = trained("breaking", checkpoint_every=1)
        assert_equal(state(run.model), state(whole.model))

    def test_no_checkpoint_is_promised_where_there_is_none(self, trained: Trained) -> None:
        with pytest.raises(TrainingError) as error:
            trained("breaking")
        assert "checkpoint" not in str(error.value)

    def test_the_command_names_the_term(self, tmp_path: Path, tlhub: Command) -> None:
        write_images(tmp_path / "images")
        (tmp_path / "manifest.yaml").write_text(
            "backbone: {use: lenet, fc: false}\n"
            "source: {use: imagefolder, path: images}\ntarget: {use: imagefolder, path: images}\n"
            "adapters: [{use: mmd, strength: 1e39}]\ntrain: {epochs: 1, steps_per_epoch: 2, batch: 4}\n"
        )
        done = tlhub("adapt", "manifest.yaml", "--no-baseline", "--out", "out")
        assert done.returncode == 2
        assert "the loss term `mmd` is not finite in step 1" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out/tlhub.json").exists()


class TestAccumulation:
    """A batch computed in parts is the same batch, or is refused."""

    def test_four_parts_train_as_the_whole_does(self, trained: Trained) -> None:
        settings = {"backbone": PLAIN, "optimizer": "sgd", "weight_decay": 0.01, "clip": 1.0}
        adapter = {"use": "dann", "hidden": 8}
        (whole, history), (parts, in_parts) = (trained(adapter, accumulate=n, **settings) for n in (1, 4))
        start = state(composed(adapter, **settings).model)
        for name, value in whole.model.state_dict().items():
            assert not torch.equal(value, start[name]), f"{name} learned nothing"
            torch.testing.assert_close(parts.model.state_dict()[name], value, rtol=1e-5, atol=1e-6)
        for term, value in history[-1]["loss"].items():
            assert in_parts[-1]["loss"][term] == pytest.approx(value, rel=1e-4)

    @pytest.mark.parametrize(
        ("adapters", "settings", "words"),
        [
            (["mmd"], {"backbone": PLAIN}, "`accumulate` would change what `mmd` computes"),
            ([{"use": "dann", "batch_norm": True}], {"backbone": PLAIN}, "would change what `dann` computes"),
            ([], {}, "would change batch normalisation (`backbone.layer1.1`)"),
            ([], {"backbone": PLAIN, "accumulate": 3}, "`accumulate: 3` does not divide `batch: 8`"),
        ],
        ids=["mmd", "dann with batch norm", "batch norm", "no divisor"],
    )
    def test_what_would_train_otherwise_is_refused(
        self, adapters: list[Any], settings: dict[str, Any], words: str, trained: Trained
    ) -> None:
        with pytest.raises(UserError) as error:
            trained(*adapters, **{"accumulate": 2, **settings})
        assert words in error.value.message

    def test_frozen_batch_norm_is_no_obstacle(self, trained: Trained) -> None:
        trained(FROZEN, accumulate=2)


class TestOptimizer:
    """What the optimizer is given in every step."""

    @pytest.fixture
    def seen(self) -> Iterator[list[list[dict[str, Any]]]]:
        """Every step's parameter groups, each with the norm of its gradients."""
        steps: list[list[dict[str, Any]]] = []

        def note(optimizer: torch.optim.Optimizer, *rest: Any) -> None:
            steps.append(
                [
                    {**group, "norm": torch.cat([p.grad.flatten() for p in group["params"]]).norm().item()}
                    for group in optimizer.param_groups
                ]
            )

        hook = register_optimizer_step_pre_hook(note)
        yield steps
        hook.remove()

    @pytest.mark.parametrize(
        ("settings", "shares"),
        [
            ({"schedule": "constant"}, [1.0] * 6),
            ({"schedule": "cosine"}, [(1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)]),
            ({"schedule": "dann"}, [(1 + 10 * step / 6) ** -0.75 for step in range(6)]),
            ({"schedule": "constant", "warmup": 4}, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
            ({"schedule": "cosine", "warmup": 2}, [0.5, *((1 + math.cos(math.pi * s / 6)) / 2 for s in range(1, 6))]),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    def test_schedules(
        self, settings: dict[str, Any], shares: list[float], optimizer: str, trained: Trained, seen: list[Any]
    ) -> None:
        trained(lr=0.02, backbone_lr=0.5, optimizer=optimizer, **settings)
        for factor in (0.5, 1.0):
            for step, share in zip(seen, shares, strict=True):
                rates = [group["lr"] for group in step if group["factor"] == factor]
                assert rates == [pytest.approx(0.02 * factor * share)] * 2

    @pytest.mark.parametrize(("fractions", "expected"), [(0.3, [0.3, 0.3]), ([0.1, 0.5], [0.1, 0.5])])
    def test_every_stage_of_the_backbone_learns_at_its_fraction(self, fractions: Any, expected: list[float]) -> None:
        run = composed("head_swap", {"use": "dann", "hidden": 8}, lr=0.02, backbone_lr=fractions)
        rate = {id(p): group["lr"] for group in make_optimizer(run).param_groups for p in group["params"]}
        for stage, fraction in zip(run.stages, expected, strict=True):
            assert [rate[id(p)] for p in stage] == [pytest.approx(0.02 * fraction)] * len(stage)
        fresh = [*run.model.head.parameters(), *run.adapters[1].parameters()]
        assert {rate[id(p)] for p in fresh} == {0.02}

    def test_a_stage_at_rate_zero_stays(self, trained: Trained) -> None:
        run, _ = trained(backbone_lr=[0.0, 1.0])
        start = dict(composed().model.named_parameters())
        moved = {name for name, value in run.model.named_parameters() if not torch.equal(value, start[name])}
        assert not any(name.startswith("backbone.layer1") for name in moved)
        assert {"backbone.layer2.0.weight", "head.linear.weight"} <= moved

    def test_a_list_of_another_length_is_refused(self, trained: Trained) -> None:
        with pytest.raises(UserError, match=r"lists 3 fractions; the backbone has 2 stages"):
            trained(backbone_lr=[1.0, 1.0, 1.0])

    def test_the_gradients_norm_is_bounded(self, trained: Trained, seen: list[Any]) -> None:
        def norms() -> list[float]:
            return [math.hypot(*(group["norm"] for group in step)) for step in seen]

        trained({"use": "dann", "hidden": 8})
        assert max(norms()) > 0.05
        seen.clear()
        _, history = trained({"use": "dann", "hidden": 8}, clip=0.05)
        assert max(norms()) <= 0.05 * 1.001
        assert history[0]["loss"]["gradient"] > 0.05, "what is told is the norm before"

    @pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
    def test_biases_and_normalisation_are_not_decayed(self, optimizer: str) -> None:
        run = composed({"use": "head_swap", "bottleneck": 4}, weight_decay=0.3, optimizer=optimizer)
        decay = {id(p): group["weight_decay"] for group in make_optimizer(run).param_groups for p in group["params"]}
        decayed = {name for name, value in run.model.named_parameters() if decay[id(value)] == 0.3}
        assert decayed == {
            "backbone.layer1.0.weight",
            "backbone.layer2.0.weight",
            "neck.layers.0.weight",
            "head.linear.weight",
        }
        assert {decay[id(value)] for name, value in run.model.named_parameters() if name not in decayed} == {0.0}


class TestSelection:
    """`select` keeps the best epoch, `patience` stops waiting for a better one."""

    def select(self, script: list[float], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **settings: Any) -> Any:
        monkeypatch.setattr(Scripted, "script", script)
        run = composed(parts={"select": "scripted"}, epochs=6, steps_per_epoch=1, **settings)
        watch = Seeing(run)
        return run, watch, train(run, Checkpoints(tmp_path), watch)

    def test_the_best_epochs_weights_are_kept_of_equals_the_last(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        run, watch, history = self.select([0.1, 0.2, 0.6, 0.3, 0.6, 0.5], monkeypatch, tmp_path)
        assert [row["selection"] for row in history] == [0.1, 0.2, 0.6, 0.3, 0.6, 0.5]
        assert_equal(state(run.model), watch.after_epoch[4])

    def test_training_stops_when_patience_ends(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        run, watch, history = self.select([0.1, 0.5, 0.4, 0.5, 0.9, 0.9], monkeypatch, tmp_path, patience=2)
        assert len(history) == 4, "an equal score is no better one"
        assert_equal(state(run.model), watch.after_epoch[3])

    def test_a_resumed_run_remembers_the_best_and_how_long_it_waited(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(Scripted, "script", [0.1, 0.5, 0.4])
        settings = {"epochs": 6, "steps_per_epoch": 2, "patience": 2, "checkpoint_every": 1}
        first = composed(parts={"select": "scripted"}, **settings)
        watch = Seeing(first, last=7)
        with pytest.raises(Ended):
            train(first, Checkpoints(tmp_path), watch)
        monkeypatch.setattr(Scripted, "script", [0.3, 0.9, 0.9])
        second = composed(parts={"select": "scripted"}, **settings)
        assert len(train(second, Checkpoints(tmp_path), Watch())) == 4
        assert_equal(state(second.model), watch.after_epoch[1])

    def test_what_is_held_out_is_not_trained_on(self, trained: Trained) -> None:
        run, _ = trained("noting", parts={"select": "source_score"}, validation=0.25)
        assert (len(run.sources[0]), len(run.held_out[0])) == (36, 12)
        assert not set(run.sources[0].rows.tolist()) & set(run.held_out[0].rows.tolist())
        assert {domain.key for step in Noting.steps for domain in step.source.domains} == {"source"}
        assert max(int(step.source.indices.max()) for step in Noting.steps) < 36


class TestDomains:
    """Every domain gives every step as many rows."""

    def test_several_sources_and_targets(self, trained: Trained) -> None:
        sources = [{"use": "toy_stripes", "seed": seed, "count": count} for seed, count in ((3, 20), (4, 50))]
        targets = [{"use": "toy_stripes", "seed": 5, "brightness": 60, "count": 30}, "toy_stripes"]
        run, history = trained("noting", "mmd", parts={"source": sources, "target": targets})
        assert run.steps_per_epoch == 3
        for step in Noting.steps:
            assert [view.domains[0].key for view in step.views] == ["source.0", "source.1", "target.0", "target.1"]
            assert [len(view) for view in step.views] == [8, 8, 8, 8]
            first, second = step.views[:2]
            assert torch.equal(step.source.features, torch.cat([first.features, second.features]))
            assert torch.equal(step.source.labels, torch.cat([first.labels, second.labels]))
            assert torch.equal(step.source.layer("backbone"), torch.cat([v.layer("backbone") for v in (first, second)]))
            assert (len(step.target), step.target.labels) == (16, None)
        task = [F.cross_entropy(step.source.logits, step.source.labels).item() for step in Noting.steps[:3]]
        assert history[0]["loss"]["task"] == pytest.approx(np.mean(task))

    def test_every_example_is_seen_once_an_epoch(self, trained: Trained) -> None:
        trained("noting", steps_per_epoch=6, epochs=1)
        assert sorted(torch.cat([step.source.indices for step in Noting.steps]).tolist()) == list(range(48))

    def test_an_epoch_is_as_long_as_the_largest_source(self) -> None:
        assert composed(steps_per_epoch=None).steps_per_epoch == 48 // 8

    def test_separate_batch_norm_leaves_the_targets_statistics(self, trained: Trained) -> None:
        run, _ = trained("noting", "mmd", batch_norm="separate", epochs=1, steps_per_epoch=1)
        start = composed("noting", "mmd").model.backbone
        preprocess = start.preprocess(train=False)
        indices = Noting.steps[0].target.indices.tolist()
        images = torch.stack([preprocess(run.targets[0].raw(index)) for index in indices])
        inner = start.layer1[0](images.float() / 255 - 0.5)
        norm = run.model.backbone.layer1[1]
        torch.testing.assert_close(norm.running_mean, 0.1 * inner.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * inner.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


class TestFrozenBackbone:
    """What cannot change is computed once, and nobody can tell."""

    net: ClassVar[dict[str, Any]] = {"use": "counting_net"}

    def test_features_are_computed_once(self, trained: Trained) -> None:
        trained(FROZEN, "mmd", backbone=self.net, epochs=5)
        assert CountingNet.calls == [48, 40]

    def test_they_give_what_a_stream_gives(self, trained: Trained) -> None:
        swap = {"use": "head_swap", "bottleneck": 4, "dropout": 0.5}
        stored, first = trained(FROZEN, swap, "mmd", "noting", backbone=self.net)
        calls = len(CountingNet.calls)
        streamed, second = trained(FROZEN, swap, "mmd", {"use": "noting", "tap": "layer1"}, backbone=self.net)
        assert len(CountingNet.calls) - calls == 6, "a tapped layer has to be computed in every step"
        for name, value in stored.model.state_dict().items():
            torch.testing.assert_close(streamed.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
        assert first[-1]["loss"] == pytest.approx(second[-1]["loss"], rel=1e-4)


class TestAdapters:
    """Adapters compose by one rule: product of the weights, sum of the penalties."""

    def test_weights_multiply(self, trained: Trained) -> None:
        first = {"epochs": 1, "steps_per_epoch": 1}
        _, alone = trained(**first)
        _, weighed = trained({"use": "weighing", "weight": 2}, {"use": "weighing", "weight": 3}, **first)
        assert weighed[0]["loss"]["task"] == pytest.approx(6 * alone[0]["loss"]["task"])
        assert weighed[0]["loss"]["gradient"] == pytest.approx(6 * alone[0]["loss"]["gradient"], rel=1e-4)

    def test_weights_scale_each_examples_loss_and_the_mean_is_over_all_examples(self, trained: Trained) -> None:
        _, history = trained({"use": "weighing", "weight": 3}, "weighing", "noting", epochs=1, steps_per_epoch=1)
        view = Noting.steps[0].source
        assert view.labels is not None
        losses = F.cross_entropy(view.logits.detach(), view.labels, reduction="none")
        expected = sum(3 * loss for loss, index in zip(losses, view.indices, strict=True) if index % 2 == 0) / 8
        assert history[0]["loss"]["task"] == pytest.approx(float(expected))

    def test_what_an_adapter_assigns_to_itself_is_trained_and_not_saved(self, tmp_path: Path, trained: Trained) -> None:
        adapter = {"use": "dann", "hidden": 8}
        start, (run, _) = state(composed(adapter).adapters[0]), trained(adapter)
        moved = {name for name, value in run.adapters[0].state_dict().items() if not torch.equal(value, start[name])}
        assert moved == set(start)
        result = adapt(toy_manifest([adapter]), out=tmp_path / "out", catalog=CATALOG, baseline=False)
        saved = load_file(result.folder / "model.safetensors")
        assert {name.partition(".")[0] for name in saved} == {"backbone", "head"}
        assert saved.keys() == run.model.state_dict().keys()

    def test_progress_runs_from_0_to_just_below_1(self, trained: Trained) -> None:
        trained("noting")
        assert [step.progress for step in Noting.steps] == [number / 6 for number in range(6)]
        assert [step.number for step in Noting.steps] == list(range(6))

    @pytest.mark.parametrize("last", [2, 3, 5])
    def test_progress_goes_on_where_it_stood(self, last: int, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path)
        first = composed("noting", checkpoint_every=1)
        with pytest.raises(Ended):
            train(first, checkpoints, Seeing(first, last))
        train(composed("noting", checkpoint_every=1), checkpoints, Watch())
        assert [step.progress for step in Noting.steps] == [number / 6 for number in range(6)]


class TestRandomness:
    """Results follow from the seed, and from nothing else."""

    augmented: ClassVar[dict[str, Any]] = {"use": "toy_net", "augment": True}

    def test_the_same_seed_gives_the_same_weights_and_another_seed_others(self, trained: Trained) -> None:
        runs = [trained("mmd", backbone=self.augmented, seed=seed)[0] for seed in (1, 1, 2)]
        first, second, other = (state(run.model) for run in runs)
        assert_equal(first, second)
        assert not torch.equal(first["head.linear.weight"], other["head.linear.weight"])

    def test_the_global_generators_neither_matter_nor_change(self, tmp_path: Path) -> None:
        made = []
        for seed in (1, 2):
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
            before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
            made.append(
                adapt(toy_manifest([{"use": "mmd"}]), out=tmp_path / str(seed), catalog=CATALOG, baseline=seed == 1)
            )
            assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
        assert len({sha256(result.folder / "model.safetensors") for result in made}) == 1


class TestPrecision:
    """bf16 is for the forward pass; weights stay in full precision."""

    def test_bf16_trains(self, trained: Trained) -> None:
        half, history = trained("mmd", {"use": "dann", "hidden": 8}, precision="bf16")
        full, _ = trained("mmd", {"use": "dann", "hidden": 8}, precision="fp32")
        assert all(math.isfinite(value) for row in history for value in row["loss"].values())
        assert {parameter.dtype for parameter in half.model.parameters()} == {torch.float32}
        assert all(value.isfinite().all() for value in half.model.state_dict().values())
        first, second = half.model.state_dict()["head.linear.weight"], full.model.state_dict()["head.linear.weight"]
        assert not torch.equal(first, second), "it was computed in half precision"
        torch.testing.assert_close(first, second, rtol=0.2, atol=0.05)
