"""Deep embedded validation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.density import weighted_losses


def deep_embedded_risk(weights: Tensor, losses: Tensor) -> float:
    """mean(L) + eta mean(W) - eta, with L = W l and eta = -Cov(L, W) / Var(W): You et al. 2019, algorithm 1.

    Without any variance of W there is nothing to correct, and eta is 0.
    """
    weighted = weights * losses
    spread = weights - weights.mean()
    variance = float(spread.square().sum())
    eta = -float((spread * (weighted - weighted.mean())).sum()) / variance if variance > 0 else 0.0
    return float(weighted.mean()) + eta * float(weights.mean()) - eta


class Dev(Validator):
    """`iwv` with a control variate, which takes away much of its variance.

    You et al. 2019, Towards accurate model selection in deep unsupervised domain adaptation, ICML: since weights have
    mean 1 where they are right, eta times what their mean is away from 1 is taken from the weighted risk.

    Use it when `iwv` would be, and held-out source examples are few.
    Cost: as `iwv`.
    Known to fail: as `iwv`; where the weights have nearly no variance, or are far from mean 1, the correction itself is
    large, and the risk may be negative.
    Deviations: the domains are told apart by logistic regression of standardised features; the paper trains a network
    with one hidden layer and chooses its weight decay, as pytorch-adapt does, which can further scale the weights to a
    maximum of 1 or standardise them (not here: the paper has neither). The formula from weights and losses is the same.
    """

    name = "dev"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})

    def score(self, task: Task, seen: Evidence) -> float:
        return -deep_embedded_risk(*weighted_losses(task, seen))
