"""What the head must answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from tlhub.component import Component
from tlhub.head import Head


class Task(Component, ABC):
    """The question: which head answers it, what a wrong answer costs, and how answers are scored.

    Class attributes:
        metric: the name of the mean of `score`, such as `accuracy`.
        per_word: whether the head answers every word of an example. Logits are then `[rows, words, outputs]`, zeros
            where an example has no more words, and labels `[rows, words]`, `NO_LABEL` there. Of a text that was cut
            there are fewer logits than labels.
    """

    metric: ClassVar[str]
    per_word: ClassVar[bool] = False

    def targets(self, labels: Tensor, classes: tuple[str, ...] | None) -> tuple[Tensor, tuple[str, ...] | None]:
        """Labels as a data set gives them (see `Examples`), in the form this task learns from, and their classes.

        Raises DataError where they cannot be.
        """
        return labels, classes

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

    def confusion(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """`[classes, classes]`: examples by class (row) and answer (column); None where there are no classes."""
        return None

    @abstractmethod
    def answer(self, logits: Tensor, classes: Sequence[str] | None, inputs: Sequence[Any]) -> list[dict[str, object]]:
        """One JSON-ready answer for every row, as `predict` hands it to the user; `inputs` are the raw inputs."""
