"""GBC."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tlhub.score import TransferScore

FLOOR = 1e-4
"""The least variance of a class along a direction, in parts of the features' mean variance."""


class GBC(TransferScore):
    """How little the classes overlap: minus the sum over pairs of classes of their Bhattacharyya coefficient.

    Every class is a Gaussian with a diagonal covariance in the principal components of the features; the coefficient of
    two is exp(-D), with D = 1/8 sum (m - m')^2 / v + 1/2 sum log(v / sqrt(s s')), v = (s + s') / 2 (Pándy et al. 2022,
    "Transferability Estimation using Bhattacharyya Class Separability", eq. 3 to 5). It is between 0, where no two
    classes meet, and minus the number of ordered pairs, where all are the same.

    Deviation: no variance is taken below 1e-4 of the mean one, so that classes with one example or with constant
    features have a score too; the authors' code has a floor in the features' own unit.

    Use it when classes are few and each has some dozens of examples. With many features all pairs seem apart, and the
    score is near 0 for all backbones: then look at another.

    Cost: one singular value decomposition, and the square of the number of classes.

    Args:
        components: how many principal components are looked at; the paper's number.
    """

    name = "gbc"
    paper = "Pándy et al. 2022, https://arxiv.org/abs/2111.12780"

    def __init__(self, components: Annotated[int, Field(ge=1)] = 64) -> None:
        self.components = components

    def score(self, given: Tensor, labels: Tensor) -> float:
        left, singular, _ = torch.linalg.svd(given - given.mean(0), full_matrices=False)
        return gbc((left * singular)[:, : self.components], labels)


def gbc(features: Tensor, labels: Tensor) -> float:
    """The score of features `[n, width]`, whose coordinates count as independent, and labels `[n]`."""
    classes = F.one_hot(labels).double()
    shares = classes / classes.sum(0)
    means = shares.T @ features
    smallest = FLOOR * float(features.var(0, correction=0).mean()) or 1.0  # constant features: any variance will do
    variances = (shares.T @ (features - means[labels]).square()).clamp(min=smallest)
    found = 0.0
    for number in range(len(means)):
        middle = (variances + variances[number]) / 2
        apart = ((means - means[number]).square() / middle).sum(1) / 8
        unlike = (middle.log() - variances.log() / 2 - variances[number].log() / 2).sum(1) / 2
        found += float((-apart - unlike).exp().sum()) - 1  # not with itself
    return -found
