"""Entropy minimisation, and information maximisation."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub_selftrain.fields import Positive


def mean_entropy(logits: Tensor) -> Tensor:
    """The mean over rows of the entropy of softmax(logits), in nats."""
    log = logits.log_softmax(1)
    return -(log.exp() * log).sum(1).mean()


def entropy_of_mean(logits: Tensor) -> Tensor:
    """The entropy of the mean over rows of softmax(logits), in nats; finite where a class has no probability left."""
    log = logits.log_softmax(1).logsumexp(0) - math.log(len(logits))
    return -(log.exp() * log).sum()


class EntropyMinimization(Adapter):
    """Makes the predictions on the target certain.

    Grandvalet & Bengio 2005, section 2: loss + lambda * the mean entropy of the class probabilities of the target, so
    that boundaries between classes pass where there are few examples. With `diversity`, minus so many times the entropy
    of their mean over the batch: information maximisation, as in SHOT (Liang et al. 2020, arXiv:2002.08546), which does
    not let all predictions become the same class.

    Use it when predictions on the target are undecided but mostly right; with `diversity` where classes are balanced.
    Cost: next to nothing: a few values for each logit of the target.

    Deviation: the paper minimises over weights of a linear classifier; here the features learn too.

    Args:
        strength: lambda; the paper chooses it by validation, and 0.1 is a careful choice.
        diversity: how much the entropy of the mean prediction counts beside that of each; 0 as in Grandvalet & Bengio,
            1 as in SHOT.
    """

    name = "entropy_minimization"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    paper = "Grandvalet & Bengio 2005, Semi-supervised learning by entropy minimization, NIPS 17"

    def __init__(self, strength: Positive = 0.1, diversity: Annotated[float, Field(ge=0)] = 0.0) -> None:
        super().__init__()
        self.strength, self.diversity = strength, diversity
        self.additive = diversity == 0  # a mean over rows, without the entropy of a mean

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name)

    def penalty(self, step: Step) -> Tensor:
        found = mean_entropy(step.target.logits)
        if self.diversity:
            found = found - self.diversity * entropy_of_mean(step.target.logits)
        return self.strength * found
