"""Effective rank of the features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.sample import sample

EPSILON = 1e-7


def effective_rank(features: Tensor) -> float:
    """exp(-sum_k p_k log p_k), p_k = sigma_k / sum sigma + 1e-7: Garrido et al. 2023.

    Between 1 and the smaller side of `[examples, width]`; 1 of features that are all 0.
    """
    short = features.double() if len(features) < features.shape[1] else features.double().T
    singular = (
        torch.linalg.eigvalsh(short @ short.T).clamp(min=0).sqrt()
    )  # several times as fast as their decomposition
    shares = singular / singular.sum().clamp(min=torch.finfo(singular.dtype).tiny) + EPSILON
    return max(1.0, float(torch.special.entr(shares).sum().exp()))


class RankMe(Validator):
    """How many directions the features of the target fill: their effective rank.

    Garrido et al. 2023, RankMe: Assessing the downstream performance of pretrained representations by their rank, ICML.

    Use it when features may collapse, or to compare backbones trained without labels; it is for any task.
    Cost: a pass over the target; singular values of 2,000 of its features, always the same.
    Known to fail: it knows no classes. Learning to tell classes apart makes features flatter, so that early epochs are
    preferred, and so is noise.
    Deviations: of what the head reads, not of a pretrained encoder's output; beyond 2,000 examples, a sample.
    Neither pytorch-adapt nor skada has it.
    """

    name = "rankme"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return effective_rank(sample(seen.target).features)
