"""Self-training: the formulas against the papers, what examples are disturbed by, and the terms in real training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy.special import softmax
from scipy.stats import entropy
from torch import Tensor, nn

from tests import steps
from tests.gradients import Array, agree, normal
from tests.steps import accuracy, penalty, run_of, term_of_halves
from tests.tiny import state, train_run
from tlhub import manifest as manifests
from tlhub.adapter import Adapter
from tlhub.checkpoint import Checkpoints
from tlhub.errors import UserError
from tlhub.model import SeparateBatchNorm
from tlhub.ragged import Ragged
from tlhub.randomness import seed_all
from tlhub.run import Run, open_data, source_only
from tlhub.step import Step
from tlhub.testing import AdapterContract, toy_catalog, toy_manifest
from tlhub.testing.toys import CLASSES, ToyNet
from tlhub.train import train
from tlhub.watch import Watch
from tlhub_selftrain import strong as operations
from tlhub_selftrain.average import follow
from tlhub_selftrain.confident import confident_loss
from tlhub_selftrain.entropy_minimization import EntropyMinimization, entropy_of_mean, mean_entropy
from tlhub_selftrain.fixmatch import FixMatch
from tlhub_selftrain.look import untracked
from tlhub_selftrain.mean_teacher import MeanTeacher, consistency
from tlhub_selftrain.pseudo_label import PseudoLabel
from tlhub_selftrain.ramp import linear, sigmoid_shaped
from tlhub_selftrain.strong import OPERATIONS, cutout, strong
from tlhub_selftrain.thinned import thinned
from tlhub_selftrain.warp import nudged

Modality = Literal["image", "text"]
ADAPTERS: list[type[Adapter]] = [PseudoLabel, EntropyMinimization, FixMatch, MeanTeacher]
NAMES = [adapter.name for adapter in ADAPTERS]
CATALOG = toy_catalog(adapters=[*ADAPTERS])


# formulas


def believed(told: Array, logits: Array, threshold: float) -> float:
    """Sohn et al. 2020, eq. 4, row by row; Lee 2013, eq. 15, where both are the same and the threshold is 0."""
    total = 0.0
    for row, q in enumerate(softmax(told, axis=1)):
        if q.max() >= threshold:
            total -= math.log(softmax(logits[row])[q.argmax()])
    return total / len(told)


class TestConfidentLoss:
    @pytest.mark.parametrize("threshold", [0.0, 0.5, 0.8])
    def test_it_is_the_papers(self, threshold: float) -> None:
        told = 2 * normal(7, 4, seed=1)
        agree(
            lambda logits: confident_loss(logits, torch.tensor(told), threshold),
            lambda logits: believed(told, logits, threshold),
            normal(7, 4),
        )

    @pytest.mark.parametrize("threshold", [0.0, 0.6])
    def test_of_its_own_predictions_too(self, threshold: float) -> None:
        """No gradient flows through the choice of a label."""
        at = 2 * normal(7, 4)
        agree(lambda z: confident_loss(z, z, threshold), lambda z: believed(at, z, threshold), at)

    def test_rows_below_the_threshold_count_as_zeros(self) -> None:
        logits = torch.tensor([[9.0, 0.0], [0.1, 0.0]])
        assert confident_loss(logits, logits, 0.9) == confident_loss(logits[:1], logits[:1], 0.9) / 2
        undecided = torch.zeros(3, 2, requires_grad=True)
        loss = confident_loss(undecided, undecided, 0.9)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss == 0
        assert torch.equal(undecided.grad, torch.zeros(3, 2))  # type: ignore[arg-type]

    def test_it_is_finite_where_predictions_are_certain_and_contradict(self) -> None:
        logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
        loss = confident_loss(logits, -logits, 0.95)
        loss.backward()  # type: ignore[no-untyped-call]
        assert loss == 2e4
        assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


class TestEntropy:
    def test_they_are_scipys(self) -> None:
        agree(mean_entropy, lambda z: float(entropy(softmax(z, axis=1), axis=1).mean()), normal(6, 5))
        agree(entropy_of_mean, lambda z: float(entropy(softmax(z, axis=1).mean(0))), normal(6, 5))

    def test_known_values(self) -> None:
        nothing = torch.zeros(3, 4)
        assert mean_entropy(nothing).item() == pytest.approx(math.log(4))
        certain = 100 * torch.eye(4)
        assert mean_entropy(certain).item() == pytest.approx(0, abs=1e-6)
        assert entropy_of_mean(certain).item() == pytest.approx(math.log(4))

    def test_they_are_finite_where_a_class_has_no_probability_left(self) -> None:
        for formula in (mean_entropy, entropy_of_mean):
            logits = torch.tensor([[1e4, -1e4, 0], [1e4, 0, 0]], requires_grad=True)
            value = formula(logits)
            value.backward()  # type: ignore[no-untyped-call]
            assert value.item() == pytest.approx(0, abs=1e-6)
            assert torch.isfinite(logits.grad).all()  # type: ignore[arg-type]


def test_consistency_is_the_mean_squared_distance_of_probabilities() -> None:
    told = normal(5, 3, seed=1)

    def paper(logits: Array) -> float:
        rows = zip(softmax(logits, axis=1), softmax(told, axis=1), strict=True)
        return float(np.mean([np.linalg.norm(p - q) ** 2 for p, q in rows]))

    agree(lambda logits: consistency(logits, torch.tensor(told)), paper, normal(5, 3))


def test_pseudo_labels_gain_weight_in_a_straight_line() -> None:
    assert [linear(p, 0.1, 0.6) for p in (0, 0.1, 0.6, 0.99)] == [0, 0, 1, 1]
    assert linear(0.35, 0.1, 0.6) == pytest.approx(0.5)
    assert [linear(p, 0.5, 0.5) for p in (0.49, 0.5)] == [0, 1]
    assert linear(0, 0, 0) == 1


def test_consistency_gains_weight_along_half_a_bell() -> None:
    assert sigmoid_shaped(0, 0.2) == pytest.approx(0.006737947, rel=1e-6)  # exp(-5)
    assert sigmoid_shaped(0.1, 0.2) == pytest.approx(0.2865047969, rel=1e-9)  # exp(-5 / 4)
    assert [sigmoid_shaped(p, 0.2) for p in (0.2, 0.9)] == [1, 1]
    assert sigmoid_shaped(0, 0) == 1


class TestFollow:
    def test_weights_and_running_statistics_are_averaged_and_counts_copied(self) -> None:
        torch.manual_seed(0)
        teacher, student = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
        student.weight.data.copy_(torch.tensor([2.0, 0.0, -1.0]))
        student(torch.randn(8, 3))
        follow(teacher, student, 0.75)
        np.testing.assert_allclose(teacher.weight.detach().numpy(), [1.25, 0.75, 0.5])
        averaged, statistics = teacher.state_dict(), student.state_dict()
        torch.testing.assert_close(averaged["running_mean"], 0.25 * statistics["running_mean"])
        torch.testing.assert_close(averaged["running_var"], 0.75 + 0.25 * statistics["running_var"])
        assert averaged["num_batches_tracked"] == 1

    def test_without_decay_it_is_the_student(self) -> None:
        teacher, student = nn.Linear(3, 2), nn.Linear(3, 2)
        follow(teacher, student, 0)
        assert all(torch.equal(value, student.state_dict()[name]) for name, value in teacher.state_dict().items())

    def test_what_does_not_change_stays_bit_for_bit(self) -> None:
        teacher = nn.Linear(30, 30)
        before = state(teacher)
        student = nn.Linear(30, 30)
        student.load_state_dict(before)
        for decay in (0.1, 0.5, 0.99):
            follow(teacher, student, decay)
        assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


# disturbances


def photos(rows: int = 3, channels: int = 3, height: int = 12, width: int = 16) -> Tensor:
    """Smooth images with a little noise."""
    random = np.random.default_rng(0)
    waves = np.sin(np.arange(height)[:, None] / 3 + np.arange(width) / 4 + random.uniform(0, 6, (rows, channels, 1, 1)))
    pixels = 120 + 80 * waves + random.normal(0, 8, (rows, channels, height, width))
    return torch.from_numpy(pixels.round().clip(0, 255).astype(np.uint8))


def one_by_one(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Array:
    """What the Python Imaging Library makes of each image."""
    made = [change(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    return np.stack([np.asarray(image, dtype=np.float64).transpose(2, 0, 1) for image in made])


def enhanced(kind: Any, magnitude: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        result: Image.Image = kind(image).enhance(0.05 + 0.9 * magnitude)
        return result

    return change


def moved(*matrix: float) -> Callable[[Image.Image], Image.Image]:
    """As the library's affine transform, about the centre of the image."""

    def change(image: Image.Image) -> Image.Image:
        a, b, c, d, e, f = matrix
        x, y = image.width / 2, image.height / 2
        whole = (a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y)
        return image.transform(image.size, Image.Transform.AFFINE, whole, Image.Resampling.NEAREST)

    return change


class TestOperations:
    """Each is what the Python Imaging Library does, up to rounding."""

    MAGNITUDES = (0.0, 0.2, 0.5, 0.77, 1.0)

    @pytest.mark.parametrize("magnitude", MAGNITUDES)
    @pytest.mark.parametrize(
        ("name", "reference"),
        [
            ("identity", lambda m: lambda image: image),
            ("autocontrast", lambda m: ImageOps.autocontrast),
            ("brightness", lambda m: enhanced(ImageEnhance.Brightness, m)),
            ("color", lambda m: enhanced(ImageEnhance.Color, m)),
            ("contrast", lambda m: enhanced(ImageEnhance.Contrast, m)),
            ("equalize", lambda m: ImageOps.equalize),
            ("posterize", lambda m: lambda image: ImageOps.posterize(image, round(4 + 4 * m))),
            ("solarize", lambda m: lambda image: ImageOps.solarize(image, 255 * m)),
        ],
    )
    def test_colours(self, name: str, reference: Any, magnitude: float) -> None:
        images = photos(height=30, width=40)
        images[0, 1] = 7  # a channel of one shade
        ours = getattr(operations, name)(images.float(), torch.full((3, 1, 1, 1), magnitude))
        np.testing.assert_allclose(ours.numpy(), one_by_one(images, reference(magnitude)), atol=1.5)

    @pytest.mark.parametrize("magnitude", MAGNITUDES)
    def test_sharpness_but_at_the_border(self, magnitude: float) -> None:
        """The library leaves the border as it is."""
        images = photos()
        ours = operations.sharpness(images.float(), torch.full((3, 1, 1, 1), magnitude))
        theirs = one_by_one(images, enhanced(ImageEnhance.Sharpness, magnitude))
        np.testing.assert_allclose(ours.numpy()[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1.5)

    @pytest.mark.parametrize("magnitude", [0.0, 0.21, 0.5, 0.77, 1.0])
    @pytest.mark.parametrize(
        ("name", "matrix"),
        [
            ("rotate", lambda t: (math.cos(t * math.pi / 6), math.sin(t * math.pi / 6), 0)),
            ("shear_x", lambda t: (1, 0.3 * t, 0, 0, 1, 0)),
            ("shear_y", lambda t: (1, 0, 0, 0.3 * t, 1, 0)),
            ("translate_x", lambda t: (1, 0, 0.3 * t * 16, 0, 1, 0)),
            ("translate_y", lambda t: (1, 0, 0, 0, 1, 0.3 * t * 12)),
        ],
    )
    def test_moves(self, name: str, matrix: Any, magnitude: float) -> None:
        images = photos()
        found = matrix(2 * magnitude - 1)
        if name == "rotate":
            cosine, sine, _ = found
            found = (cosine, sine, 0, -sine, cosine, 0)
        ours = getattr(operations, name)(images.float(), torch.full((3, 1, 1, 1), magnitude)).numpy()
        alike = ours == one_by_one(images, moved(*found))
        assert alike.mean() > 0.97, "but where a place is just between two pixels"

    def test_each_row_has_its_own_magnitude(self) -> None:
        images, magnitudes = photos().float(), torch.tensor([0.1, 0.5, 0.9])[:, None, None, None]
        for operation in OPERATIONS:
            together = operation(images, magnitudes)
            for row in range(3):
                alone = operation(images[row : row + 1], magnitudes[row : row + 1])
                torch.testing.assert_close(together[row : row + 1], alone)

    def test_images_of_one_colour_stay_finite(self) -> None:
        for shade in (0, 7, 255):
            for channels in (1, 3):
                images = torch.full((2, channels, 9, 5), float(shade))
                for operation in OPERATIONS:
                    assert torch.isfinite(operation(images, torch.rand(2, 1, 1, 1))).all()


class TestStrong:
    @pytest.mark.parametrize("rows", [1, 5, 40])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_images_of_the_same_kind_come_out(self, rows: int, channels: int) -> None:
        seed_all(0)
        images = photos(rows, channels)
        made = strong(images)
        assert made.shape == images.shape
        assert made.dtype == torch.uint8
        assert (made != images).flatten(1).any(1).all(), "a square of each is grey at least"

    def test_it_changes_images_differently_and_repeats_under_a_seed(self) -> None:
        images = photos(1).expand(60, -1, -1, -1)
        seed_all(1)
        first = strong(images)
        assert len({tuple(image.flatten().tolist()) for image in first}) > 55
        seed_all(1)
        assert torch.equal(first, strong(images))

    def test_rows_keep_their_places(self) -> None:
        """Bright images stay in the rows of bright ones, under operations that keep them bright."""
        images = torch.zeros(40, 1, 8, 8, dtype=torch.uint8)
        images[::2] = 250
        seed_all(2)
        bright = strong(images).float().amax((1, 2, 3)) > 127
        assert bright[::2].float().mean() > 0.7  # darkened or inverted at times
        assert bright[1::2].float().mean() < 0.3  # inverted at times

    def test_every_operation_has_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However few the rows are."""
        used = set()

        def noting(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
            def noted(pixels: Tensor, magnitude: Tensor) -> Tensor:
                used.add(operation)
                return operation(pixels, magnitude)

            return noted

        monkeypatch.setattr(operations, "OPERATIONS", [noting(operation) for operation in OPERATIONS])
        seed_all(3)
        for _ in range(60):
            strong(photos(2))
        assert used == set(OPERATIONS)

    def test_the_grey_square_has_half_the_side_and_lies_anywhere(self) -> None:
        seed_all(4)
        made = cutout(torch.zeros(500, 1, 8, 12)) == 127
        sizes = made.flatten(1).sum(1)
        assert sizes.max() == 16
        assert sizes.min() >= 4, "a quarter at least: the centre is in the image"
        assert made.any(0).all()


def test_images_are_nudged_and_their_border_fills_the_rest() -> None:
    image = torch.arange(35, dtype=torch.uint8).reshape(1, 1, 5, 7)
    seed_all(0)
    made = {tuple(row.flatten().tolist()) for row in nudged(image.expand(200, -1, -1, -1))}
    padded = np.pad(image[0, 0].numpy(), 1, mode="edge")
    assert made == {tuple(padded[y : y + 5, x : x + 7].flatten().tolist()) for y in range(3) for x in range(3)}
    assert nudged(image).dtype == torch.uint8


def texts(*lengths: int) -> dict[str, Tensor]:
    """Each token is its place in the text, from 1, and its text."""
    return Ragged.of(
        [torch.stack([torch.arange(1, n + 1), torch.full((n,), row + 50)], 1) for row, n in enumerate(lengths)]
    ).batch(torch.arange(len(lengths)))


class TestThinned:
    def test_the_share_of_inner_tokens_goes_and_the_order_stays(self) -> None:
        seed_all(0)
        lengths = (1, 2, 3, 12, 22)
        made = thinned(texts(*lengths), 0.3)
        assert made["lengths"].tolist() == [1, 2, 3, 9, 16]
        assert made["tokens"].shape == (5, 16, 2)
        for row, (was, left) in enumerate(zip(lengths, made["lengths"].tolist(), strict=True)):
            places, others = made["tokens"][row, :left].unbind(1)
            assert places[0] == 1
            assert places[-1] == was
            assert (places.diff() > 0).all()
            assert (others == row + 50).all(), "fields stay together"
            assert (made["tokens"][row, left:] == 0).all()

    def test_every_inner_token_goes_equally_often(self) -> None:
        seed_all(1)
        made = thinned(texts(*[12] * 2000), 0.5)["tokens"][..., 0]
        counts = torch.bincount(made.flatten(), minlength=13)[1:]
        assert counts[0] == counts[-1] == 2000
        assert (counts[1:-1] - 1000).abs().max() < 120

    def test_nothing_goes_at_a_share_of_zero(self) -> None:
        given = texts(4, 7)
        made = thinned(given, 0.0)
        assert all(torch.equal(made[name], given[name]) for name in given)

    def test_inputs_are_not_changed(self) -> None:
        given = texts(9, 5)
        before = {name: value.clone() for name, value in given.items()}
        thinned(given, 0.5)
        assert all(torch.equal(given[name], before[name]) for name in given)


class TestUntracked:
    def test_the_batchs_statistics_are_used_and_not_remembered(self) -> None:
        norm, inputs = nn.BatchNorm2d(3), 5 + torch.randn(4, 3, 2, 2)
        before = state(norm)
        with untracked(norm):
            made = norm(inputs)
        assert made.mean().abs() < 1e-5
        assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
        norm(inputs)
        assert not torch.equal(norm.running_mean, before["running_mean"])  # type: ignore[arg-type]

    def test_what_is_in_evaluation_stays_there(self) -> None:
        norm, inputs = nn.BatchNorm1d(3).eval(), 5 + torch.randn(4, 3)
        expected = norm(inputs)
        with untracked(norm):
            assert torch.equal(norm(inputs), expected)

    def test_tracking_goes_on_after_an_error(self) -> None:
        norm = nn.BatchNorm1d(3)
        with pytest.raises(ValueError, match="expected 2D"), untracked(norm):
            norm(torch.zeros(3))
        assert norm.track_running_stats


# runs


LONGER: dict[str, Any] = {"epochs": 3, "steps_per_epoch": 20, "lr": 0.03, "batch_norm": "separate"}
"""Enough to learn the toys."""


def compose(*adapters: Mapping[str, Any], modality: Modality = "image", **settings: Any) -> Run:
    return made(toy_manifest(adapters, modality, **{"precision": "fp32", **settings}))


def made(content: Mapping[str, Any]) -> Run:
    return run_of(content, CATALOG)


step_of = partial(steps.step_of, progress=0.9)


def term(run: Run, step: Step) -> Tensor:
    return penalty(run.adapters[0], step)


class TestEveryAdapter:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_source_only_baseline_goes_without_it(self, name: str) -> None:
        run = compose({"use": name})
        assert source_only(run.manifest.adapters, "adapters", CATALOG) == []

    @pytest.mark.parametrize("name", NAMES)
    def test_examples_that_are_not_of_one_class_are_refused(self, name: str) -> None:
        content = toy_manifest([{"use": name}])
        numbers = {label: str(number) for number, label in enumerate(CLASSES)}
        content |= {key: {**content[key], "classes": numbers} for key in ("source", "evaluate")}
        with pytest.raises(UserError, match=rf"`{name}` needs the probabilities(.|\n)*`regression` has not"):
            made({**content, "task": "regression"})

    @pytest.mark.parametrize("name", ["fixmatch", "mean_teacher"])
    def test_inputs_that_it_cannot_disturb_are_refused(self, name: str) -> None:
        class Floats:
            random = False

            def __call__(self, raw: Any) -> Tensor:
                return torch.zeros(3, 8, 8)

        class FloatNet(ToyNet):
            name = "float_net"

            def preprocess(self, train: bool) -> Any:
                return Floats()

        catalog = toy_catalog(adapters=[*ADAPTERS], backbones=[FloatNet])
        content = {**toy_manifest([{"use": name}]), "backbone": {"use": "float_net"}}
        loaded = manifests.from_dict(content, catalog=catalog)
        with pytest.raises(UserError, match=r"`float_net` reads torch.float32 \[3, 8, 8\]"):
            Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))

    @pytest.mark.parametrize("modality", ["image", "text"])
    @pytest.mark.parametrize("name", NAMES)
    def test_its_gradient_reaches_the_first_layer_and_all_is_finite(self, name: str, modality: Modality) -> None:
        settings = {"threshold": 0.0} if name in ("pseudo_label", "fixmatch") else {}
        run = compose({"use": name, **settings}, modality=modality)
        run.model.train()
        term(run, step_of(run, number=5)).backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in run.model.backbone.parameters()]
        assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)

    @pytest.mark.parametrize("name", ["fixmatch", "mean_teacher"])
    def test_running_statistics_see_an_example_once(self, name: str) -> None:
        run = compose({"use": name})
        run.model.train()
        step = step_of(run)
        before = state(run.model)
        term(run, step)
        assert all(torch.equal(value, before[key]) for key, value in run.model.state_dict().items())
        assert run.model.training

    @pytest.mark.parametrize("name", NAMES)
    def test_it_works_on_a_frozen_backbone(self, name: str, tmp_path: Path) -> None:
        run = compose({"use": "partial_freeze", "stages": "all"}, {"use": name})
        assert all(math.isfinite(row["loss"][name]) for row in train_run(run, tmp_path))

    @pytest.mark.parametrize("name", NAMES)
    def test_several_targets_are_one(self, name: str, tmp_path: Path) -> None:
        content = toy_manifest([{"use": name}])
        content["target"] = [content["target"], {**content["target"], "seed": 5}]
        content["evaluate"] = [content["evaluate"]]
        assert all(math.isfinite(row["loss"][name]) for row in train_run(made(content), tmp_path))

    @pytest.mark.parametrize("name", ["pseudo_label", "entropy_minimization"])
    def test_those_that_see_an_example_once_are_accumulated_exactly(self, name: str) -> None:
        run = compose({"use": name})
        run.model.eval()
        whole = step_of(run, 8)
        assert run.adapters[0].additive
        assert term_of_halves(run.adapters[0], whole) == pytest.approx(term(run, whole).item(), rel=1e-5)


class TestPseudoLabel:
    def test_the_term_is_the_formula(self) -> None:
        run = compose({"use": "pseudo_label", "threshold": 0.36, "strength": 2})
        run.model.eval()
        step = step_of(run, progress=0.35)
        logits = step.target.logits.detach().double().numpy()
        assert term(run, step).item() == pytest.approx(believed(logits, logits, 0.36), rel=1e-5)  # 2 times a half

    def test_it_begins_after_a_while(self) -> None:
        run = compose({"use": "pseudo_label", "begin": 0.3})
        assert term(run, step_of(run, progress=0.2)) == 0

    def test_times_in_the_wrong_order(self) -> None:
        with pytest.raises(UserError, match=r"`full: 0.2` comes before `begin: 0.5`"):
            CATALOG.create("adapters", "pseudo_label", {"begin": 0.5, "full": 0.2})


class TestEntropyMinimization:
    def test_the_term_is_the_formula(self) -> None:
        run = compose({"use": "entropy_minimization", "strength": 0.5, "diversity": 2})
        run.model.eval()
        step = step_of(run)
        p = softmax(step.target.logits.detach().double().numpy(), axis=1)
        expected = 0.5 * (entropy(p, axis=1).mean() - 2 * entropy(p.mean(0)))
        assert term(run, step).item() == pytest.approx(expected, rel=1e-5)
        assert not run.adapters[0].additive, "the entropy of a mean is not the mean of its parts'"

    def test_predictions_become_certain(self, tmp_path: Path) -> None:
        found = []
        for strength in (1.0, 1e-9):
            run = compose({"use": "entropy_minimization", "strength": strength}, **LONGER)
            train_run(run, tmp_path / str(strength))
            p = run.outputs(run.targets[0]).logits.double().softmax(1).numpy()
            found.append(float(entropy(p, axis=1).mean()))
        assert found[0] < found[1] - 0.1
        assert accuracy(run) > 0.9

    def test_diversity_keeps_the_smaller_classes(self) -> None:
        """What a common offset of all logits becomes."""
        logits = torch.tensor(normal(200, 3)) + torch.tensor([0.5, 0, 0])
        left = []
        for diversity in (0.0, 1.0):
            offset = torch.zeros(3, dtype=torch.float64, requires_grad=True)
            optimizer = torch.optim.Adam([offset], lr=0.1)
            for _ in range(100):
                optimizer.zero_grad()
                found = logits + offset
                (mean_entropy(found) - diversity * entropy_of_mean(found)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            left.append(torch.bincount((logits + offset).argmax(1), minlength=3).min().item())
        assert left[0] == 0
        assert left[1] > 40


class TestFixMatch:
    @pytest.mark.parametrize("modality", ["image", "text"])
    def test_the_term_is_the_formula_of_a_disturbed_second_look(self, modality: Modality) -> None:
        run = compose({"use": "fixmatch", "threshold": 0.34, "strength": 2}, modality=modality)
        run.model.eval()
        step = step_of(run)
        seed_all(7)
        found = term(run, step).item()
        seed_all(7)
        inputs = step.target.inputs
        seen = run.model(strong(inputs) if modality == "image" else thinned(inputs, 0.3))
        weak, disturbed = (each.detach().double().numpy() for each in (step.target.logits, seen))
        assert found == pytest.approx(2 * believed(weak, disturbed, 0.34), rel=1e-5)

    def test_the_label_is_a_constant(self) -> None:
        """Nothing flows back through the first look."""
        run = compose({"use": "fixmatch", "threshold": 0.0})
        step = step_of(run)
        step.target.logits.retain_grad()
        term(run, step).backward()  # type: ignore[no-untyped-call]
        assert step.target.logits.grad is None

    def test_separate_normalisation_of_the_joint_pass_does_not_concern_the_second_look(self) -> None:
        run = compose({"use": "fixmatch", "threshold": 0.0})
        run.model.train()
        run.model.backbone.dropout.p = 0.0  # type: ignore[union-attr]
        step = step_of(run)
        found = []
        for way in (SeparateBatchNorm([6, 6]), nullcontext()):
            seed_all(1)
            with way:
                found.append(term(run, step).item())
        assert found[0] == found[1]

    def test_in_half_precision_the_term_is_in_full(self, tmp_path: Path) -> None:
        for name in ("fixmatch", "mean_teacher"):
            run = compose({"use": name, **({"threshold": 0.0} if name == "fixmatch" else {})}, precision="bf16")
            assert term(run, step_of(run, number=3)).dtype == torch.float32
            assert all(math.isfinite(row["loss"][name]) for row in train_run(run, tmp_path / name))

    def test_disturbed_examples_of_the_target_are_recognised(self, tmp_path: Path) -> None:
        """Better than by a model that learnt the source alone, which knows the undisturbed ones as well."""
        found = []
        for strength in (1.0, 1e-9):
            run = compose({"use": "fixmatch", "threshold": 0.6, "strength": strength}, **{**LONGER, "epochs": 6})
            train_run(run, tmp_path / str(strength))
            assert accuracy(run) > 0.9
            inputs = step_of(run, 40).target.inputs
            seed_all(5)
            said = torch.cat([run.model.eval()(strong(inputs)) for _ in range(10)])
            found.append(nn.functional.cross_entropy(said, (torch.arange(40) % len(CLASSES)).repeat(10)).item())
        assert found[0] < 0.8 * found[1]


class TestMeanTeacher:
    def test_the_teacher_is_the_average_of_the_models_that_steps_saw(self, tmp_path: Path) -> None:
        """Of the weights before the optimizer moved them, and of the running statistics after the joint pass."""
        run = compose({"use": "mean_teacher", "decay": 0.6, "answer": "student"}, epochs=1, steps_per_epoch=5)
        seen = [state(run.model)]

        class Looking(Watch):
            def step(self, done: int) -> None:
                seen.append(state(run.model))

        train(run, Checkpoints(tmp_path), Looking())
        teacher = run.adapters[0].teacher
        assert isinstance(teacher, nn.Module)
        for name, first in (("head.linear.weight", 0), ("backbone.layer1.1.running_var", 1)):
            expected = np.zeros(seen[0][name].shape)
            for number, at in enumerate(seen[first : first + 5]):
                alpha = min(1 - 1 / (number + 1), 0.6)
                expected = alpha * expected + (1 - alpha) * at[name].double().numpy()
            np.testing.assert_allclose(teacher.state_dict()[name].numpy(), expected, rtol=1e-5, atol=1e-7)

    @pytest.mark.parametrize("answer", ["teacher", "student"])
    def test_it_leaves_whose_weights_it_is_told_to(self, answer: str, tmp_path: Path) -> None:
        run = compose({"use": "mean_teacher", "answer": answer})
        train_run(run, tmp_path)
        teacher = run.adapters[0].teacher
        assert isinstance(teacher, nn.Module)
        alike = [torch.equal(value, teacher.state_dict()[name]) for name, value in run.model.state_dict().items()]
        assert all(alike) == (answer == "teacher")

    def test_the_teacher_never_trains(self, tmp_path: Path) -> None:
        run = compose({"use": "mean_teacher"})
        train_run(run, tmp_path)
        teacher = run.adapters[0].teacher
        assert isinstance(teacher, nn.Module)
        assert not any(module.training for module in teacher.modules())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert run.facts()["trainable"] == sum(parameter.numel() for parameter in run.model.parameters())

    @pytest.mark.parametrize("modality", ["image", "text"])
    def test_the_term_is_the_formula(self, modality: Modality) -> None:
        run = compose({"use": "mean_teacher", "strength": 10, "ramp": 0.5}, modality=modality)
        run.model.eval()
        step = step_of(run, progress=0.25)
        seed_all(3)
        found = term(run, step).item()
        seed_all(3)
        inputs = step.target.inputs
        told = run.model(nudged(inputs) if modality == "image" else thinned(inputs, 0.1))  # whom it follows at once
        ours, theirs = (softmax(z.detach().double().numpy(), axis=1) for z in (step.target.logits, told))
        assert found == pytest.approx(10 * math.exp(-1.25) * ((ours - theirs) ** 2).sum(1).mean(), rel=1e-4)
        assert found > 0

    def test_a_selected_epoch_is_the_students(self) -> None:
        content = toy_manifest([{"use": "mean_teacher"}])
        content["select"] = {"use": "source_score"}
        with pytest.raises(UserError, match=r"`select` chooses an epoch of the student(.|\n)*`answer: student`"):
            made(content)
        content["adapters"][0]["answer"] = "student"
        made(content)

    def test_what_lora_added_is_averaged_and_merged(self, tmp_path: Path) -> None:
        adapters: list[dict[str, Any]] = [{"use": "lora", "layers": ["layer?.0"], "rank": 2}, {"use": "mean_teacher"}]
        for order in (adapters, adapters[::-1]):
            run = compose(*order)
            train_run(run, tmp_path / order[0]["use"])
            assert torch.isfinite(run.outputs(run.targets[0]).logits).all()

    def test_the_target_is_still_learnt(self, tmp_path: Path) -> None:
        run = compose({"use": "mean_teacher", "decay": 0.9}, **LONGER)
        train_run(run, tmp_path)
        assert accuracy(run) > 0.9


# contracts


class OnToys(AdapterContract):
    settings: ClassVar[Mapping[str, Any]] = {}


class TestPseudoLabelContract(OnToys):
    component = PseudoLabel


class TestEntropyMinimizationContract(OnToys):
    component = EntropyMinimization
    settings: ClassVar[Mapping[str, Any]] = {"diversity": 1.0}


class TestFixMatchContract(OnToys):
    component = FixMatch
    settings: ClassVar[Mapping[str, Any]] = {"threshold": 0.4}


class TestMeanTeacherContract(OnToys):
    component = MeanTeacher


class TestPseudoLabelOnTexts(TestPseudoLabelContract):
    modality = "text"


class TestEntropyMinimizationOnTexts(TestEntropyMinimizationContract):
    modality = "text"


class TestFixMatchOnTexts(TestFixMatchContract):
    modality = "text"


class TestMeanTeacherOnTexts(TestMeanTeacherContract):
    modality = "text"
