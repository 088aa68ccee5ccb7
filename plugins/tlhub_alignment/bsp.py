"""Batch spectral penalization: BSP."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Count, Layers, Positive
from tlhub_alignment.layers import tap
from tlhub_alignment.spectrum import largest_squares


class BSP(Adapter):
    """Penalises the largest singular values of the features of both domains.

    Chen et al. 2019: the first singular vectors dominate adversarial alignment, at the cost of the others, which tell
    the classes apart. To the loss is added beta * the sum over i up to k of (sigma_s,i^2 + sigma_t,i^2), the squares of
    the largest singular values of the batch's source features and target features.

    Use it when `dann` or `cdan` aligns the domains and loses accuracy; it is made to stand beside one of them.
    Cost: a Gram matrix of each domain, and two dozen products of matrices of that size; memory O(batch^2).

    Deviation: singular values come from powers of the Gram matrix, not from a decomposition; the values are the same.

    Args:
        layers: whose singular values are penalised; the terms are added. `features` (what the head reads, the paper's
            choice), `backbone` (its output), or modules of the backbone by name.
        count: how many singular values of each domain, k; 1 as in the paper.
        strength: factor of the term in the loss, beta; 0.0001 as in the paper. The term grows with the batch.
    """

    name = "bsp"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Chen et al. 2019, Transferability vs. discriminability: Batch spectral penalization, ICML"

    def __init__(
        self,
        layers: Layers = ["features"],  # noqa: B006 - never changed
        count: Count = 1,
        strength: Positive = 1e-4,
    ) -> None:
        super().__init__()
        self.layers, self.count, self.strength = list(layers), count, strength

    def prepare(self, run: Run) -> None:
        if self.count > run.train.batch:
            raise UserError(
                f"a batch of {run.train.batch} has no {self.count} singular values for `bsp`",
                "raise `batch` under `train`, or lower `count`",
            )
        tap(run, self.layers, self.name)

    def penalty(self, step: Step) -> Tensor:
        views = (step.source, step.target)
        found = [largest_squares(view.layer(name), self.count) for name in self.layers for view in views]
        return self.strength * torch.stack(found).sum()
