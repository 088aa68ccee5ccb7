"""Entropy of the answers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


def mean_entropy(logits: Tensor) -> float:
    """(1/n) sum_i H(p_i), in nats: Morerio et al. 2018, the entropy of target answers by which they choose."""
    return float(torch.special.entr(logits.double().softmax(1)).sum(1).mean())


class Entropy(Validator):
    """How sure the model is of the target examples: the mean entropy of its answers, with its sign turned.

    Morerio, Cavazza & Murino 2018, Minimal-entropy correlation alignment for unsupervised deep domain adaptation, ICLR.

    Use it when a method's one setting is to be chosen, and the method itself does not make the model sure.
    Cost: a pass over the target.
    Known to fail: with methods that minimise entropy, and by collapse: nothing is surer than one class for all, and a
    model trained longer is surer, right or wrong.
    pytorch-adapt's EntropyValidator is the same.
    """

    name = "entropy"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return -mean_entropy(seen.target.logits)
