"""LEEP."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from tlhub.score import TransferScore
from tlhub_scores.counts import joint, too_few


class LEEP(TransferScore):
    """The mean log likelihood of labels that are drawn by way of the source classifier's answers.

    A dummy source class z is drawn from the source classifier's probabilities of an example, then a label from
    P(label | z), which is counted on the same examples; the score is the mean log probability of the true labels so
    drawn (Nguyen et al. 2020, "LEEP: A New Measure to Evaluate Transferability of Learned Representations", eq. 1 and
    2). It is at most 0; of a classifier that is always sure it is the `nce`.

    Use it when the candidates are classifiers, such as models that tlhub adapted or networks pretrained on ImageNet,
    and their classes have something to do with yours: it needs no features, and one pass over the examples.

    Cost: a matrix product, far less than the pass that gives the probabilities.
    """

    name = "leep"
    reads: ClassVar[Literal["features", "probabilities"]] = "probabilities"
    paper = "Nguyen et al. 2020, https://arxiv.org/abs/2002.12462"

    def score(self, given: Tensor, labels: Tensor) -> float:
        return leep(given, labels)

    def caution(self, given: Tensor, labels: Tensor) -> str | None:
        return too_few(self.name, given)


def leep(probabilities: Tensor, labels: Tensor) -> float:
    """The score of source probabilities `[n, source classes]` and labels `[n]`.

    A source class that has no mass in any row adds nothing.
    """
    together = joint(probabilities, labels)
    mass = together.sum(0)
    conditional = together / mass.where(mass > 0, 1)
    expected = (probabilities * conditional[labels]).sum(1)
    return float(expected.log().mean())
