"""Maximum classifier discrepancy: MCD."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.head import Head
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.adversary import reverse
from tlhub_alignment.fields import Positive
from tlhub_alignment.warmup import WarmUp, warm_up


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """The mean absolute difference between two classifiers' probabilities, of logits `[rows, classes]`."""
    return (first.softmax(1) - second.softmax(1)).abs().mean()


class MCD(Adapter):
    """Trains two classifiers to disagree on the target, and the features to make them agree.

    Saito et al. 2018: two heads learn the labelled examples, and where they disagree on the target, its features lie
    outside of what the source has taught. The heads descend L_source(1) + L_source(2) - d, where d is the mean absolute
    difference of their probabilities; the features descend d, through a layer that reverses the gradient. The second
    head is like the model's own, started anew, and dropped at the end.

    Use it when target examples lie near the boundaries between classes, rather than all shifted alike.
    Cost: two passes of the head over the target's rows and one over the labelled rows.

    Deviation: the paper's three steps (learn the source; heads maximise d and keep the source; features minimise d,
    several times) are one step with gradient reversal; `strength` takes the place of the number of feature steps.
    Deviation: the saved model answers by the first head alone.

    Args:
        strength: factor of d in the features' loss; 1.
        schedule: `constant` as in the paper, or `dann`: it grows from 0 with progress p, 2 / (1 + exp(-10 p)) - 1.
    """

    name = "mcd"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Saito et al. 2018, Maximum classifier discrepancy for unsupervised domain adaptation, arXiv:1712.02560"
    additive = True  # means over rows
    second: Head

    def __init__(self, strength: Positive = 1.0, schedule: WarmUp = "constant") -> None:
        super().__init__()
        self.strength, self.schedule = strength, schedule

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`mmd`, `coral` or `dann`")
        head = run.model.head
        self.second = type(head)(**head.settings)
        self.task = run.task

    def penalty(self, step: Step) -> Tensor:
        labelled = [(view.features, view.labels) for view in step.views if view.labels is not None]
        features, labels = (torch.cat(list(part)) for part in zip(*labelled, strict=True))
        learning = self.task.loss(self.second(features), labels).mean()
        factor = self.strength * warm_up(self.schedule, step.progress)
        target = reverse(step.target.features, factor)
        return learning - discrepancy(step.model.head(target), self.second(target))
