"""Any number of classes for every example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from tlhub.head import Head
from tlhub.task import Task
from tlhub_basics.forms import Form, require
from tlhub_basics.linear import LinearHead
from tlhub_basics.ratio import ratio_scores


class MultiLabel(Task):
    """Any number of classes for every example, none included: binary cross-entropy, scored by micro F1.

    The loss of an example is the mean over the classes. A class is in the answer where its probability is at least one
    half. Micro F1 is that of all decisions together: 2 hits / (classes said + classes there).
    """

    name = "multilabel"
    metric = "micro F1"

    def targets(self, labels: Tensor, classes: tuple[str, ...] | None) -> tuple[Tensor, tuple[str, ...] | None]:
        require(Form.CLASSES, labels, self.name)
        return labels.float(), classes

    def head(self, features: int, classes: Sequence[str] | None) -> Head:
        assert classes is not None, "labels in columns have class names"
        return LinearHead(features, len(classes))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `tlhub_basics.ratio`."""
        said, there = logits >= 0, labels > 0
        return ratio_scores(2 * (said & there).sum(1), said.sum(1) + there.sum(1))

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """`macro_f1`: the mean over the classes that occur of their F1. `exact_match`: the share of examples of which
        every class is right.
        """
        said, there = logits >= 0, labels > 0
        f1 = 2 * (said & there).sum(0).double() / (said.sum(0) + there.sum(0)).clamp(min=1)
        found = {"exact_match": float((said == there).all(1).double().mean())}
        return {"macro_f1": float(f1[there.any(0)].mean()), **found} if there.any() else found

    def answer(self, logits: Tensor, classes: Sequence[str] | None, inputs: Sequence[Any]) -> list[dict[str, object]]:
        assert classes is not None
        return [
            {
                "labels": [name for name, logit in zip(classes, row, strict=True) if logit >= 0],
                "probabilities": {
                    name: round(float(logit.sigmoid()), 6) for name, logit in zip(classes, row, strict=True)
                },
            }
            for row in logits
        ]
