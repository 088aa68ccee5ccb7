"""The squared maximum mean discrepancy with Gaussian kernels (Gretton et al. 2012)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_alignment.gram import gram


def gaussian_mmd2(x: Tensor, y: Tensor, sigma: float, unbiased: bool = False) -> Tensor:
    """MMD^2 of the rows of `x` and `y` with the kernel exp(-d^2 / (2 sigma^2))."""
    return multi_gaussian_mmd2(x, y, kernels=1, sigma=sigma, unbiased=unbiased)


def multi_gaussian_mmd2(
    x: Tensor, y: Tensor, kernels: int = 5, sigma: float | None = None, unbiased: bool = False
) -> Tensor:
    """MMD^2 with the sum of several Gaussians; see `gaussian_kernels`."""
    return mmd2(gaussian_kernels(x, y, kernels, sigma), len(x), unbiased)


def gaussian_kernels(x: Tensor, y: Tensor, kernels: int = 5, sigma: float | None = None) -> Tensor:
    """`[n, n]`, for all pairs of rows of both samples: the sum of `kernels` Gaussians exp(-d^2 / b_i).

    Each bandwidth b_i is twice the one before. Number `kernels // 2`, counted from 0, is 2 sigma^2; without a sigma,
    the mean squared distance over all pairs of different rows, seen as a constant (no gradient flows into it).
    """
    distances = squared_distances(torch.cat([x, y]))
    bandwidth = mean_bandwidth(distances, x, y) if sigma is None else 2 * sigma**2
    kernel = torch.exp(distances * (-(2.0 ** (1 + kernels // 2 - kernels)) / bandwidth))  # the widest
    total = kernel
    for _ in range(kernels - 1):
        kernel = kernel * kernel  # half the bandwidth, without another exponential
        total = total + kernel
    return total


def mmd2(kernel: Tensor, rows: int, unbiased: bool) -> Tensor:
    """MMD^2 from the kernel matrix of two samples, one after the other, the first of `rows` rows.

    Biased (Gretton et al. 2012, eq. 5, squared): all pairs. Unbiased (eq. 3): no row is paired with itself; it may be
    negative.
    """
    x, y, between = kernel[:rows, :rows], kernel[rows:, rows:], kernel[:rows, rows:]
    if not unbiased:
        return x.mean() + y.mean() - 2 * between.mean()
    if min(len(x), len(y)) < 2:
        raise ValueError("the unbiased MMD needs two rows of each sample")
    return _mean_of_pairs(x) + _mean_of_pairs(y) - 2 * between.mean()


def joint_mmd2(kernels: Sequence[Tensor], rows: int, unbiased: bool) -> Tensor:
    """MMD^2 of several layers' joint distribution: that of the product of their kernel matrices (see `mmd2`)."""
    product = kernels[0]
    for kernel in kernels[1:]:
        product = product * kernel
    return mmd2(product, rows, unbiased)


def require_two(run: Run, name: str) -> None:
    """Raise UserError where a batch is too small for the adapter `name` to estimate an MMD without bias."""
    if run.train.batch < 2:
        raise UserError(
            f"`{name}` cannot be estimated without bias from one example",
            "raise `batch` under `train`, or write `estimator: biased`",
        )


def squared_distances(rows: Tensor) -> Tensor:
    """`[n, n]`: squared distances of all rows, from one Gram matrix.

    The rows are centred first, which changes no distance: else an offset of 100 cancels away five digits in float32.
    The diagonal is exactly 0.
    """
    centred = rows - rows.detach().mean(0)
    products = gram(centred)
    squares = products.diagonal()
    return (squares[:, None] + squares - 2 * products).clamp(min=0)


def mean_bandwidth(distances: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The mean of the squared distances of different rows, as a constant.

    It is not less than what rounding makes of equal rows, so that features that collapsed into one point give a finite
    gradient, and not so small that float32 has no room for its reciprocal.
    """
    with torch.no_grad():
        n = len(distances)
        mean_square = (torch.linalg.vector_norm(x).square() + torch.linalg.vector_norm(y).square()) / n
        resolution = torch.finfo(distances.dtype).eps ** 2 * mean_square
        bandwidth = torch.maximum(distances.sum() / (n * n - n), resolution)
        return torch.where(bandwidth > 1e-30, bandwidth, torch.ones_like(bandwidth))


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    n = len(kernel)
    return (kernel.sum() - kernel.trace()) / (n * n - n)
