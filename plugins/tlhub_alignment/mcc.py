"""Minimum class confusion: MCC."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.entropy import certainty
from tlhub_alignment.fields import Positive
from tlhub_alignment.warmup import WarmUp, warm_up


def class_confusion(logits: Tensor, temperature: float) -> Tensor:
    """The mean over classes of the share of a class's weight that the predictions give to other classes.

    With probabilities y and constant weights w of the rows, class j gives class k the sum of w y_j y_k over that of
    w y_j: rows of this matrix sum to 1. So the diagonal is the mean of y_j under weights in proportion to w y_j, which
    in logarithms stay finite where a class has no probability left.
    """
    log = (logits / temperature).log_softmax(1)
    weights = certainty(logits / temperature).detach()
    shares = (log + weights.log()[:, None]).softmax(0)
    return 1 - (shares * log.exp()).sum() / logits.shape[1]


class MCC(Adapter):
    """Adds the confusion between classes in the predictions on the target to the loss.

    Jin et al. 2020, section 3: with probabilities at a temperature T, and a row of entropy H weighted by 1 + exp(-H),
    the mean over classes of the part of the row-normalised class correlation that is not on the diagonal.

    Use it when the classes are known to be in the target, whatever the shift; alone, or beside `dann` or `cdan`.
    Cost: next to nothing: a few values for each logit of the target.

    Deviation: weights are constants, as in the authors' code; the paper does not say.

    Args:
        temperature: T; 2.5 as in the authors' code, 1 leaves the probabilities as they are.
        strength: factor of the term in the loss; 1 as in the paper.
        schedule: `constant`, or `dann`: the factor grows from 0 as training progresses, by 2 / (1 + exp(-10 p)) - 1.
    """

    name = "mcc"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    paper = "Jin et al. 2020, Minimum class confusion for versatile domain adaptation, arXiv:1912.03699"

    def __init__(self, temperature: Positive = 2.5, strength: Positive = 1.0, schedule: WarmUp = "constant") -> None:
        super().__init__()
        self.temperature, self.strength, self.schedule = temperature, strength, schedule

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`mmd`, `coral` or `dann`")

    def penalty(self, step: Step) -> Tensor:
        factor = self.strength * warm_up(self.schedule, step.progress)
        return factor * class_confusion(step.target.logits, self.temperature)
