"""The shrunk H-score."""

from __future__ import annotations

import torch
from torch import Tensor

from tlhub.score import TransferScore
from tlhub_scores.spread import between


class HScoreShrunk(TransferScore):
    """The H-score with a shrunk covariance, which also holds where there are few examples.

    tr(C^-1 (1 - a) cov(E[f | y])), where C = (1 - a) cov(f) + a tr(cov(f)) / width is the covariance of Ledoit & Wolf
    2004, a the share that they estimate to be best (Ibrahim et al. 2022, "Newer is not always better: Rethinking
    transferability metrics, their peculiarities, stability and performance", section 3.2).

    Use it when there are fewer than some ten examples a feature; with many more it is the `hscore`.

    Cost: one singular value decomposition of the features.
    """

    name = "hscore_shrunk"
    paper = "Ibrahim et al. 2022, https://arxiv.org/abs/2110.06893"

    def score(self, given: Tensor, labels: Tensor) -> float:
        return hscore_shrunk(given, labels)


def hscore_shrunk(features: Tensor, labels: Tensor) -> float:
    """The shrunk H-score of features `[n, width]` and labels `[n]`; 0 of constant features."""
    scatter, share = between(features, labels)
    variance = scatter / len(features)
    shrinkage = ledoit_wolf(features - features.mean(0), variance)
    signal = (1 - shrinkage) * variance
    return float((share * signal / (signal + shrinkage * variance.sum() / features.shape[1])).sum())


def ledoit_wolf(centred: Tensor, variance: Tensor) -> Tensor:
    """Ledoit & Wolf's shrinkage towards a sphere, between 0 and 1.

    Args:
        centred: features `[n, width]` of mean 0.
        variance: the eigenvalues of their covariance (with n in the denominator) that are not 0.
    """
    examples, width = centred.shape
    squared = variance.square().sum()
    fourth = centred.square().sum(1).square().sum()
    error = (fourth / examples - squared) / examples  # of the covariance, as an estimate
    distance = squared - variance.sum().square() / width  # of the covariance from the sphere
    if distance <= torch.finfo(torch.float64).eps * squared:
        return distance.new_zeros(())  # it is a sphere already, as that of one feature always is
    return (error / distance).clamp(0, 1)
