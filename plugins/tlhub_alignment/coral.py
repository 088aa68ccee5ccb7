"""Correlation alignment: Deep CORAL."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Layers, Positive
from tlhub_alignment.gram import gram
from tlhub_alignment.layers import tap
from tlhub_alignment.warmup import WarmUp, warm_up


def coral(x: Tensor, y: Tensor) -> Tensor:
    """||C_x - C_y||^2_F / (4 width^2), with the samples' covariances C (of n - 1).

    With X the centred rows divided by sqrt(n - 1), ||C_x||^2_F = ||X X^T||^2_F and <C_x, C_y> = ||X Y^T||^2_F: all is
    in the Gram matrix of the joint rows, and no matrix `[width, width]` is made.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError("a covariance needs two rows of each sample")
    rows = torch.cat([(sample - sample.mean(0)) / (len(sample) - 1) ** 0.5 for sample in (x, y)])
    sign = torch.cat([rows.new_ones(len(x)), -rows.new_ones(len(y))])
    products = gram(rows)
    return sign @ (products * products) @ sign / (4 * x.shape[1] ** 2)


class Coral(Adapter):
    """Adds the distance between the covariances of source and target features to the loss.

    Deep CORAL (Sun & Saenko 2016, eq. 1 and 6): loss + lambda * sum over layers of ||C_s - C_t||^2_F / (4 d^2).

    Use it when the domains differ in scale and correlation of features, and little tuning is wanted.
    Cost: one Gram matrix of the joint batch for each layer; memory O(batch^2).

    Args:
        layers: where covariances are compared; the terms are added. `logits` as in the paper, `features` (what the head
            reads), `backbone` (its output), or modules of the backbone by name.
        strength: factor of the term in the loss, lambda; 1. The paper sets it so that at the end of training the term
            is about as large as the task's loss, which `4 d^2` makes a large number where a layer is wide.
        schedule: `constant` as in the paper, or `dann`: the factor grows from 0 as training progresses, by
            2 / (1 + exp(-10 p)) - 1.
    """

    name = "coral"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Sun & Saenko 2016, Deep CORAL: Correlation alignment for deep domain adaptation, arXiv:1607.01719"

    def __init__(
        self,
        layers: Layers = ["logits"],  # noqa: B006 - never changed
        strength: Positive = 1.0,
        schedule: WarmUp = "constant",
    ) -> None:
        super().__init__()
        self.layers, self.strength, self.schedule = list(layers), strength, schedule

    def prepare(self, run: Run) -> None:
        if run.train.batch < 2:
            raise UserError("`coral` needs two examples of each domain for a covariance", "raise `batch` under `train`")
        tap(run, self.layers, self.name)

    def penalty(self, step: Step) -> Tensor:
        found = [coral(step.source.layer(name), step.target.layer(name)) for name in self.layers]
        return self.strength * warm_up(self.schedule, step.progress) * torch.stack(found).sum()
