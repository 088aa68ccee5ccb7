"""Mutual information of examples and answers."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.entropy import mean_entropy


def mutual_information(logits: Tensor) -> float:
    """H((1/n) sum_i p_i) - (1/n) sum_i H(p_i), in nats: the information of Shi & Sha 2012."""
    return float(torch.special.entr(logits.double().softmax(1).mean(0)).sum()) - mean_entropy(logits)


class InformationMaximization(Validator):
    """How sure the model is of the target examples, and how evenly its answers are spread over the classes.

    Shi & Sha 2012, Information-theoretical learning of discriminative clusters for unsupervised domain adaptation,
    ICML: the entropy of the mean answer less the mean entropy of the answers, their mutual information with the
    examples.

    Use it when the target's classes are about equally frequent. One class for all, where `entropy` is best, is worst.
    Cost: a pass over the target.
    Known to fail: it rewards even answers even where the target's classes are not, and sure clusters under swapped
    names.
    pytorch-adapt's IMValidator is the same but for 1e-8 or so, which it adds within a logarithm.
    """

    name = "information_maximization"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return mutual_information(seen.target.logits)
