"""TransRate."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.score import TransferScore


class TransRate(TransferScore):
    """How many more nats it takes to code the features than to code those of each class: R(Z, e) - R(Z, e | Y).

    R(Z, e) = 1/2 log det(1 + Z'Z / (n e)) of centred features is how long their code is when each may be wrong by e;
    the difference approximates the mutual information of features and labels (Huang et al. 2022, "Frustratingly Easy
    Transferability Estimation", eq. 4 to 6). It is never negative.

    Deviation: features are first scaled so that their mean squared length is 1: otherwise `epsilon`, and so the order
    of backbones, would depend on their unit. Deviation: classes weigh as many examples as they have, not all the same
    as in the paper's listing; of balanced classes that is equal. As there, a class is not centred by itself.

    Use it when there are many examples of every class; it favours wide features, so compare backbones of like width.

    Cost: the eigenvalues of one covariance for all and one for every class.

    Args:
        epsilon: the error that is allowed, in parts of the features' mean squared length; the paper's value.
    """

    name = "transrate"
    paper = "Huang et al. 2022, https://arxiv.org/abs/2106.09362"

    def __init__(self, epsilon: Annotated[float, Field(gt=0)] = 1e-4) -> None:
        self.epsilon = epsilon

    def score(self, given: Tensor, labels: Tensor) -> float:
        return transrate(given, labels, self.epsilon)


def transrate(features: Tensor, labels: Tensor, epsilon: float) -> float:
    """The score of features `[n, width]` and labels `[n]`; 0 of constant features."""
    centred = features - features.mean(0)
    size = math.sqrt(float(centred.square().sum(1).mean()))
    if size <= float(features.abs().max()) * torch.finfo(torch.float64).eps * len(features):
        return 0.0
    scaled = centred / size
    parts = [scaled[labels == number] for number in range(int(labels.max()) + 1)]
    inside = sum(len(part) / len(scaled) * coding_rate(part, epsilon) for part in parts)
    return coding_rate(scaled, epsilon) - inside


def coding_rate(features: Tensor, epsilon: float) -> float:
    """1/2 log det(1 + Z'Z / (n epsilon)) of `[n, width]`, by whichever of Z'Z and ZZ' is smaller."""
    examples, width = features.shape
    gram = features.T @ features if width < examples else features @ features.T
    return 0.5 * float(torch.logdet(torch.eye(len(gram), dtype=gram.dtype) + gram / (examples * epsilon)))
