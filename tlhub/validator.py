"""Scores for choosing an epoch without target labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.component import Component
from tlhub.task import Task


@dataclass(frozen=True)
class Outputs:
    """What a model says of one domain's examples, all of them.

    Attributes:
        features: `[examples, width]`; logits: `[examples, outputs]`.
        labels: `[examples]` where the domain's labels are shown, else None.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor | None


class Validator(Component, ABC):
    """A score of a model, the larger the better, from what training may see: never from a hidden label.

    Class attributes:
        needs: what the run must have; the source-only baseline goes without one that needs the target.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()

    @abstractmethod
    def score(self, task: Task, source: Outputs | None, target: Outputs | None) -> float:
        """The score; `source` is the part of the source held out from training, `target` is as training sees it."""
