"""The formulas against published values, values worked out by hand, and implementations written from the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from tlhub.model import SeparateBatchNorm
from tlhub.train import schedule
from tlhub_alignment.adversary import discriminator, domain_loss, reverse
from tlhub_alignment.gaussian import gaussian_mmd2, multi_gaussian_mmd2, squared_distances
from tlhub_alignment.warmup import warm_up

Array = npt.NDArray[np.float64]


def exactly(value: float) -> Any:
    """Equal to 10 digits: the tolerance of all reference values in float64."""
    return pytest.approx(value, rel=1e-10, abs=1e-14)


def gradient(value: Tensor, *inputs: Tensor) -> Tensor:
    """The gradients in the inputs, one below the other."""
    return torch.cat(torch.autograd.grad(value, inputs))


def column(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def samples(rows: int = 7, others: int = 5, width: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return x, torch.randn(others, width, generator=generator, dtype=torch.float64) + 0.5


class TestGradientReversal:
    """Ganin et al. 2016, eq. 9 and 18."""

    def test_forward_is_the_identity_bit_by_bit(self) -> None:
        features = torch.randn(4, 3)
        assert torch.equal(reverse(features, 0.3), features)

    def test_each_path_is_scaled_by_minus_lambda(self) -> None:
        x = torch.tensor([2.0, 3.0], dtype=torch.float64, requires_grad=True)
        loss = (torch.tensor([5.0, 7.0], dtype=torch.float64) * reverse(x, 0.3)).sum()
        assert gradient(loss, x).tolist() == [exactly(-1.5), exactly(-2.1)]

    def test_it_is_no_derivative_of_its_forward(self) -> None:
        x = torch.randn(3, dtype=torch.float64, requires_grad=True)
        with pytest.raises(RuntimeError, match="Jacobian mismatch"):
            torch.autograd.gradcheck(lambda inputs: reverse(inputs, 0.3), (x,))

    def test_features_fool_and_the_discriminator_learns(self) -> None:
        """d/d features = dL_class - lambda dL_domain; d/d discriminator = + dL_domain, not scaled by lambda."""
        torch.manual_seed(0)
        extractor, head, domain = (nn.Linear(3, 4).double(), nn.Linear(4, 2).double(), nn.Linear(4, 1).double())
        inputs, labels = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 0])

        def losses(factor: float | None) -> tuple[Tensor, Tensor]:
            features = extractor(inputs)
            told = domain(features if factor is None else reverse(features, factor)).squeeze(1)
            return nn.functional.cross_entropy(head(features), labels), domain_loss(told[:3], told[3:])

        of_class = torch.autograd.grad(losses(None)[0], extractor.weight)[0]
        of_domain, expected_domain = torch.autograd.grad(losses(None)[1], [extractor.weight, domain.weight])
        found, found_domain = torch.autograd.grad(sum(losses(0.3), torch.zeros(())), [extractor.weight, domain.weight])
        torch.testing.assert_close(found, of_class - 0.3 * of_domain, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(found_domain, expected_domain, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    ("progress", "factor"),
    [
        (0, 0),
        (0.1, 0.4621171572600098),
        (0.25, 0.8482836399575131),
        (0.5, 0.9866142981514305),
        (0.75, 0.9988944427261528),
        (1, 0.9999092042625952),
    ],
)
def test_lambda_of_dann(progress: float, factor: float) -> None:
    """Ganin et al. 2016, section 5.2.2."""
    assert warm_up("dann", progress) == exactly(factor)
    assert warm_up("constant", progress) == 1


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0, 0.01), (0.25, 0.003907949713906801), (0.5, 0.0026084743001221454), (1, 0.0016556002607617019)],
)
def test_learning_rate_of_dann(progress: float, rate: float) -> None:
    """Ganin et al. 2016, section 5.2.2, from a start of 0.01."""
    assert 0.01 * schedule("dann", progress) == exactly(rate)


def kernel_mean(a: Array, b: Array, bandwidths: list[float], itself: bool = True) -> float:
    """The mean over pairs of rows of a sum of Gaussian kernels, pair by pair; rows with themselves only if asked."""
    values = [
        sum(math.exp(-float(((p - q) ** 2).sum()) / width) for width in bandwidths)
        for i, p in enumerate(a)
        for j, q in enumerate(b)
        if itself or i != j
    ]
    return math.fsum(values) / len(values)


def mmd2_from_the_paper(x: Array, y: Array, bandwidths: list[float], unbiased: bool) -> float:
    """Gretton et al. 2012, eq. 3 (unbiased) and the square of eq. 5 (biased)."""
    within = kernel_mean(x, x, bandwidths, not unbiased) + kernel_mean(y, y, bandwidths, not unbiased)
    return within - 2 * kernel_mean(x, y, bandwidths)


def bandwidths_of_dan(x: Array, y: Array, kernels: int) -> list[float]:
    """The mean squared distance of different rows, divided by 2^(kernels // 2), times 2^i."""
    rows = [*x, *y]
    distances = [float(((p - q) ** 2).sum()) for i, p in enumerate(rows) for j, q in enumerate(rows) if i != j]
    middle = math.fsum(distances) / len(distances)
    return [middle / 2 ** (kernels // 2) * 2**i for i in range(kernels)]


class TestMMD:
    """Gretton et al. 2012; the kernels of DAN, Long et al. 2015."""

    A = torch.tensor([[0, 0], [1, 0], [0, 2]], dtype=torch.float64)
    B = torch.tensor([[1, 1], [2, 1], [3, 0]], dtype=torch.float64)

    def test_one_gaussian(self) -> None:
        x, y = column(0, 1), column(2, 4)
        assert gaussian_mmd2(x, y, 1.0).item() == exactly(0.9942777704169278)
        assert gaussian_mmd2(x, y, 1.0, unbiased=True).item() == exactly(0.3652107418915508)

    def test_equal_samples(self) -> None:
        x = column(0, 1)
        assert gaussian_mmd2(x, x, 1.0).item() == exactly(0)
        assert gaussian_mmd2(x, x, 1.0, unbiased=True).item() == exactly(math.exp(-0.5) - 1)

    def test_five_gaussians_around_the_mean_distance(self) -> None:
        assert bandwidths_of_dan(self.A.numpy(), self.B.numpy(), 5)[2] == exactly(4.066666666666666)
        assert multi_gaussian_mmd2(self.A, self.B, unbiased=True).item() == exactly(0.8666712466723334)
        assert multi_gaussian_mmd2(self.A, self.B).item() == exactly(2.50826217368086)

    def test_unbiased_is_zero_in_expectation(self) -> None:
        """Both samples from one distribution: zero within 4 standard errors, and negative in most draws."""
        generator = torch.Generator().manual_seed(0)
        draws = torch.randn(4000, 16, 4, generator=generator, dtype=torch.float64)
        unbiased = torch.stack([gaussian_mmd2(draw[:8], draw[8:], 2.0, unbiased=True) for draw in draws])
        biased = torch.stack([gaussian_mmd2(draw[:8], draw[8:], 2.0) for draw in draws])
        assert abs(unbiased.mean()) < 4 * unbiased.std() / math.sqrt(len(draws))
        assert (unbiased < 0).double().mean().item() == pytest.approx(0.57, abs=0.03)
        assert biased.mean().item() == pytest.approx(0.139, abs=0.002)
        assert biased.min() >= 0

    @pytest.mark.parametrize("unbiased", [False, True])
    @pytest.mark.parametrize("kernels", [1, 2, 5, 6])
    def test_any_samples_and_kernels(self, kernels: int, unbiased: bool) -> None:
        x, y = samples()
        widths = bandwidths_of_dan(x.numpy(), y.numpy(), kernels)
        expected = mmd2_from_the_paper(x.numpy(), y.numpy(), widths, unbiased)
        assert multi_gaussian_mmd2(x, y, kernels, unbiased=unbiased).item() == exactly(expected)
        around = [2 * 1.7**2 / 2 ** (kernels // 2) * 2**i for i in range(kernels)]
        expected = mmd2_from_the_paper(x.numpy(), y.numpy(), around, unbiased)
        assert multi_gaussian_mmd2(x, y, kernels, 1.7, unbiased).item() == exactly(expected)

    @pytest.mark.parametrize("unbiased", [False, True])
    def test_gradient_with_a_given_bandwidth(self, unbiased: bool) -> None:
        x, y = (sample.requires_grad_() for sample in samples())
        assert torch.autograd.gradcheck(lambda x, y: gaussian_mmd2(x, y, 1.3, unbiased), (x, y))
        assert torch.autograd.gradcheck(lambda x, y: multi_gaussian_mmd2(x, y, 5, 1.3, unbiased), (x, y))

    def test_gradient_sees_the_mean_bandwidth_as_a_constant(self) -> None:
        x, y = samples()
        widths = bandwidths_of_dan(x.numpy(), y.numpy(), 5)
        x.requires_grad_()
        found = gradient(multi_gaussian_mmd2(x, y), x)
        for row, place in [(0, 0), (3, 2), (6, 1)]:
            step = np.zeros_like(y.numpy(), shape=x.shape)
            step[row, place] = 1e-6
            ends = [mmd2_from_the_paper(x.detach().numpy() + s * step, y.numpy(), widths, False) for s in (1, -1)]
            assert found[row, place].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)

    @pytest.mark.parametrize("unbiased", [False, True])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("value", [0.0, 1.0, 100.1, 1e-20, 1e15])
    def test_finite_where_all_features_have_collapsed_into_one_point(
        self, value: float, dtype: torch.dtype, unbiased: bool
    ) -> None:
        x, y = (torch.full((rows, 16), value, dtype=dtype, requires_grad=True) for rows in (6, 4))
        found = multi_gaussian_mmd2(x, y, unbiased=unbiased)
        assert found.item() == pytest.approx(0, abs=1e-5)
        assert torch.isfinite(gradient(found, x, y)).all()

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_finite_where_the_samples_are_equal(self, dtype: torch.dtype) -> None:
        x, y = (torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=dtype) for _ in range(2))
        x.requires_grad_()
        found = multi_gaussian_mmd2(x, y)
        assert found.item() == pytest.approx(0, abs=1e-5)
        assert gradient(found, x).abs().max().item() == pytest.approx(0, abs=1e-5)  # at its least

    def test_one_row_a_sample(self) -> None:
        x, y = column(0.0).requires_grad_(), column(2.0)
        found = gaussian_mmd2(x, y, 1.0)
        assert found.item() == exactly(2 - 2 * math.exp(-2))
        assert gradient(found, x).item() == exactly(-4 * math.exp(-2))
        for one, two in [(x, column(1, 2)), (column(1, 2), x), (x, y)]:
            with pytest.raises(ValueError, match="two rows"):
                gaussian_mmd2(one, two, 1.0, unbiased=True)

    @pytest.mark.parametrize("width", [8, 1024])
    def test_float32_is_accurate_far_from_the_origin(self, width: int) -> None:
        """Features around 100: without centring, the gradient would be wrong by 1e-3."""
        x, y = ((sample + 100).float() for sample in samples(128, 128, width))
        single, double = (z.clone().requires_grad_() for z in (x, x.double()))
        low, high = multi_gaussian_mmd2(single, y), multi_gaussian_mmd2(double, y.double())
        assert low.item() == pytest.approx(high.item(), rel=1e-5)
        found, expected = gradient(low, single), gradient(high, double)
        assert (found - expected).norm() / expected.norm() <= 1e-5

    def test_no_tensor_is_larger_than_all_pairs_of_the_batch(self) -> None:
        """128 + 128 rows of width 1024: a difference for every pair would take 256 MB."""
        x, y = (sample.float().requires_grad_() for sample in samples(128, 128, 1024))
        largest = 0

        def note(tensor: Tensor) -> Tensor:
            nonlocal largest
            largest = max(largest, tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            gradient(multi_gaussian_mmd2(x, y), x, y)
        assert largest <= 256 * 1024

    def test_distance_of_a_row_to_itself_is_zero(self) -> None:
        assert squared_distances(samples()[0].float() + 1000).diagonal().abs().max() == 0


class TestDomainLoss:
    """The mean of the two domains' mean binary cross-entropies."""

    def test_ignorance_costs_ln_2(self) -> None:
        assert domain_loss(torch.zeros(4).double(), torch.zeros(9).double()).item() == exactly(math.log(2))

    def test_the_binary_cross_entropy_of_the_right_domain(self) -> None:
        source, target = (torch.randn(n, dtype=torch.float64) for n in (5, 3))
        right = [1 / (1 + np.exp(-source.numpy())), 1 / (1 + np.exp(target.numpy()))]
        expected = np.mean([np.mean(-np.log(probability)) for probability in right])
        assert domain_loss(source, target).item() == exactly(float(expected))

    def test_unequal_batches_weigh_alike(self) -> None:
        source, target = torch.randn(10, dtype=torch.float64), torch.randn(10, dtype=torch.float64)
        twice = torch.cat([source, source])
        assert domain_loss(twice, target).item() == exactly(domain_loss(source, target).item())

    def test_finite_however_sure_the_discriminator_is(self) -> None:
        logits = torch.tensor([1e4], requires_grad=True)
        assert torch.isfinite(gradient(domain_loss(-logits, logits), logits)).all()

    @pytest.mark.parametrize(("layers", "linear"), [(0, 1), (1, 2), (2, 3)])
    def test_discriminators(self, layers: int, linear: int) -> None:
        network = discriminator(7, 4, layers, dropout=0.5, batch_norm=True)
        assert network(torch.randn(5, 7)).shape == (5, 1)
        assert sum(isinstance(module, nn.Linear) for module in network) == linear


class TestBatchNormOfTwoDomains:
    """Source {0, 2} and target {10, 14} in one joint batch."""

    batch = column(0, 2, 10, 14)

    def norm(self) -> nn.BatchNorm1d:
        return nn.BatchNorm1d(1, eps=1e-12).double().train()

    def test_joint(self) -> None:
        expected = [-1.135815, -0.786334, 0.611593, 1.310556]
        assert self.norm()(self.batch).flatten().tolist() == pytest.approx(expected, abs=1e-6)

    def test_separate_statistics(self) -> None:
        with SeparateBatchNorm([2, 2]):
            assert self.norm()(self.batch).flatten().tolist() == [exactly(sign) for sign in (-1, 1, -1, 1)]

    def test_the_running_statistics_are_the_targets(self) -> None:
        norm, alone = self.norm(), self.norm()
        with SeparateBatchNorm([2, 2]):
            norm(self.batch)
        alone(self.batch[2:])
        for (name, value), other in zip(norm.named_buffers(), alone.buffers(), strict=True):
            assert torch.equal(value, other), name
