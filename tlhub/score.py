"""Scores that tell, before any training, how well a backbone suits labelled examples."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from torch import Tensor

from tlhub.component import Component
from tlhub.errors import DataError


class TransferScore(Component, ABC):
    """How well what a backbone gives for examples fits their labels; the larger the better.

    Class attributes:
        reads: what it looks at: the backbone's `features`, or the class `probabilities` of the classifier that the
            backbone came with, which not all have.
        paper: the publication, for `tlhub describe`.
    """

    reads: ClassVar[Literal["features", "probabilities"]] = "features"
    paper: ClassVar[str] = ""

    @abstractmethod
    def score(self, given: Tensor, labels: Tensor) -> float:
        """The score of `given`, `[examples, width]` in float64, for `labels`, `[examples]`.

        Labels count from 0 and every class up to the largest has an example, as `measure` sees to. Raises UserError
        where these examples have no such score.
        """

    def caution(self, given: Tensor, labels: Tensor) -> str | None:
        """What the user should know of the score on such examples, in one sentence; None where there is nothing."""
        return None

    def measure(self, given: Tensor, labels: Tensor) -> float:
        """The score of features or probabilities `[examples, width]` for class numbers `[examples]`.

        Classes without an example are as if they were not there. Raises DataError where the examples are of one class
        only or hold a number that is not finite, and UserError where the score itself cannot be had.
        """
        given, labels = usable(given, labels)
        value = self.score(given, labels)
        if not math.isfinite(value):
            raise DataError(f"`{self.name}` of these {self.reads} is not finite", "leave this score out")
        return value


def usable(given: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Both as `TransferScore.score` takes them. Raises DataError where no score could tell anything of them."""
    given = given.detach().double().cpu()
    if not bool(given.isfinite().all()):
        raise DataError("some of the features are not finite numbers", "the backbone does not suit these examples")
    classes, labels = labels.cpu().unique(return_inverse=True)  # type: ignore[no-untyped-call]
    if len(classes) < 2:
        raise DataError("all examples are of one class: there is nothing to tell apart", "give examples of two or more")
    return given, labels
