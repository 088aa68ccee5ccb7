"""What the head must answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from tlhub.component import Component
from tlhub.head import Head


class Task(Component, ABC):
    """The question: which head answers it, what a wrong answer costs, and how answers are scored.

    Class attributes:
        metric: the name of the mean of `score`, such as `accuracy`.
    """

    metric: ClassVar[str]

    @abstractmethod
    def head(self, features: int, classes: Sequence[str] | None) -> Head:
        """A fresh head for features of this width."""

    @abstractmethod
    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`[rows]`: the loss of every example."""

    @abstractmethod
    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`[rows]`: how good every answer is, the larger the better; its mean is the task's metric."""

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """Further metrics over all examples, by name."""
        return {}

    @abstractmethod
    def answer(self, logits: Tensor, classes: Sequence[str] | None) -> list[dict[str, object]]:
        """One JSON-ready answer for every row, as `predict` hands it to the user."""
