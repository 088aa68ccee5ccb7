"""Mixed samples as probes."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


def interpolation_consistency(first: Tensor, second: Tensor, mixed: Tensor) -> float:
    """The mean of two shares: how often a mixed example is answered as its larger part was.

    Of pairs with the same answer (within clusters), and of pairs with different ones (between them): Hu et al. 2023,
    algorithm 1. A share is 0 where there is no such pair.

    Args:
        first, second, mixed: `[pairs]`, the class numbers answered for the larger part, the smaller and the mixture.
    """
    same = first == second
    hits = (mixed == first).double()
    within = float(hits[same].mean()) if same.any() else 0.0
    between = float(hits[~same].mean()) if (~same).any() else 0.0
    return (within + between) / 2


class MixVal(Validator):
    """Whether mixtures of two target examples are answered as the one they have more of.

    Hu et al. 2023, Mixed samples as probes for unsupervised model selection in domain adaptation, NeurIPS. Mixtures of
    two examples with the same answer probe how dense its cluster is, those of different ones where the boundary lies.

    Use it when examples are images or vectors, and many methods are compared.
    Cost: two passes over the target.
    Known to fail: with methods that train on mixtures. One class for all has no pair of different answers, and scores
    half at most.
    Deviations: the paper ranks models by either share and takes the mean rank; an epoch has to be scored before the
    others are known, so this is the mean of the shares, as in skada. Texts cannot be mixed: of them, what the backbone
    gives is mixed, and goes on through neck and head. 8-bit inputs are rounded.

    Args:
        share: how much of a mixture is the first example; the paper's lambda.
    """

    name = "mixval"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def __init__(self, share: Annotated[float, Field(gt=0.5, lt=1)] = 0.55) -> None:
        self.share = share

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        answers, mixed = seen.target.logits.argmax(1), seen.mixed(self.share)
        return interpolation_consistency(answers[mixed.first], answers[mixed.second], mixed.logits.argmax(1))
