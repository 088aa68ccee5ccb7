"""Kernel mean matching."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_reweight.density import DensityRatio, median_distance, normalised, squared_distances

MOST = 10_000
"""So many source examples are matched: the kernel matrix then takes 800 MB."""


def match_means(kernel: Tensor, kappa: Tensor, bound: float, slack: float, steps: int = 5000) -> Tensor:
    """The beta `[n]` of least 1/2 beta' K beta - kappa' beta with 0 <= beta <= bound and |sum beta - n| <= n slack.

    By projected gradients with momentum that restarts where it leads uphill (O'Donoghue & Candes 2015), until no beta
    would change by 1e-7 in a step.
    """
    n = len(kernel)
    rate = 1 / float(kernel.abs().sum(1).max())  # no eigenvalue is larger
    beta = ahead = torch.ones_like(kappa)
    momentum = 1.0
    for _ in range(steps):
        gradient = kernel @ ahead - kappa
        new = project(ahead - rate * gradient, bound, n * (1 - slack), n * (1 + slack))
        if (new - ahead).abs().max() < 1e-7:
            return new
        if gradient @ (new - beta) > 0:
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = new + (momentum - 1) / following * (new - beta)
        beta, momentum = new, following
    return beta


def project(point: Tensor, bound: float, least: float, most: float) -> Tensor:
    """The nearest point with coordinates in [0, bound] whose sum is in [least, most]."""
    inside = point.clamp(0, bound)
    if least <= inside.sum() <= most:
        return inside
    wanted = least if inside.sum() < least else most
    low, high = point.min() - bound, point.max()  # the shift at which all are at the bound, and at which all are 0
    for _ in range(100):
        shift = (low + high) / 2
        if (point - shift).clamp(0, bound).sum() > wanted:
            low = shift
        else:
            high = shift
    return (point - high).clamp(0, bound)


class KMM(DensityRatio):
    """Weighs source examples so that the means of both domains agree in the space of a Gaussian kernel.

    The quadratic program of Huang et al. 2007: minimise 1/2 b' K b - kappa' b over 0 <= b_i <= B and |sum b - n| <= n
    eps, with K the kernel of the n source examples and kappa_i = n / m times the sum of k(x_i, .) over the m target
    examples.

    Use it when the target's inputs are a differently drawn part of the source's, and there are at most some thousands.
    Cost: nothing per step; at the start O(n^2) memory and some thousand products with an n x n matrix.
    Deviation: features of the pretrained backbone stand for the inputs; the weights are scaled to mean 1; the width of
    the kernel is by default the median distance, where the paper sets it for each data set.

    Args:
        bandwidth: sigma of the kernel exp(-d^2 / (2 sigma^2)); `median`: the median distance of the examples.
        bound: B, the largest weight; 1000 as in the paper. Lower it where few examples get all the weight.
        slack: eps, how far the weights' mean may be from 1; null is the paper's (sqrt(n) - 1) / sqrt(n).
    """

    name = "kmm"
    paper = "Huang et al. 2007, Correcting sample selection bias by unlabeled data, NeurIPS"

    def __init__(
        self,
        bandwidth: Annotated[float, Field(gt=0)] | Literal["median"] = "median",
        bound: Annotated[float, Field(gt=1)] = 1000.0,
        slack: Annotated[float, Field(ge=0, lt=1)] | None = None,
    ) -> None:
        super().__init__()
        self.bandwidth, self.bound, self.slack = bandwidth, bound, slack

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        if len(self.ratios) > MOST:
            raise UserError(
                f"`kmm` compares all source examples with each other: {MOST} at most, and there are {len(self.ratios)}",
                f"write `split: train[:{MOST}]` in the `source`, or use `kliep` or `domain_classifier`",
            )

    def ratio(self, source: Tensor, target: Tensor) -> Tensor:
        sigma = median_distance(source, target) if self.bandwidth == "median" else float(self.bandwidth)
        kernel, across = (torch.exp(squared_distances(source, x) / (-2 * sigma**2)) for x in (source, target))
        n = len(source)
        slack = (math.sqrt(n) - 1) / math.sqrt(n) if self.slack is None else self.slack
        return normalised(match_means(kernel, n * across.mean(1), self.bound, slack))
