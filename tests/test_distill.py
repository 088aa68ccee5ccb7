"""Distillation: the formulas against the papers, and teachers, students and their terms in real training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.special import rel_entr, softmax
from torch import Tensor

from tests import steps
from tests.gradients import Array, agree, normal
from tests.steps import accuracy, penalty, run_of, term_of_halves
from tests.tiny import state, train_run
from tlhub.adaptation import adapt
from tlhub.artifact import load
from tlhub.errors import ManifestError, SettingError, UserError
from tlhub.measure import outputs
from tlhub.run import Run, source_only
from tlhub.step import Step
from tlhub.testing import AdapterContract, toy_catalog, toy_manifest
from tlhub.testing.toys import CLASSES, ToyNet, ToyStripes
from tlhub.train import check
from tlhub.watch import Watch
from tlhub_distill.attention_transfer import AttentionTransfer, attention, attention_loss
from tlhub_distill.distillation import Distillation
from tlhub_distill.feature_distillation import FeatureDistillation, hint_loss
from tlhub_distill.lwf import LwF, old_loss
from tlhub_distill.relational_distillation import RelationalDistillation
from tlhub_distill.relations import angle_loss, cosines, distance_loss, distances
from tlhub_distill.self_distillation import SelfDistillation
from tlhub_distill.soft import distillation_loss, soft_answers

Modality = Literal["image", "text"]

ADAPTERS: list[type] = [
    Distillation,
    FeatureDistillation,
    AttentionTransfer,
    RelationalDistillation,
    LwF,
    SelfDistillation,
]


class Reversed(ToyStripes):
    """The stripes with their class names in the other order."""

    name = "reversed_stripes"

    def class_names(self) -> tuple[str, ...]:
        return CLASSES[::-1]

    def open(self, split: str | None, labels: bool) -> Any:
        from dataclasses import replace

        examples = super().open(split, labels)
        if not labels:
            return examples
        assert isinstance(examples.labels, list)
        return replace(examples, labels=[2 - label for label in examples.labels], classes=CLASSES[::-1])


CATALOG = toy_catalog(adapters=ADAPTERS, datasets=[Reversed])


# formulas


def huber(x: float, y: float) -> float:
    """Park et al. 2019, eq. 7."""
    return 0.5 * (x - y) ** 2 if abs(x - y) <= 1 else abs(x - y) - 0.5


class TestSoftAnswers:
    """Hinton et al. 2015."""

    STUDENT = torch.tensor([[1, 2, 3], [0, 0, 1]], dtype=torch.float64)
    TEACHER = torch.tensor([[3, 2, 1], [1, 0, -1]], dtype=torch.float64)

    def loss(self, temperature: float) -> float:
        return distillation_loss(self.STUDENT, soft_answers([self.TEACHER], temperature), temperature).item()

    def test_the_reference_value(self) -> None:
        assert self.loss(4) == pytest.approx(1.0390267825843862, rel=1e-10)

    def test_at_a_high_temperature_it_is_the_squared_difference_of_centred_logits(self) -> None:
        assert self.loss(1e4) == pytest.approx(1.0555555556, rel=1e-3)

    @pytest.mark.parametrize("temperature", [1.0, 2.5, 4.0])
    @pytest.mark.parametrize("teachers", [1, 3])
    def test_it_is_the_papers(self, temperature: float, teachers: int) -> None:
        said = [3 * normal(5, 4, seed=1 + number) for number in range(teachers)]

        def paper(student: Array) -> float:
            p = np.mean([softmax(each / temperature, axis=1) for each in said], axis=0)
            q = softmax(student / temperature, axis=1)
            return temperature**2 * float(np.mean([rel_entr(p[row], q[row]).sum() for row in range(5)]))

        told = soft_answers([torch.tensor(each) for each in said], temperature)
        agree(lambda student: distillation_loss(student, told, temperature), paper, normal(5, 4))

    def test_it_is_nothing_where_both_agree(self) -> None:
        assert distillation_loss(self.TEACHER, soft_answers([self.TEACHER, self.TEACHER + 5], 2), 2).item() < 1e-15

    def test_certain_answers_that_contradict_each_other_are_finite(self) -> None:
        student = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
        loss = distillation_loss(student, soft_answers([-student.detach()], 1), 1)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.item() == pytest.approx(2e4)
        assert student.grad is not None
        assert student.grad.isfinite().all()


def test_a_hint_is_half_the_squared_distance_over_the_width() -> None:
    """Romero et al. 2015, eq. 3, divided by the width."""
    hint = normal(5, 7, seed=1)

    def paper(guided: Array) -> float:
        return float(np.mean([np.linalg.norm(guided[row] - hint[row]) ** 2 / 2 / 7 for row in range(5)]))

    agree(lambda guided: hint_loss(guided, torch.tensor(hint)), paper, normal(5, 7))


class TestAttention:
    """Zagoruyko & Komodakis 2017, eq. 2."""

    def test_it_is_the_papers_squared(self) -> None:
        teacher = normal(3, 6, 4, 2, seed=1)

        def looked(maps: Array) -> Array:
            q = np.array([[sum(value**2 for value in maps[:, y, x]) for x in range(2)] for y in range(4)]).ravel()
            return np.asarray(q / np.sqrt((q**2).sum()))

        def paper(student: Array) -> float:
            rows = [((looked(student[row]) - looked(teacher[row])) ** 2).sum() / 8 for row in range(3)]
            return float(np.mean(rows))

        agree(lambda student: attention_loss(student, torch.tensor(teacher)), paper, normal(3, 5, 4, 2))

    def test_how_strong_activations_are_does_not_matter(self) -> None:
        maps = torch.randn(2, 3, 4, 4)
        torch.testing.assert_close(attention(maps), attention(10 * maps))

    def test_maps_without_activation_are_finite(self) -> None:
        maps = torch.zeros(2, 3, 4, 4, requires_grad=True)
        loss = attention_loss(maps, torch.randn(2, 5, 4, 4))
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert maps.grad is not None
        assert maps.grad.isfinite().all()


class TestRelations:
    """Park et al. 2019."""

    TEACHER = normal(6, 5, seed=1)

    def test_distances_are_the_papers(self) -> None:
        def paper(student: Array) -> float:
            ours, theirs = pdist(student), pdist(self.TEACHER)
            pairs = zip(ours / ours.mean(), theirs / theirs.mean(), strict=True)
            return float(np.mean([huber(x, y) for x, y in pairs]))

        teacher = distances(torch.tensor(self.TEACHER))
        agree(lambda student: distance_loss(distances(student), teacher), paper, normal(6, 3))

    def test_angles_are_the_papers(self) -> None:
        def angle(rows: Array, i: int, j: int, k: int) -> float:
            a, b = rows[i] - rows[j], rows[k] - rows[j]
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

        def paper(student: Array) -> float:
            triples = [(i, j, k) for i in range(6) for j in range(6) for k in range(6) if len({i, j, k}) == 3]
            return float(np.mean([huber(angle(student, *each), angle(self.TEACHER, *each)) for each in triples]))

        teacher = distances(torch.tensor(self.TEACHER))
        agree(lambda student: angle_loss(distances(student), teacher), paper, normal(6, 3))

    def test_a_right_angle(self) -> None:
        found = cosines(distances(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])))
        assert found[0, 1, 2].item() == pytest.approx(0, abs=1e-6)
        assert found[1, 0, 2].item() == pytest.approx(1 / math.sqrt(5))

    def test_turned_moved_and_scaled_features_have_the_same_relations(self) -> None:
        rows = torch.tensor(self.TEACHER)
        turn = torch.linalg.qr(torch.tensor(normal(5, 5, seed=3))).Q
        ours, theirs = distances(3 * rows @ turn + 7), distances(rows)
        assert distance_loss(ours, theirs).item() < 1e-20
        assert angle_loss(ours, theirs).item() < 1e-20

    @pytest.mark.parametrize("equal", [2, 6])
    def test_equal_rows_are_finite(self, equal: int) -> None:
        rows = torch.tensor(normal(6, 3)).float()
        rows[:equal] = rows[0].clone()
        rows.requires_grad_()
        teacher = distances(torch.tensor(self.TEACHER).float())
        loss = distance_loss(distances(rows), teacher) + angle_loss(distances(rows), teacher)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss.isfinite()
        assert rows.grad is not None
        assert rows.grad.isfinite().all()

    def test_an_offset_costs_no_digits_in_float32(self) -> None:
        rows = (torch.tensor(normal(32, 64)) + 100).float()
        teacher = torch.tensor(normal(32, 8, seed=2))

        def slope(student: Tensor) -> Tensor:
            student = student.clone().requires_grad_()
            ours, theirs = distances(student), distances(teacher.to(student))
            return torch.autograd.grad(distance_loss(ours, theirs) + angle_loss(ours, theirs), student)[0].double()

        exact = slope(rows.double())
        assert (slope(rows) - exact).norm() / exact.norm() < 1e-5


def test_what_the_old_model_said_is_learnt_by_the_papers_cross_entropy() -> None:
    """Li & Hoiem 2016, eq. 2 and 3: probabilities to the power of 1 / T, made to sum to 1."""
    old = normal(5, 4, seed=1)

    def powered(logits: Array) -> Array:
        p = softmax(logits, axis=1) ** (1 / 2)
        return np.asarray(p / p.sum(1, keepdims=True))

    def paper(logits: Array) -> float:
        rows = zip(powered(old), powered(logits), strict=True)
        return float(np.mean([-sum(y * math.log(q) for y, q in zip(*row, strict=True)) for row in rows]))

    agree(lambda logits: old_loss(logits, soft_answers([torch.tensor(old)], 2), 2), paper, normal(5, 4))


# runs


def written(*adapters: Mapping[str, Any], modality: Modality = "image", **train: Any) -> dict[str, Any]:
    """A manifest without augmentation or dropout, so that a step can be computed again."""
    return toy_manifest(adapters, modality, **{"precision": "fp32", **train})


def made(content: Mapping[str, Any]) -> Run:
    return run_of(content, CATALOG)


def compose(*adapters: Mapping[str, Any], **settings: Any) -> Run:
    return made(written(*adapters, **settings))


def step_of(run: Run, rows: int = 6) -> Step:
    """A step of the first rows of all domains; random parts off."""
    run.model.eval()
    return steps.step_of(run, rows)


def term(run: Run, step: Step) -> float:
    return penalty(run.adapters[0], step).item()


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Larger models, trained on what is the target of the runs: of images, of texts, and with classes reversed."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, modality in (("image", "image"), ("text", "text"), ("reversed", "image")):
        content = toy_manifest([], modality, epochs=6, steps_per_epoch=10, lr=0.03)  # type: ignore[arg-type]
        content["backbone"]["width"] = 16
        content["source"] = {**content["target"], "count": 96}
        if name == "reversed":
            content["source"]["use"] = "reversed_stripes"
        del content["target"], content["evaluate"]
        adapt(content, out=folder / name, catalog=CATALOG, baseline=False)
    return {path.name: str(path) for path in folder.iterdir()}


WITH_TEACHER: list[dict[str, Any]] = [
    {"use": "distillation"},
    {"use": "feature_distillation"},
    {"use": "attention_transfer", "layers": ["layer1", "layer2"]},
    {"use": "relational_distillation"},
    {"use": "lwf"},
]


class TestEveryAdapter:
    @pytest.mark.parametrize("adapter", WITH_TEACHER, ids=lambda adapter: adapter["use"])
    def test_a_place_on_the_hub_has_a_commit(self, adapter: dict[str, Any]) -> None:
        settings = {key: value for key, value in adapter.items() if key != "use"}
        with pytest.raises(UserError, match=r"names no commit(.|\n)*40 digits"):
            CATALOG.create("adapters", adapter["use"], {**settings, "teacher": "hub:someone/model@main"})

    @pytest.mark.parametrize("adapter", WITH_TEACHER[:4], ids=lambda adapter: adapter["use"])
    def test_the_source_only_baseline_is_the_student_without_teacher(
        self, adapter: dict[str, Any], teachers: dict[str, str]
    ) -> None:
        for on in ("target", "source", "all"):
            run = compose({**adapter, "teacher": teachers["image"], "on": on})
            assert source_only(run.manifest.adapters, "adapters", CATALOG) == []

    @pytest.mark.parametrize("adapter", WITH_TEACHER[:4], ids=lambda adapter: adapter["use"])
    def test_it_looks_at_the_domains_it_is_told(self, adapter: dict[str, Any], teachers: dict[str, str]) -> None:
        """The term of both is that of neither; without a target, the source is enough."""
        found = []
        for on in ("target", "source", "all"):
            run = compose({**adapter, "teacher": teachers["image"], "on": on})
            found.append(term(run, step_of(run)))
        assert len({round(value, 5) for value in found}) == 3
        if adapter["use"] in ("distillation", "attention_transfer"):  # a mean over rows, and nothing random in it
            assert found[2] == pytest.approx((found[0] + found[1]) / 2, rel=1e-4)
        alone = written({**adapter, "teacher": teachers["image"], "on": "source"})
        del alone["target"]
        run = made(alone)
        assert len(run.domains) == 1
        if adapter["use"] != "feature_distillation":  # whose regressor is drawn anew
            assert term(run, step_of(run)) == pytest.approx(found[1], rel=1e-5)

    def test_without_a_target_nothing_can_be_learnt_on_it(self, teachers: dict[str, str]) -> None:
        alone = written({"use": "distillation", "teacher": teachers["image"]})
        del alone["target"]
        with pytest.raises(ManifestError, match="`distillation` needs target examples"):
            made(alone)
        alone = written({"use": "distillation", "teacher": teachers["image"], "on": "source"})
        alone["target"]["labels"] = "all"
        del alone["source"]
        with pytest.raises(UserError, match="no source"):
            made(alone)

    @pytest.mark.parametrize("adapter", WITH_TEACHER, ids=lambda adapter: adapter["use"])
    def test_no_teacher_there(self, adapter: dict[str, Any], tmp_path: Path) -> None:
        with pytest.raises(UserError, match="is no adapted model"):
            compose({**adapter, "teacher": str(tmp_path)})

    def test_a_teacher_that_reads_something_else(self, teachers: dict[str, str]) -> None:
        with pytest.raises(UserError, match="reads text, but the run's examples are image"):
            compose({"use": "distillation", "teacher": teachers["text"]})

    @pytest.mark.parametrize("adapter", WITH_TEACHER[:4], ids=lambda adapter: adapter["use"])
    def test_a_teacher_never_trains(self, adapter: dict[str, Any], teachers: dict[str, str], tmp_path: Path) -> None:
        """Neither parameters nor running statistics: METHODS 1.20."""
        run = compose({**adapter, "teacher": teachers["image"]})
        held = [value.model for value in vars(run.adapters[0]).values() if hasattr(value, "model")]
        before = [state(model) for model in held]
        train_run(run, tmp_path)
        for model, was in zip(held, before, strict=True):
            assert not any(module.training for module in model.modules())
            assert all(torch.equal(value, was[name]) for name, value in model.state_dict().items())
        learning = {id(p) for p in [*run.model.parameters(), *run.adapters[0].parameters()]}
        assert not learning & {id(p) for model in held for p in model.parameters()}
        assert len(held) == (adapter["use"] == "attention_transfer"), "all others ask it before training"

    @pytest.mark.parametrize("name", ["distillation", "self_distillation", "lwf"])
    def test_answers_are_distilled_where_every_example_has_one_class(self, name: str, teachers: dict[str, str]) -> None:
        content = written({"use": name, **({} if name.startswith("self") else {"teacher": teachers["image"]})})
        with pytest.raises(UserError, match=rf"`{name}` needs the probabilities(.|\n)*regression(.|\n)*relational"):
            made({**content, "task": "regression", **_numbers(content)})


def _numbers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Its labelled domains, with classes that are numbers."""
    numbers = {name: str(number) for number, name in enumerate(CLASSES)}
    return {key: {**content[key], "classes": numbers} for key in ("source", "evaluate")}


class TestDistillation:
    def test_the_term_is_the_formula_of_what_the_teacher_says(self, teachers: dict[str, str]) -> None:
        run = compose({"use": "distillation", "teacher": teachers["image"], "temperature": 3, "strength": 2})
        step = step_of(run)
        teacher = load(teachers["image"], "cpu", CATALOG)
        said = teacher.logits([run.targets[0].raw(row) for row in range(6)])
        expected = 2 * distillation_loss(step.target.logits, soft_answers([said], 3), 3).item()
        assert term(run, step) == pytest.approx(expected, rel=1e-5)

    def test_several_teachers_are_averaged(self, teachers: dict[str, str]) -> None:
        places = [teachers["image"], teachers["reversed"]]
        run = compose({"use": "distillation", "teacher": places, "temperature": 1})
        step = step_of(run)
        raws = [run.targets[0].raw(row) for row in range(6)]
        said = [load(place, "cpu", CATALOG).logits(raws).softmax(1) for place in places]
        mean = (said[0] + said[1].flip(1)) / 2
        expected = (mean * (mean.log() - step.target.logits.log_softmax(1))).sum(1).mean().item()
        assert term(run, step) == pytest.approx(expected, rel=1e-4)

    def test_classes_are_matched_by_name(self, teachers: dict[str, str]) -> None:
        """A teacher whose classes are in another order teaches the right ones."""
        run = compose({"use": "distillation", "teacher": teachers["reversed"]})
        adapter = run.adapters[0]
        assert isinstance(adapter, Distillation)
        truth = torch.arange(40) % 3
        assert (adapter.table.argmax(1) == truth).float().mean() > 0.9

    def test_a_class_that_the_run_lacks_is_left_out(self, teachers: dict[str, str]) -> None:
        content = written({"use": "distillation", "teacher": teachers["image"]})
        content["source"]["classes"] = {"flat": None}
        content["evaluate"]["classes"] = {"flat": None}
        adapter = made(content).adapters[0]
        assert isinstance(adapter, Distillation)
        assert adapter.table.shape == (40, 2)
        torch.testing.assert_close(adapter.table.exp().sum(1), torch.ones(40))

    def test_a_class_that_the_teacher_lacks_is_told_with_both_lists(self, teachers: dict[str, str]) -> None:
        content = written({"use": "distillation", "teacher": teachers["image"]})
        content["source"]["classes"] = content["evaluate"]["classes"] = {"flat": "plain"}
        expected = r"lacks plain\n  the teacher: flat, left, right\n  the run: plain, left, right"
        with pytest.raises(UserError, match=expected):
            made(content)

    def test_another_network_with_another_preparation_teaches_too(
        self, teachers: dict[str, str], tmp_path: Path
    ) -> None:
        content = written(epochs=1)
        content["backbone"] = {"use": "lenet"}
        content["source"], content["name"] = content.pop("target"), "large"
        adapt(content, out=tmp_path / "lenet", catalog=CATALOG, baseline=False)
        run = compose({"use": "distillation", "teacher": str(tmp_path / "lenet")})
        teacher = load(tmp_path / "lenet", "cpu", CATALOG)
        said = soft_answers([outputs(teacher.model, run.targets[0], torch.device("cpu"), 0).logits], 4)
        assert isinstance(run.adapters[0], Distillation)
        assert torch.equal(run.adapters[0].table, said)
        assert teacher.model.backbone.preprocess(train=False) != run.model.backbone.preprocess(train=False)

    def test_the_student_comes_to_agree_with_the_teacher(self, teachers: dict[str, str], tmp_path: Path) -> None:
        """On a target without labels, which the source does not prepare it for."""
        found = []
        for strength in (3.0, 1e-9):
            adapter = {"use": "distillation", "teacher": teachers["image"], "strength": strength}
            run = compose(adapter, epochs=4, steps_per_epoch=10)
            train_run(run, tmp_path / str(strength))
            found.append(accuracy(run, "target"))
        assert found[0] > 0.9
        assert found[0] > found[1] + 0.1

    def test_it_is_accumulated_exactly(self, teachers: dict[str, str]) -> None:
        run = compose({"use": "distillation", "teacher": teachers["image"]})
        whole = step_of(run, 8)
        assert run.adapters[0].additive
        assert term_of_halves(run.adapters[0], whole) == pytest.approx(term(run, whole), rel=1e-5)


class TestFeatureDistillation:
    def test_the_teachers_features_can_be_told_from_the_students(
        self, teachers: dict[str, str], tmp_path: Path
    ) -> None:
        run = compose({"use": "feature_distillation", "teacher": teachers["image"]}, epochs=8, steps_per_epoch=10)
        adapter = run.adapters[0]
        assert isinstance(adapter, FeatureDistillation)
        assert tuple(adapter.regressor.weight.shape) == (16, 8)
        teacher = load(teachers["image"], "cpu", CATALOG)
        hint = outputs(teacher.model, run.targets[0], torch.device("cpu"), 0).features
        assert torch.equal(adapter.table, hint)
        history = [row["loss"]["feature_distillation"] for row in train_run(run, tmp_path)]
        unexplained = (hint - hint.mean(0)).square().mean().item() / 2  # by features that know nothing
        assert history[-1] < unexplained
        assert history[-1] < history[0] / 2

    def test_a_teacher_of_other_classes(self, teachers: dict[str, str]) -> None:
        content = written({"use": "feature_distillation", "teacher": teachers["image"]})
        content["source"]["classes"] = content["evaluate"]["classes"] = {"flat": "plain"}
        made(content)


class TestAttentionTransfer:
    LAYERS: ClassVar[dict[str, Any]] = {"use": "attention_transfer", "layers": ["layer1", "layer2"], "strength": 10}

    def test_the_term_is_the_formula_over_layers(self, teachers: dict[str, str]) -> None:
        run = compose({**self.LAYERS, "teacher": teachers["image"]})
        step = step_of(run)
        student, teacher = run.model.backbone, load(teachers["image"], "cpu", CATALOG).model.backbone
        assert isinstance(student, ToyNet)
        assert isinstance(teacher, ToyNet)
        images = step.target.inputs.float() / 255 - 0.5
        with torch.no_grad():
            ours, theirs = [[net.layer1(images), net.layer2(net.layer1(images))] for net in (student, teacher)]
        losses = [attention_loss(s, t).item() for s, t in zip(ours, theirs, strict=True)]
        assert term(run, step) == pytest.approx(5 * sum(losses), rel=1e-4)

    def test_layers_of_other_names(self, teachers: dict[str, str]) -> None:
        named = {"layers": ["layer1.0"], "teacher_layers": ["layer1.1"]}
        run = compose({**self.LAYERS, **named, "teacher": teachers["image"]})
        assert term(run, step_of(run)) > 0

    def test_the_teacher_sees_the_augmented_images_of_the_student(
        self, teachers: dict[str, str], tmp_path: Path
    ) -> None:
        """A student of the teacher's own weights, in evaluation mode, agrees with it in every step."""
        content = written({**self.LAYERS, "teacher": teachers["image"]}, {"use": "partial_freeze", "stages": "all"})
        content["backbone"]["width"] = 16
        run = made(content)
        run.model.backbone.load_state_dict(load(teachers["image"], "cpu", CATALOG).model.backbone.state_dict())
        assert run.model.backbone.preprocess(train=True).random
        history = train_run(run, tmp_path)
        assert history[0]["loss"]["attention_transfer"] == pytest.approx(0, abs=1e-10)

    def test_the_student_learns_where_to_look(self, teachers: dict[str, str], tmp_path: Path) -> None:
        adapter = {**self.LAYERS, "teacher": teachers["image"], "strength": 300}
        run = compose(adapter, epochs=6, steps_per_epoch=10, backbone_lr=1.0)
        history = [row["loss"]["attention_transfer"] for row in train_run(run, tmp_path)]
        assert history[-1] < history[0] / 2

    def test_the_trained_network_is_left_without_hooks(self, teachers: dict[str, str], tmp_path: Path) -> None:
        run = compose({**self.LAYERS, "teacher": teachers["image"]})
        train_run(run, tmp_path)
        assert not any(module._forward_hooks for module in run.model.modules())

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"layers": ["layer9"]}, r"no layer `layer9`(.|\n)*layer1"),
            ({"layers": ["layer1"], "teacher_layers": ["layer8"]}, "no layer `layer8`"),
            (
                {"layers": ["layer1.0"], "teacher_layers": ["layer1.3"]},
                r"different sizes(.|\n)*\[8, 8\](.|\n)*\[4, 4\]",
            ),
            ({"layers": ["dropout"]}, r"`dropout` of `toy_net` gives no maps(.|\n)*\[1, 8\]"),
            ({"layers": ["layer1"], "teacher_layers": ["layer1", "layer2"]}, "2 `teacher_layers` for 1 `layers`"),
        ],
    )
    def test_layers_that_cannot_be_compared(
        self, settings: dict[str, Any], told: str, teachers: dict[str, str]
    ) -> None:
        with pytest.raises(UserError, match=told):
            compose({"use": "attention_transfer", "teacher": teachers["image"], **settings})

    def test_images_that_are_prepared_differently(self, tmp_path: Path) -> None:
        content = written(epochs=1)
        content["backbone"] = {"use": "lenet"}
        adapt(content, out=tmp_path / "lenet", catalog=CATALOG, baseline=False)
        with pytest.raises(UserError, match="prepare them differently"):
            compose({**self.LAYERS, "teacher": str(tmp_path / "lenet")})

    def test_it_is_for_images(self, teachers: dict[str, str]) -> None:
        with pytest.raises(ManifestError, match="is for image"):
            compose({**self.LAYERS, "teacher": teachers["text"]}, modality="text")


class TestRelationalDistillation:
    def test_the_term_is_the_formula_of_both_features(self, teachers: dict[str, str]) -> None:
        run = compose({"use": "relational_distillation", "teacher": teachers["image"], "distance": 2, "angle": 3})
        step = step_of(run)
        teacher = load(teachers["image"], "cpu", CATALOG)
        there = outputs(teacher.model, run.targets[0], torch.device("cpu"), 0).features[:6]
        ours, theirs = distances(step.target.features), distances(there)
        expected = 2 * distance_loss(ours, theirs) + 3 * angle_loss(ours, theirs)
        assert term(run, step) == pytest.approx(expected.item(), rel=1e-5)

    def test_one_of_both(self, teachers: dict[str, str]) -> None:
        found = []
        for weights in ({"angle": 0}, {"distance": 0}, {}):
            run = compose({"use": "relational_distillation", "teacher": teachers["image"], **weights})
            found.append(term(run, step_of(run)))
        assert found[0] + found[1] == pytest.approx(found[2], rel=1e-5)
        with pytest.raises(SettingError, match="nothing is learnt"):
            RelationalDistillation(teachers["image"], distance=0, angle=0)

    def test_angles_need_three_examples(self, teachers: dict[str, str]) -> None:
        adapter = {"use": "relational_distillation", "teacher": teachers["image"]}
        with pytest.raises(UserError, match=r"compares 3 examples, and a batch has 2(.|\n)*batch"):
            compose(adapter, batch=2)
        compose({**adapter, "angle": 0}, batch=2)
        compose({**adapter, "on": "all"}, batch=2)

    def test_it_is_not_accumulated(self, teachers: dict[str, str]) -> None:
        assert not compose({"use": "relational_distillation", "teacher": teachers["image"]}).adapters[0].additive

    def test_the_student_learns_the_relations(self, teachers: dict[str, str], tmp_path: Path) -> None:
        adapter = {"use": "relational_distillation", "teacher": teachers["image"]}
        run = compose(adapter, epochs=6, steps_per_epoch=10, backbone_lr=1.0)
        history = [row["loss"]["relational_distillation"] for row in train_run(run, tmp_path)]
        assert history[-1] < 0.7 * history[0]


class TestSelfDistillation:
    def test_each_generation_starts_anew_and_learns_from_the_one_before(self, tmp_path: Path) -> None:
        run = compose({"use": "self_distillation", "generations": 3, "temperature": 2}, checkpoint_every=1)
        adapter = run.adapters[0]
        assert isinstance(adapter, SelfDistillation)
        first = state(run.model)
        starts: list[dict[str, Tensor]] = []
        said: list[Tensor] = []
        start, end = adapter.start_round, adapter.end_round

        def starting(run: Run) -> None:
            start(run)
            starts.append(state(run.model))

        def ending(run: Run) -> None:
            said.append(torch.cat([run.outputs(domain).logits for domain in run.domains]))
            end(run)
            assert torch.equal(adapter.table, soft_answers([said[-1]], 2))

        adapter.start_round, adapter.end_round = starting, ending  # type: ignore[method-assign]
        history = train_run(run, tmp_path)
        assert len(starts) == len(said) == 3
        assert all(torch.equal(value, first[name]) for each in starts for name, value in each.items())
        terms = [row["loss"]["self_distillation"] for row in history]
        assert terms[:2] == [0, 0]
        assert all(value > 0 for value in terms[2:])
        assert not torch.equal(said[0], said[1])

    def test_it_agrees_with_itself_at_the_end(self, tmp_path: Path) -> None:
        run = compose({"use": "self_distillation", "strength": 10}, epochs=3, steps_per_epoch=10)
        history = train_run(run, tmp_path)
        assert history[-1]["loss"]["self_distillation"] < history[3]["loss"]["self_distillation"]

    def test_only_one_adapter_of_a_run_has_rounds(self) -> None:
        with pytest.raises(ManifestError, match="only one adapter of a run may"):
            compose({"use": "self_distillation"}, {"use": "self_distillation"})


class TestLwF:
    def content(self, teacher: str, **settings: Any) -> dict[str, Any]:
        """New examples only; the old ones are those of the run's target."""
        content = written({"use": "lwf", "teacher": teacher, **settings}, epochs=6, steps_per_epoch=10, lr=0.05)
        content["backbone"]["width"] = 16
        return content

    def test_it_starts_where_the_old_model_ended(self, teachers: dict[str, str]) -> None:
        run, old = made(self.content(teachers["image"])), load(teachers["image"], "cpu", CATALOG)
        device = torch.device("cpu")
        said = [outputs(model, run.targets[0], device, 0).logits for model in (run.model, old.model)]
        torch.testing.assert_close(*said)
        adapter = run.adapters[0]
        assert isinstance(adapter, LwF)
        assert adapter.old_head is None

    def test_the_term_is_the_formula_of_what_the_old_model_said(self, teachers: dict[str, str]) -> None:
        run = made(self.content(teachers["image"], on="target", strength=3))
        step = step_of(run)
        said = load(teachers["image"], "cpu", CATALOG).logits([run.targets[0].raw(row) for row in range(6)])
        expected = 3 * old_loss(step.target.logits, soft_answers([said], 2), 2).item()
        assert term(run, step) == pytest.approx(expected, rel=1e-5)

    def test_what_the_old_model_could_do_is_kept(self, teachers: dict[str, str], tmp_path: Path) -> None:
        """The new examples' labels exchange two classes: how much is forgotten is up to the strength."""
        agreeing = []
        for strength in (20.0, 1e-9):
            content = self.content(teachers["image"], strength=strength)
            content["source"]["classes"] = content["evaluate"]["classes"] = {"flat": "left", "left": "flat"}
            run = made(content)
            assert isinstance(run.adapters[0], LwF)
            assert run.adapters[0].old_head is None
            before = run.outputs(run.targets[0]).logits.argmax(1)
            train_run(run, tmp_path / str(strength))
            after = run.outputs(run.targets[0]).logits.argmax(1)
            agreeing.append(float((before == after).float().mean()))
        assert agreeing[0] > 0.9
        assert agreeing[0] > agreeing[1] + 0.2

    def test_old_classes_in_another_order_go_on_under_their_names(self, teachers: dict[str, str]) -> None:
        run, old = made(self.content(teachers["reversed"])), load(teachers["reversed"], "cpu", CATALOG)
        raws = [run.targets[0].raw(row) for row in range(6)]
        assert (run.classes, old.classes) == (CLASSES, CLASSES[::-1])
        torch.testing.assert_close(step_of(run).target.logits, old.logits(raws).flip(1))
        assert isinstance(run.adapters[0], LwF)
        assert (run.adapters[0].table.argmax(1)[48:] == torch.arange(40) % 3).float().mean() > 0.9

    def test_old_classes_that_are_others_keep_a_head_of_their_own(
        self, teachers: dict[str, str], tmp_path: Path
    ) -> None:
        content = self.content(teachers["image"])
        content["source"]["classes"] = content["evaluate"]["classes"] = {"flat": "right"}
        run = made(content)
        adapter = run.adapters[0]
        assert isinstance(adapter, LwF)
        assert adapter.old_head is not None
        assert adapter.table.shape == (88, 3)
        assert run.model.head.width == 2
        step = step_of(run)
        logits = adapter.old_head(torch.cat([view.layer("backbone") for view in step.views]))
        assert term(run, step) == pytest.approx(old_loss(logits, adapter.known(step.views), 2).item(), rel=1e-5)
        before = state(adapter)
        train_run(run, tmp_path)
        assert any(not torch.equal(value, before[name]) for name, value in state(adapter).items())

    def test_another_network_cannot_go_on(self, teachers: dict[str, str]) -> None:
        with pytest.raises(UserError, match=r"goes on from the model(.|\n)*tlhub.json"):
            compose({"use": "lwf", "teacher": teachers["image"]})


def test_records_of_a_student_name_its_teacher(teachers: dict[str, str], tmp_path: Path) -> None:
    content = written({"use": "distillation", "teacher": teachers["image"]})
    result = adapt(content, out=tmp_path / "student", catalog=CATALOG)
    record = json.loads((tmp_path / "student/tlhub.json").read_text())
    assert record["manifest"]["adapters"][0]["teacher"] == teachers["image"]
    assert {row.model for row in result.rows} == {"source-only", "adapted"}


# contracts


class _Contract(AdapterContract):
    """A contract whose adapter has a teacher."""

    also: ClassVar[Mapping[str, Any]] = {}
    needs_teacher: ClassVar[bool] = True

    @pytest.fixture(autouse=True)
    def _teacher(self, teachers: dict[str, str]) -> None:
        taught = {"teacher": teachers[self.modality]} if self.needs_teacher else {}
        type(self).settings = {**taught, **self.also}

    def catalog(self) -> Any:
        return CATALOG


class TestDistillationContract(_Contract):
    component = Distillation


class TestDistillationOnText(TestDistillationContract):
    modality = "text"


class TestFeatureDistillationContract(_Contract):
    component = FeatureDistillation
    also: ClassVar[Mapping[str, Any]] = {"on": "all"}


class TestFeatureDistillationOnText(TestFeatureDistillationContract):
    modality = "text"


class TestAttentionTransferContract(_Contract):
    component = AttentionTransfer
    also: ClassVar[Mapping[str, Any]] = {"layers": ["layer1", "layer2"]}


class TestRelationalDistillationContract(_Contract):
    component = RelationalDistillation


class TestRelationalDistillationOnText(TestRelationalDistillationContract):
    modality = "text"


class TestLwFContract(_Contract):
    component = LwF

    def manifest(self, **train: Any) -> dict[str, Any]:
        content = super().manifest(**train)
        content["backbone"]["width"] = 16
        return content


class TestLwFOnText(TestLwFContract):
    modality = "text"


class TestSelfDistillationContract(_Contract):
    component = SelfDistillation
    needs_teacher = False


class TestSelfDistillationOnText(TestSelfDistillationContract):
    modality = "text"


def test_attention_is_of_the_joint_pass_though_another_method_runs_the_network_again(teachers: dict[str, str]) -> None:
    attention = {"use": "attention_transfer", "teacher": teachers["image"], "layers": ["layer1"]}
    terms = []
    for adapters in ([attention], [{"use": "fixmatch"}, attention]):
        run = compose(*adapters)
        step = step_of(run)
        terms.append([adapter.penalty(step) for adapter in run.adapters][-1])
    torch.testing.assert_close(terms[0], terms[1])


def test_where_the_head_alone_learns_this_is_told(teachers: dict[str, str]) -> None:
    """Of whatever looks at the target: it is true of a teacher as of an alignment."""
    distillation = {"use": "distillation", "teacher": teachers["image"]}
    notes: list[str] = []

    class Listening(Watch):
        def note(self, text: str) -> None:
            notes.append(text)

    for freezing in ([], [{"use": "partial_freeze", "stages": "all"}]):
        check(compose(*freezing, distillation, {"use": "mmd"}), Listening())
    [note] = notes
    assert "no parameter below the head learns, so `distillation`, `mmd` can change nothing there" in note
