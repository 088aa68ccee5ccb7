"""A number for every example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tlhub.errors import DataError
from tlhub.head import Head
from tlhub.task import Task
from tlhub_basics.forms import Form, form, require
from tlhub_basics.linear import LinearHead
from tlhub_basics.ratio import ratio_scores


class Regression(Task):
    """A number for every example: squared error, scored by R2, the share of the labels' variance that is explained.

    Numbers are learnt in their own unit, as transformers does, so that the answer is what the linear head says. It
    begins near 0 and goes from there in steps of about the learning rate: numbers of the size of 1, such as grades or
    stars, suit it; divide prices or years in the table first.

    Where class names are numbers, those are the labels. R2 is 0 where all labels are alike.
    """

    name = "regression"
    metric = "R2"

    def targets(self, labels: Tensor, classes: tuple[str, ...] | None) -> tuple[Tensor, tuple[str, ...] | None]:
        if classes is not None and form(labels) is Form.CLASS:
            return torch.tensor([_number(name) for name in classes])[labels], None
        require(Form.NUMBER, labels, self.name)
        return labels.float(), None

    def head(self, features: int, classes: Sequence[str] | None) -> Head:
        return LinearHead(features, 1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits[:, 0] - labels) ** 2

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """R2 = sum(d² - e²) / sum(d²) of errors e and distances d from the labels' mean; see `tlhub_basics.ratio`."""
        error, distance = _errors(logits, labels), labels.double() - labels.double().mean()
        return ratio_scores(distance**2 - error**2, distance**2)

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """`mae` and `rmse`: the mean absolute error and the root of the mean squared one, in the labels' unit.
        `pearson`: the correlation; left out where answers or labels are all alike, which have none.
        """
        error = _errors(logits, labels)
        found = {"mae": float(error.abs().mean()), "rmse": float((error**2).mean().sqrt())}
        pearson = float(torch.stack([logits[:, 0].double(), labels.double()]).corrcoef()[0, 1])
        return {**found, "pearson": pearson} if math.isfinite(pearson) else found

    def answer(self, logits: Tensor, classes: Sequence[str] | None, inputs: Sequence[Any]) -> list[dict[str, object]]:
        return [{"value": value} for value in logits[:, 0].tolist()]


def _errors(logits: Tensor, labels: Tensor) -> Tensor:
    return logits[:, 0].double() - labels.double()


def _number(name: str) -> float:
    try:
        number = float(name)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(
            f"the task `regression` learns numbers, and the label {name!r} is none",
            "correct it in the data, leave its examples out with `classes: {NAME: null}`, or remove `task`",
        )
    return number
