"""LogME."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from tlhub.score import TransferScore

LOWEST = 1e-12
"""The least ratio of noise to signal, in parts of the largest squared singular value: what float64 resolves."""

POINTS, ROUNDS = 201, 3
"""Every round lays so many points around the best of the round before; the last are 1e-4 apart on a log scale."""


class LogME(TransferScore):
    """The log evidence of a Bayesian linear regression from features to labels.

    The mean over classes and examples of log p(y | F), for the label y of one class against all, at the noise and the
    prior that make it largest (You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer
    Learning", eq. 2 and 3, and algorithm 1). It does not change when features are rotated.

    Deviation: the paper iterates a fixed point; here the evidence is searched along its only free ratio, of prior to
    noise, for which the best noise is known in closed form. Where it has several maxima the highest with noise is
    taken, and only where there is none the limit without noise: there, more features than examples fit any labels.
    Deviation: the authors' code leaves out a term where there are fewer examples than features, and gives too large
    values there; this is the evidence. Features that give the labels exactly may have an unbounded one: the ratio is
    kept where float64 resolves it, so that the score is large and finite.

    Use it when backbones of different width are to be compared on a few hundred examples or more; it is a good first
    choice, since it has no setting and holds with fewer examples than features too.

    Cost: one singular value decomposition of the features: seconds for 5,000 examples of width 1,000.
    """

    name = "logme"
    paper = "You et al. 2021, https://arxiv.org/abs/2102.11005"

    def score(self, given: Tensor, labels: Tensor) -> float:
        return logme(given, labels)


def logme(features: Tensor, labels: Tensor) -> float:
    """The mean over classes of the largest log evidence for an example, of features `[n, width]`, labels `[n]`."""
    targets = F.one_hot(labels).double()
    left, singular, _ = torch.linalg.svd(features, full_matrices=False)
    kept = singular > singular[0] * max(features.shape) * torch.finfo(torch.float64).eps
    left, power = left[:, kept], singular[kept].square()
    inside = left.T @ targets
    outside = (targets - left @ inside).square().sum(0)  # of every target, what no linear map of the features gives
    each = zip(inside.T.square(), outside, strict=True)
    return float(torch.stack([_evidence(len(features), power, *target) for target in each]).mean())


def _evidence(examples: int, power: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """The largest log evidence of one target, for an example.

    Where the prior's precision is r times the noise's, the target's covariance is (1 + F F' / r) / precision: its
    determinant and its quadratic form follow from the squared singular values of F, `power`, and from the target's
    squared parts along and outside its left singular vectors.
    """
    scale = math.log(float(power[0])) if len(power) else 0.0
    logs = torch.linspace(scale + math.log(LOWEST), scale - math.log(LOWEST), POINTS, dtype=torch.float64)
    best = None
    for _ in range(ROUNDS):
        ratio = logs.exp()[:, None]
        quadratic = (ratio / (ratio + power)) @ inside + outside
        evidence = examples * (torch.log(examples / (2 * math.pi * quadratic)) - 1) - torch.log1p(power / ratio).sum(1)
        best = _peak(evidence) if best is None else int(evidence.argmax())
        near = logs[max(0, best - 1)], logs[min(POINTS - 1, best + 1)]
        logs = torch.linspace(float(near[0]), float(near[1]), POINTS, dtype=torch.float64)
    return evidence.max() / (2 * examples)


def _peak(values: Tensor) -> int:
    """Where the highest peak is; of values that have none, the higher end."""
    inner, outer = values[1:-1].unfold(0, 3, 1), values[[0, -1]]
    middle = values[2:-2]
    lower = torch.maximum(values[:-4], values[4:]) + 1e-9 * outer.abs().max()  # more than rounding, on a flat stretch
    peaks = (middle >= inner.max(1).values) & (middle > lower)
    return int(torch.where(peaks, middle, -torch.inf).argmax()) + 2 if bool(peaks.any()) else int(values.argmax())
