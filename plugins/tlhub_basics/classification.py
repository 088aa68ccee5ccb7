"""One class for every example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tlhub.head import Head
from tlhub.task import Task
from tlhub_basics.forms import Form, require
from tlhub_basics.linear import LinearHead

MOST_CLASSES = 100
"""A larger confusion matrix is more than anybody reads, and would be most of a model's record."""


class Classification(Task):
    """One class for every example: cross-entropy, scored by accuracy.

    Args:
        label_smoothing: share of the target probability spread evenly over all classes, the right one included (so the
            right class gets 1 - s + s / K; Szegedy et al. 2016, section 7). 0 is plain cross-entropy.
    """

    name = "classification"
    metric = "accuracy"

    def __init__(self, label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def targets(self, labels: Tensor, classes: tuple[str, ...] | None) -> tuple[Tensor, tuple[str, ...] | None]:
        require(Form.CLASS, labels, self.name)
        return labels, classes

    def head(self, features: int, classes: Sequence[str] | None) -> Head:
        assert classes is not None, "labels of a classification have class names"
        return LinearHead(features, len(classes))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.argmax(1) == labels).float()

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """`macro_f1`: the mean over the classes that occur of their F1 score."""
        answers, classes = logits.argmax(1), logits.shape[1]
        predicted, actual = answers.bincount(minlength=classes), labels.bincount(minlength=classes)
        hits = labels[answers == labels].bincount(minlength=classes).double()
        f1 = 2 * hits / (predicted + actual).clamp(min=1)
        return {"macro_f1": float(f1[actual > 0].mean())}

    def confusion(self, logits: Tensor, labels: Tensor) -> Tensor | None:
        """Of up to `MOST_CLASSES` classes."""
        classes = logits.shape[1]
        pairs = labels * classes + logits.argmax(1)
        return pairs.bincount(minlength=classes**2).view(classes, classes) if classes <= MOST_CLASSES else None

    def answer(self, logits: Tensor, classes: Sequence[str] | None, inputs: Sequence[Any]) -> list[dict[str, object]]:
        assert classes is not None
        best = logits.softmax(1).max(1)
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        return [{"label": classes[number], "probability": round(probability, 6)} for probability, number in pairs]
