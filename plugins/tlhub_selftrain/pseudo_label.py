"""Pseudo-labels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.errors import SettingError
from tlhub.run import Run
from tlhub.step import Step
from tlhub_selftrain.confident import confident_loss
from tlhub_selftrain.fields import Positive, Share
from tlhub_selftrain.ramp import linear


class PseudoLabel(Adapter):
    """Takes what the model now believes of target examples for their labels.

    Lee 2013, eq. 15 and 16: loss + alpha(t) * the mean cross-entropy of the target's predictions with the class that
    each finds most probable, chosen anew in every step. alpha is 0 at first, then grows in a straight line to its full
    value.

    Use it when predictions on the target are mostly right already, as after a mild shift.
    Cost: next to nothing: a few values for each logit of the target.

    Deviation: the paper's T1 = 100 and T2 = 600 count epochs; here the times are shares of training.
    Deviation: predictions below a threshold may be left out, as later methods do; they count as zeros in the mean.

    Args:
        threshold: the least probability of a label that is believed; 0 as in the paper, all are. 0.95 is customary
            since FixMatch.
        begin: the share of training after which the term begins.
        full: the share of training after which it has its full strength.
        strength: the largest alpha; 3 as in the paper.
    """

    name = "pseudo_label"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    paper = "Lee 2013, Pseudo-label: the simple and efficient semi-supervised learning method, ICML workshop"
    additive = True

    def __init__(self, threshold: Share = 0.0, begin: Share = 0.1, full: Share = 0.6, strength: Positive = 3.0) -> None:
        super().__init__()
        if full < begin:
            raise SettingError("full", f"`full: {full}` comes before `begin: {begin}`", "exchange them")
        self.threshold, self.begin, self.full, self.strength = threshold, begin, full, strength

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name)

    def penalty(self, step: Step) -> Tensor:
        logits = step.target.logits
        factor = self.strength * linear(step.progress, self.begin, self.full)
        return factor * confident_loss(logits, logits, self.threshold)
