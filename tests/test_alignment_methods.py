"""The formulas of alignment against implementations written from the papers, and the methods in real training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from tests.steps import penalty, step_of, term_of_halves
from tests.tiny import make_run, state, train_run
from tlhub.adapter import Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step
from tlhub.testing import AdapterContract
from tlhub.train import refuse_inexact
from tlhub_alignment.adversary import discriminator, domain_loss
from tlhub_alignment.afn import AFN, norm_growth
from tlhub_alignment.bsp import BSP
from tlhub_alignment.cdan import CDAN
from tlhub_alignment.coral import Coral, coral
from tlhub_alignment.critic import between, gradient_penalty
from tlhub_alignment.dann import DANN
from tlhub_alignment.entropy import certainty
from tlhub_alignment.gaussian import gaussian_kernels, joint_mmd2, multi_gaussian_mmd2
from tlhub_alignment.gram import gram
from tlhub_alignment.jan import JAN
from tlhub_alignment.mcc import MCC, class_confusion
from tlhub_alignment.mcd import MCD, discrepancy
from tlhub_alignment.multilinear import multilinear, random_multilinear
from tlhub_alignment.spectrum import largest_squares
from tlhub_alignment.wasserstein import Wasserstein

Array = npt.NDArray[np.float64]


def exactly(value: float) -> Any:
    return pytest.approx(value, rel=1e-10, abs=1e-13)


def draws(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    """Random matrices in float64."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64) + number for number, size in enumerate(sizes)]


def slopes(function: Callable[[Array], float], at: Tensor) -> Tensor:
    """The gradient by central differences, entry by entry."""
    found = np.zeros(at.shape)
    for place in np.ndindex(*at.shape):
        ends = []
        for sign in (1, -1):
            moved = at.detach().numpy().copy()
            moved[place] += sign * 1e-6
            ends.append(function(moved))
        found[place] = (ends[0] - ends[1]) / 2e-6
    return torch.from_numpy(found)


def assert_slopes(value: Callable[[Tensor], Tensor], function: Callable[[Array], float], at: Tensor) -> None:
    """The gradient of `value` is that of the paper's `function`, and so is the value."""
    at = at.clone().requires_grad_()
    found = value(at)
    assert found.item() == exactly(function(at.detach().numpy()))
    torch.testing.assert_close(torch.autograd.grad(found, at)[0], slopes(function, at), rtol=1e-6, atol=1e-8)


def softmax(logits: Array, temperature: float = 1.0) -> Array:
    rows = np.exp(logits / temperature)
    probabilities: Array = rows / rows.sum(1, keepdims=True)
    return probabilities


def test_gram_matrix() -> None:
    [rows] = draws((5, 3))
    torch.testing.assert_close(gram(rows), torch.einsum("ik,jk->ij", rows, rows))
    weight = draws((5, 5))[0]  # not symmetric, as the gradients that arrive are not
    assert torch.autograd.gradcheck(lambda x: (gram(x) * weight).sum(), (rows.requires_grad_(),))


@pytest.mark.parametrize(
    "loss",
    [
        coral,
        lambda x, y: joint_mmd2([gaussian_kernels(x, y), gaussian_kernels(x[:, :9], y[:, :9], 1, 1.0)], 128, True),
        lambda x, y: largest_squares(x, 2) + largest_squares(y, 2),
    ],
    ids=["coral", "jan", "bsp"],
)
def test_nothing_is_larger_than_the_rows_or_all_pairs_of_them(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    """128 + 128 rows of width 1024: a covariance would take 4 MB, a difference for every pair 268 MB."""
    x, y = (draw.float().requires_grad_() for draw in draws((128, 1024), (128, 1024)))
    largest = 0

    def note(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        torch.autograd.grad(loss(x, y), [x, y])
    assert largest <= 256 * 1024


class TestCoral:
    """Sun & Saenko 2016, eq. 1."""

    S = torch.tensor([[1, 2], [3, 4], [5, 9]], dtype=torch.float64)
    T = torch.tensor([[2, 1], [4, 5], [3, 3]], dtype=torch.float64)

    def from_the_paper(self, x: Array, y: Array) -> float:
        width = x.shape[1]
        return float(((np.cov(x, rowvar=False) - np.cov(y, rowvar=False)) ** 2).sum() / (4 * width**2))

    def test_the_reference_value(self) -> None:
        assert coral(self.S, self.T).item() == exactly(8.75)

    @pytest.mark.parametrize(("rows", "others", "width"), [(7, 5, 3), (3, 9, 8), (2, 2, 4)])
    def test_any_samples(self, rows: int, others: int, width: int) -> None:
        x, y = draws((rows, width), (others, width))
        assert_slopes(lambda x: coral(x, y), lambda x: self.from_the_paper(x, y.numpy()), x)
        assert_slopes(lambda y: coral(x, y), lambda y: self.from_the_paper(x.numpy(), y), y)

    def test_where_features_are_does_not_matter(self) -> None:
        assert coral(self.S + 7, self.T - 3).item() == exactly(8.75)

    def test_one_row_is_refused(self) -> None:
        with pytest.raises(ValueError, match="two rows"):
            coral(self.S[:1], self.T)

    def test_equal_and_collapsed_samples_are_finite(self) -> None:
        x = torch.randn(6, 4).requires_grad_()
        for features in (x, 0 * x, 0 * x + 100.1):
            found = coral(features, features)
            assert found.item() == pytest.approx(0, abs=1e-6)
            assert torch.autograd.grad(found, x)[0].abs().max() < 1e-6

    def test_float32_is_accurate_far_from_the_origin(self) -> None:
        x, y = (draw.float() + 100 for draw in draws((128, 1024), (128, 1024)))
        single, double = x.clone().requires_grad_(), x.double().requires_grad_()
        found = torch.autograd.grad(coral(single, 1.2 * y), single)[0]
        expected = torch.autograd.grad(coral(double, (1.2 * y).double()), double)[0]
        assert (found - expected).norm() / expected.norm() <= 1e-5


class TestJointMMD:
    """Long et al. 2017, eq. 9."""

    def from_the_paper(self, layers: list[tuple[Array, Array]], sigmas: list[float], unbiased: bool) -> float:
        def mean(first: int, second: int) -> float:
            values = []
            for i in range(len(layers[0][first])):
                for j in range(len(layers[0][second])):
                    if not unbiased or first != second or i != j:
                        distances = [((pair[first][i] - pair[second][j]) ** 2).sum() for pair in layers]
                        pairs = zip(distances, sigmas, strict=True)
                        values.append(math.prod(math.exp(-float(d) / (2 * sigma**2)) for d, sigma in pairs))
            return math.fsum(values) / len(values)

        return mean(0, 0) + mean(1, 1) - 2 * mean(0, 1)

    @pytest.mark.parametrize("unbiased", [False, True])
    def test_any_samples(self, unbiased: bool) -> None:
        x, y, p, q = draws((5, 3), (4, 3), (5, 2), (4, 2))

        def found(x: Tensor) -> Tensor:
            kernels = [gaussian_kernels(x, y, 1, 1.5), gaussian_kernels(p, q, 1, 0.7)]
            return joint_mmd2(kernels, len(x), unbiased)

        def expected(x: Array) -> float:
            return self.from_the_paper([(x, y.numpy()), (p.numpy(), q.numpy())], [1.5, 0.7], unbiased)

        assert_slopes(found, expected, x)

    def test_of_one_layer_it_is_the_mmd(self) -> None:
        x, y = draws((5, 3), (4, 3))
        joint = joint_mmd2([gaussian_kernels(x, y)], 5, True)
        assert joint.item() == exactly(multi_gaussian_mmd2(x, y, unbiased=True).item())

    def test_it_sees_what_the_marginals_do_not(self) -> None:
        """The same features and the same predictions, but paired the other way round in the target."""
        x = torch.tensor([[0.0], [0.0], [1.0], [1.0]]).double()
        p = torch.tensor([[0.0], [0.0], [1.0], [1.0]]).double()
        features, predictions = gaussian_kernels(x, x, 1, 0.5), gaussian_kernels(p, p.flip(0), 1, 0.5)
        assert joint_mmd2([features], 4, False).item() == exactly(0)
        assert joint_mmd2([predictions], 4, False).item() == exactly(0)
        assert joint_mmd2([features, predictions], 4, False).item() > 0.1


class TestMultilinearMap:
    """Long et al. 2018, section 3.1."""

    def test_all_products(self) -> None:
        features, probabilities = draws((4, 3), (4, 2))
        found = multilinear(features, probabilities)
        for row in range(4):
            outer = np.outer(probabilities[row].numpy(), features[row].numpy())
            np.testing.assert_allclose(found[row].numpy(), outer.flatten(), rtol=1e-12)

    def test_the_random_one(self) -> None:
        features, probabilities, of_features, of_classes = draws((4, 3), (4, 2), (3, 5), (2, 5))
        found = random_multilinear(features, probabilities, of_features, of_classes)
        for row in range(4):
            for place in range(5):
                left = sum(features[row, i] * of_features[i, place] for i in range(3))
                right = sum(probabilities[row, i] * of_classes[i, place] for i in range(2))
                assert found[row, place].item() == exactly(float(left * right) / math.sqrt(5))

    def test_the_random_one_keeps_inner_products_in_expectation(self) -> None:
        features, probabilities = draws((2, 3), (2, 2))
        whole = multilinear(features, probabilities)
        generator = torch.Generator().manual_seed(0)
        maps = [torch.randn(width, 400_000, generator=generator, dtype=torch.float64) for width in (3, 2)]
        small = random_multilinear(features, probabilities, *maps)
        torch.testing.assert_close(gram(small), gram(whole), rtol=0.05, atol=0.05)


class TestEntropyWeights:
    def test_one_plus_exp_of_minus_the_entropy(self) -> None:
        [logits] = draws((6, 4))
        expected = 1 + np.exp(-entropy(softmax(logits.numpy()), axis=1))
        np.testing.assert_allclose(certainty(logits).numpy(), expected, rtol=1e-12)

    def test_extremes(self) -> None:
        assert certainty(torch.tensor([[1e4, 0.0]])).item() == 2
        assert certainty(torch.zeros(1, 5)).item() == pytest.approx(1.2)

    def test_a_weighted_domain_loss(self) -> None:
        told, weights = (draw[:, 0] for draw in draws((7, 1), (7, 1)))
        weights = weights.abs()
        means = []
        for rows, sign in ((range(4), -1), (range(4, 7), 1)):
            losses = [math.log1p(math.exp(sign * told[row].item())) * weights[row].item() for row in rows]
            means.append(math.fsum(losses) / math.fsum(weights[row].item() for row in rows))
        found = domain_loss(told[:4], told[4:], (weights[:4], weights[4:]))
        assert found.item() == exactly(math.fsum(means) / 2)
        ones = torch.ones(4).double(), torch.full((3,), 7.0).double()
        assert domain_loss(told[:4], told[4:], ones).item() == exactly(domain_loss(told[:4], told[4:]).item())


class TestClassConfusion:
    """Jin et al. 2020, section 3."""

    def weights(self, logits: Array, temperature: float) -> Array:
        raw = 1 + np.exp(-entropy(softmax(logits, temperature), axis=1))
        weights: Array = len(logits) * raw / raw.sum()
        return weights

    def from_the_paper(self, logits: Array, temperature: float, weights: Array) -> float:
        said, classes = softmax(logits, temperature), logits.shape[1]
        correlation = np.zeros((classes, classes))
        for row, weight in zip(said, weights, strict=True):
            correlation += weight * np.outer(row, row)
        correlation /= correlation.sum(1, keepdims=True)
        return float((correlation.sum() - np.trace(correlation)) / classes)

    @pytest.mark.parametrize("temperature", [1.0, 2.5])
    def test_any_logits(self, temperature: float) -> None:
        [logits] = draws((6, 4))
        weights = self.weights(logits.numpy(), temperature)  # constants
        assert_slopes(
            lambda x: class_confusion(x, temperature), lambda x: self.from_the_paper(x, temperature, weights), logits
        )

    def test_no_doubt_is_no_confusion_and_ignorance_is_all_but_chance(self) -> None:
        sure = 1e4 * torch.eye(4)
        assert class_confusion(sure, 2.5).item() == pytest.approx(0, abs=1e-6)
        assert class_confusion(torch.zeros(6, 4), 2.5).item() == pytest.approx(3 / 4)

    def test_finite_where_nobody_speaks_for_a_class(self) -> None:
        logits = torch.tensor([[1e4, 0.0, -1e4], [1e4, 1e4, -1e4]], requires_grad=True)
        found = class_confusion(logits, 1.0)
        assert torch.isfinite(found)
        assert torch.isfinite(torch.autograd.grad(found, logits)[0]).all()


class TestDiscrepancy:
    """Saito et al. 2018."""

    def from_the_paper(self, first: Array, second: Array) -> float:
        pairs = zip(softmax(first), softmax(second), strict=True)
        return math.fsum(float(np.abs(p - q).sum()) / len(p) for p, q in pairs) / len(first)

    def test_any_logits(self) -> None:
        first, second = draws((5, 3), (5, 3))
        assert_slopes(lambda x: discrepancy(x, second), lambda x: self.from_the_paper(x, second.numpy()), first)

    def test_equal_heads_agree_with_a_finite_gradient(self) -> None:
        logits = torch.randn(4, 3, requires_grad=True)
        found = discrepancy(logits, logits.detach())
        assert found.item() == 0
        assert torch.isfinite(torch.autograd.grad(found, logits)[0]).all()


class TestNormGrowth:
    """Xu et al. 2019: SAFN."""

    def test_a_step_beyond_the_norms_there_are(self) -> None:
        [features] = draws((5, 3))
        wanted = [math.sqrt((row**2).sum()) + 0.7 for row in features.numpy()]

        def from_the_paper(features: Array) -> float:
            pairs = zip(features, wanted, strict=True)
            return math.fsum((math.sqrt((row**2).sum()) - norm) ** 2 for row, norm in pairs) / 5

        assert_slopes(lambda x: norm_growth(x, 0.7), from_the_paper, features)
        assert norm_growth(features, 0.7).item() == exactly(0.49)

    def test_finite_at_zero(self) -> None:
        features = torch.zeros(4, 3, requires_grad=True)
        assert not torch.autograd.grad(norm_growth(features, 1.0), features)[0].any()


class TestLargestSingularValues:
    """Chen et al. 2019."""

    @pytest.mark.parametrize("size", [(6, 9), (9, 6), (5, 5), (1, 4)])
    @pytest.mark.parametrize("count", [1, 3])
    def test_any_features(self, size: tuple[int, int], count: int) -> None:
        [features] = draws(size)

        def from_the_paper(features: Array) -> float:
            return float((np.linalg.svd(features, compute_uv=False)[:count] ** 2).sum())

        assert_slopes(lambda x: largest_squares(x, count), from_the_paper, features)

    def test_float32(self) -> None:
        features = torch.randn(128, 1024, generator=torch.Generator().manual_seed(0))
        expected = np.linalg.svd(features.double().numpy(), compute_uv=False)[:3] ** 2
        assert largest_squares(features, 3).item() == pytest.approx(expected.sum(), rel=1e-3)
        assert largest_squares(features + 1, 1).item() == pytest.approx(
            np.linalg.svd(features.double().numpy() + 1, compute_uv=False)[0] ** 2, rel=1e-5
        )

    def test_equal_singular_values(self) -> None:
        found = largest_squares(3 * torch.eye(4), 2)
        assert found.item() == pytest.approx(18)

    @pytest.mark.parametrize("value", [0.0, 1e-20, 1.0, 1e15])
    def test_finite_where_features_have_collapsed(self, value: float) -> None:
        features = torch.full((6, 4), value, requires_grad=True)
        found = largest_squares(features, 2)
        assert found.item() == pytest.approx(24 * value**2, rel=1e-4)
        assert torch.isfinite(torch.autograd.grad(found, features)[0]).all()


class TestGradientPenalty:
    """Shen et al. 2018, and Gulrajani et al. 2017 before."""

    def test_of_a_linear_critic_it_is_that_of_its_weight(self) -> None:
        critic = nn.Linear(3, 1).double()
        expected = (critic.weight.norm().item() - 1) ** 2
        assert gradient_penalty(critic, draws((5, 3))[0]).item() == exactly(expected)

    def test_any_critic(self) -> None:
        """The slope of the critic at every point, by differences; and the penalty's own gradient in the weights."""
        torch.manual_seed(0)
        critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
        [points] = draws((5, 3))
        first, bias, last = (critic[0].weight.detach(), critic[0].bias.detach().numpy(), critic[2].weight.detach())

        def from_the_paper(weight: Array) -> float:
            penalties = []
            for point in points.numpy():
                inner = 1 - np.tanh(weight @ point + bias) ** 2
                slope = [sum(last.numpy()[0] * inner * weight[:, i]) for i in range(3)]
                penalties.append((math.sqrt(sum(value**2 for value in slope)) - 1) ** 2)
            return math.fsum(penalties) / 5

        found = gradient_penalty(critic, points)
        assert found.item() == exactly(from_the_paper(first.numpy()))
        gradient = torch.autograd.grad(found, critic[0].weight)[0]
        torch.testing.assert_close(gradient, slopes(from_the_paper, first), rtol=1e-6, atol=1e-8)

    def test_finite_for_a_flat_critic(self) -> None:
        critic = discriminator(3, 4, 1, 0.0, False)
        for parameter in critic.parameters():
            nn.init.zeros_(parameter)
        found = gradient_penalty(critic, torch.randn(5, 3))
        assert found.item() == 1
        found.backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in critic.parameters())

    def test_features_do_not_learn_from_it(self) -> None:
        features = torch.randn(5, 3, requires_grad=True)
        critic = discriminator(3, 4, 1, 0.0, False)
        gradient_penalty(critic, features).backward()
        assert features.grad is None

    def test_points_between_the_domains(self) -> None:
        """Each on the line from its target row to some source row, and spread along it."""
        torch.manual_seed(0)
        source, target = torch.tensor([[0.0], [10.0]]), torch.full((2000, 1), 5.0)
        found = between(source, target)
        assert (found >= 0).all()
        assert (found <= 10).all()
        assert found.mean().item() == pytest.approx(5, abs=0.2)
        assert found.var().item() == pytest.approx(25 / 3, rel=0.1)  # uniform between 0 and 10


LONG: dict[str, Any] = {"epochs": 4, "steps_per_epoch": 20, "lr": 0.01, "backbone_lr": 1.0}


def trained(use: str, folder: Path, strength: float, measure: Callable[[Step], float]) -> float:
    """What is measured of 40 examples of each domain after training with this strength."""
    run = make_run({"use": use, "strength": strength}, **LONG)
    train_run(run, folder / str(strength))
    run.model.eval()
    with torch.no_grad():
        return measure(step_of(run, rows=(40, 40)))


@pytest.mark.parametrize(
    ("use", "strength", "measure"),
    [
        ("coral", 10.0, lambda s: coral(s.source.logits, s.target.logits)),
        ("jan", 1.0, lambda s: multi_gaussian_mmd2(s.source.features, s.target.features, unbiased=True)),
        ("wasserstein", 0.1, lambda s: (s.source.features.mean(0) - s.target.features.mean(0)).norm()),
        ("mcc", 1.0, lambda s: class_confusion(s.target.logits, 2.5)),
        ("bsp", 0.1, lambda s: largest_squares(s.target.features, 1)),
        ("afn", 0.5, lambda s: 1 / s.target.features.norm(dim=1).mean()),
    ],
)
def test_training_lowers_what_the_method_is_about(
    use: str, strength: float, measure: Callable[[Step], Tensor], tmp_path: Path
) -> None:
    """Against the same training with next to no strength."""
    with_it, without = (trained(use, tmp_path, s, lambda step: float(measure(step))) for s in (strength, 1e-9))
    assert with_it < 0.8 * without


def test_the_terms_are_the_formulas() -> None:
    run = make_run(
        {"use": "coral", "layers": ["features", "conv2"], "strength": 3.0},
        {"use": "mcc", "temperature": 1.5, "strength": 2.0},
        {"use": "bsp", "layers": ["features", "conv2"], "count": 2},
        {"use": "afn", "layers": ["features", "conv2"], "growth": 0.5, "strength": 0.1},
        {"use": "jan", "layers": ["backbone", "conv2"], "kernels": 3, "estimator": "biased"},
    )
    run.model.eval()
    step = step_of(run, rows=(6, 5))
    source, target, layers = step.source, step.target, ("features", "conv2")
    expected = [
        3 * sum(coral(source.layer(name), target.layer(name)).item() for name in layers),
        2 * class_confusion(target.logits, 1.5).item(),
        1e-4 * sum(largest_squares(view.layer(name), 2).item() for view in (source, target) for name in layers),
        0.1 * 4 * 0.5**2,
    ]
    kernels = [gaussian_kernels(source.layer(name), target.layer(name), 3) for name in ("backbone", "conv2")]
    distances = torch.cdist(*2 * [torch.cat([source.logits, target.logits]).softmax(1)]).square()
    expected.append(joint_mmd2([*kernels, torch.exp(-distances / 1.68)], 6, False).item())
    found = [penalty(adapter, step).item() for adapter in run.adapters]
    assert found == pytest.approx(expected, rel=1e-4)


class TestDANNOfSeveralLayers:
    def test_one_discriminator_reads_all_side_by_side(self, tmp_path: Path) -> None:
        run = make_run({"use": "dann", "layers": ["features", "conv2", "logits"], "hidden": 8})
        dann = run.adapters[0]
        assert isinstance(dann, DANN)
        assert dann.discriminator[0].in_features == 6 + 5 + 2
        learning = [run.model.backbone.get_parameter(name) for name in ("conv1.weight", "conv2.weight", "fc.weight")]
        gradients = torch.autograd.grad(penalty(dann, step_of(run)), learning)
        assert all(gradient.any() for gradient in gradients)
        train_run(run, tmp_path)

    def test_finding_the_width_of_a_module_changes_nothing(self) -> None:
        plain, tapped = make_run({"use": "dann"}), make_run({"use": "dann", "layers": ["bn1"]})
        assert all(torch.equal(value, state(tapped.model)[name]) for name, value in state(plain.model).items())
        assert tapped.model.training == plain.model.training

    def test_an_unknown_layer(self) -> None:
        with pytest.raises(UserError, match="no layer `conv9`"):
            make_run({"use": "dann", "layers": ["conv9"]})


class TestCDAN:
    def test_the_discriminator_reads_the_map_or_the_random_one(self) -> None:
        whole = make_run({"use": "cdan", "hidden": 8}).adapters[0]
        assert isinstance(whole, CDAN)
        assert whole.discriminator[0].in_features == 6 * 2
        wide = make_run({"use": "cdan", "hidden": 8}, {"use": "head_swap", "bottleneck": 2049}).adapters[0]
        assert isinstance(wide, CDAN)
        assert wide.discriminator[0].in_features == 1024
        assert wide.of_features.shape == (2049, 1024)
        assert {"of_features", "of_classes"} <= set(wide.state_dict()), "a checkpoint holds the random map"

    def test_the_random_map_is_not_trained(self, tmp_path: Path) -> None:
        run = make_run({"use": "cdan", "hidden": 8, "random_width": 16}, {"use": "head_swap", "bottleneck": 2049})
        before = state(run.adapters[0])
        train_run(run, tmp_path)
        after = state(run.adapters[0])
        moved = {name for name in before if not torch.equal(before[name], after[name])}
        assert moved == {name for name in before if name.startswith("discriminator.")}

    @pytest.mark.parametrize("entropy", [False, True])
    def test_the_term(self, entropy: bool) -> None:
        run = make_run({"use": "cdan", "hidden": 8, "entropy": entropy, "dropout": 0.0})
        cdan = run.adapters[0]
        assert isinstance(cdan, CDAN)
        run.model.eval()
        step = step_of(run, rows=(6, 4))
        told = []
        for view in (step.source, step.target):
            said = softmax(view.logits.detach().double().numpy())
            rows = [np.outer(p, f).flatten() for p, f in zip(said, view.features.detach().numpy(), strict=True)]
            weights = 1 + np.exp(-np.asarray(said * -np.log(said)).sum(1)) if entropy else np.ones(len(rows))
            logits = cdan.discriminator(torch.tensor(np.array(rows)).float())[:, 0].detach().double().numpy()
            losses = np.log1p(np.exp(-logits if view.role == "source" else logits))
            told.append((losses * weights).sum() / weights.sum())
        assert penalty(cdan, step).item() == pytest.approx(sum(told) / 2, rel=1e-5)

    def test_the_head_does_not_learn_from_it(self) -> None:
        run = make_run({"use": "cdan", "hidden": 8, "entropy": True})
        below, head = run.model.backbone.get_parameter("fc.weight"), next(run.model.head.parameters())
        found = torch.autograd.grad(penalty(run.adapters[0], step_of(run)), [below, head], allow_unused=True)
        assert found[0] is not None
        assert found[1] is None

    def test_accumulation_only_without_entropy(self) -> None:
        refuse_inexact(make_run({"use": "cdan", "hidden": 8}, {"use": "partial_freeze", "stages": 2}, accumulate=2))
        with pytest.raises(UserError, match="`cdan`"):
            refuse_inexact(make_run({"use": "cdan", "entropy": True}, accumulate=2))


class TestWasserstein:
    def test_only_the_features_learn_from_the_term(self) -> None:
        run = make_run({"use": "wasserstein", "layers": ["features", "conv2"], "hidden": 8, "strength": 0.25})
        adapter = run.adapters[0]
        assert isinstance(adapter, Wasserstein)
        run.model.eval()
        step = step_of(run)
        found = penalty(adapter, step)
        source, target = (torch.cat([v.features, v.layer("conv2")], 1) for v in (step.source, step.target))
        distance = adapter.critic(source).mean() - adapter.critic(target).mean()
        assert found.item() == pytest.approx(0.25 * distance.item(), rel=1e-5)
        below = run.model.backbone.get_parameter("fc.weight")
        expected = torch.autograd.grad(distance, below, retain_graph=True)[0]
        torch.testing.assert_close(torch.autograd.grad(found, below)[0], 0.25 * expected)
        assert not any(parameter.requires_grad for parameter in adapter.parameters())

    def test_the_critic_learns_before_the_features_in_every_step(self) -> None:
        run = make_run({"use": "wasserstein", "hidden": 8})
        before = state(run.adapters[0])
        penalty(run.adapters[0], step_of(run))
        assert not torch.equal(before["critic.0.weight"], state(run.adapters[0])["critic.0.weight"])

    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_the_critic_finds_the_distance(self, scale: float) -> None:
        """Two samples that are the same but for a shift: the distance between them is the length of the shift."""
        torch.manual_seed(0)
        run = make_run({"use": "wasserstein", "hidden": 32, "strength": 1.0})
        step = step_of(run, rows=(40, 40))
        base = scale * torch.randn(40, 6)
        shifts = (scale / math.sqrt(6), 0.0)
        views = [replace(view, features=base + shift) for view, shift in zip(step.views, shifts, strict=True)]
        found = [penalty(run.adapters[0], Step(views, 0.5, 0, run.model)).item() for _ in range(100)]
        assert found[-1] == pytest.approx(scale, rel=0.15)


class TestMCD:
    def test_heads_disagree_and_features_make_them_agree(self) -> None:
        run = make_run({"use": "mcd", "strength": 0.5})
        mcd = run.adapters[0]
        assert isinstance(mcd, MCD)
        run.model.eval()
        step = step_of(run)
        learning = run.task.loss(mcd.second(step.source.features), step.source.labels).mean()  # type: ignore[arg-type]
        apart = discrepancy(run.model.head(step.target.features), mcd.second(step.target.features))
        heads = [next(run.model.head.parameters()), next(mcd.second.parameters())]
        below = run.model.backbone.get_parameter("fc.weight")
        found = torch.autograd.grad(penalty(mcd, step), [*heads, below], retain_graph=True)
        of_learning = torch.autograd.grad(learning, [heads[1], below], retain_graph=True)
        of_discrepancy = torch.autograd.grad(apart, [*heads, below])
        torch.testing.assert_close(found[0], -of_discrepancy[0])
        torch.testing.assert_close(found[1], of_learning[0] - of_discrepancy[1])
        torch.testing.assert_close(found[2], of_learning[1] + 0.5 * of_discrepancy[2])

    def test_the_second_head_is_another_one_and_learns(self, tmp_path: Path) -> None:
        run = make_run({"use": "mcd"}, {"use": "head_swap", "bottleneck": 4})
        mcd = run.adapters[0]
        assert isinstance(mcd, MCD)
        assert mcd.second.settings == run.model.head.settings == {"features": 4, "outputs": 2}
        before = state(mcd.second)
        assert not torch.equal(before["linear.weight"], state(run.model.head)["linear.weight"])
        train_run(run, tmp_path)
        assert not torch.equal(before["linear.weight"], state(mcd.second)["linear.weight"])


@pytest.mark.parametrize("adapter", [{"use": "afn"}, {"use": "mcd"}, {"use": "cdan", "hidden": 8, "dropout": 0.0}])
def test_accumulated_parts_give_the_whole_batchs_term(adapter: dict[str, Any]) -> None:
    run = make_run(adapter)
    run.model.eval()
    found, step = run.adapters[0], step_of(run, rows=(8, 8))
    assert term_of_halves(found, step) == pytest.approx(penalty(found, step).item(), rel=1e-5)
    assert found.additive


@pytest.mark.parametrize("use", ["coral", "jan", "bsp", "wasserstein"])
def test_what_is_not_additive_is_not_accumulated(use: str) -> None:
    with pytest.raises(UserError, match=f"`{use}`"):
        refuse_inexact(make_run({"use": use}, accumulate=2))


class TestWhatIsRefused:
    def prepared(self, adapter: dict[str, Any], change: Callable[[Run], None]) -> None:
        """The adapter, prepared anew in a run that was changed."""
        run = make_run(adapter)
        change(run)
        run.adapters[0].prepare(run)

    @pytest.mark.parametrize("use", ["jan", "cdan", "mcc", "mcd"])
    @pytest.mark.parametrize("labels", [torch.rand(48), torch.rand(48, 2).round(), torch.zeros(48, 3).long()])
    def test_labels_that_are_not_one_class_an_example(self, use: str, labels: Tensor) -> None:
        def relabel(run: Run) -> None:
            run.sources = [replace(run.sources[0], labels=labels)]

        with pytest.raises(UserError, match=rf"`{use}` needs the probabilities(.|\n)*coral"):
            self.prepared({"use": use}, relabel)

    @pytest.mark.parametrize(
        "adapter",
        [
            {"use": "mmd", "layers": ["logits"]},
            {"use": "coral"},
            {"use": "dann", "layers": ["logits"]},
            {"use": "wasserstein", "layers": ["logits"]},
        ],
    )
    def test_logits_of_words(self, adapter: dict[str, Any]) -> None:
        def ask_for_words(run: Run) -> None:
            run.task = run.catalog.create("tasks", "token_classification", {})

        with pytest.raises(UserError, match=r"those of words(.|\n)*features"):
            self.prepared(adapter, ask_for_words)

    @pytest.mark.parametrize("use", ["coral", "jan"])
    def test_a_batch_of_one(self, use: str) -> None:
        with pytest.raises(UserError, match="raise `batch`"):
            make_run({"use": use}, batch=1)

    def test_more_singular_values_than_rows(self) -> None:
        with pytest.raises(UserError, match="lower `count`"):
            make_run({"use": "bsp", "count": 17})


def test_mcc_needs_the_target_alone() -> None:
    assert MCC.needs == {Need.TARGET}


class TestCoralContract(AdapterContract):
    component = Coral


class TestCoralTextContract(TestCoralContract):
    modality = "text"


class TestJANContract(AdapterContract):
    component = JAN
    settings: ClassVar[Mapping[str, Any]] = {"layers": ["features", "layer1"]}


class TestJANTextContract(AdapterContract):
    component = JAN
    modality = "text"


class TestCDANContract(AdapterContract):
    component = CDAN
    settings: ClassVar[Mapping[str, Any]] = {"hidden": 8, "entropy": True}


class TestCDANTextContract(TestCDANContract):
    modality = "text"


class TestCDANRandomContract(AdapterContract):
    component = CDAN
    settings: ClassVar[Mapping[str, Any]] = {"hidden": 8, "random_width": 16}
    others: ClassVar[list[Mapping[str, Any]]] = [{"use": "head_swap", "bottleneck": 1400}]


class TestWassersteinContract(AdapterContract):
    component = Wasserstein
    settings: ClassVar[Mapping[str, Any]] = {"hidden": 8, "layers": ["layer1"]}


class TestWassersteinTextContract(AdapterContract):
    component = Wasserstein
    modality = "text"


class TestMCCContract(AdapterContract):
    component = MCC


class TestMCCTextContract(TestMCCContract):
    modality = "text"


class TestMCDContract(AdapterContract):
    component = MCD


class TestMCDTextContract(TestMCDContract):
    modality = "text"


class TestAFNContract(AdapterContract):
    component = AFN
    settings: ClassVar[Mapping[str, Any]] = {"layers": ["features", "layer1"]}


class TestAFNTextContract(TestAFNContract):
    modality = "text"


class TestBSPContract(AdapterContract):
    component = BSP
    others: ClassVar[list[Mapping[str, Any]]] = [{"use": "dann", "hidden": 8}]


class TestBSPTextContract(TestBSPContract):
    modality = "text"


class TestDANNOfSeveralLayersContract(AdapterContract):
    component = DANN
    settings: ClassVar[Mapping[str, Any]] = {"hidden": 8, "layers": ["features", "layer1"]}


class TestDANNOfSeveralLayersTextContract(TestDANNOfSeveralLayersContract):
    modality = "text"
