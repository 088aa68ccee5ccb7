"""Nuclear norm of the answers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


def nuclear_norm(logits: Tensor) -> float:
    """||P||_* / n of the matrix `[n, classes]` of probabilities: Cui et al. 2020, their loss with its sign turned."""
    return float(torch.linalg.matrix_norm(logits.double().softmax(1), "nuc")) / len(logits)


class Bnm(Validator):
    """The sum of the singular values of the target's answers: large where they are sure and of many classes.

    Cui et al. 2020, Towards discriminability and diversity: Batch nuclear-norm maximization under label insufficient
    situations, CVPR; as a validator by Musgrave, Belongie & Lim 2022, Three new validators and a large-scale benchmark
    ranking for unsupervised domain adaptation.

    Use it as `information_maximization`; rare classes count for more.
    Cost: a pass over the target; singular values of `[examples, classes]`.
    Known to fail: with methods that maximise it, and as `information_maximization`.
    Deviation: of all target examples, not of a batch. pytorch-adapt's BNMValidator is the same.
    """

    name = "bnm"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return nuclear_norm(seen.target.logits)
