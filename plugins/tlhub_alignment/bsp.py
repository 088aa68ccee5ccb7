"""Batch spectral penalization: BSP."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Count, Positive
from tlhub_alignment.gram import gram
from tlhub_alignment.layers import tap

SQUARINGS = 12
"""The Gram matrix to the power 2^12: singular values whose squares differ by 1 % or more are told apart."""


def largest_squares(features: Tensor, count: int) -> Tensor:
    """The sum of the squares of the `count` largest singular values of `features` `[rows, width]`.

    The squares are u^T G u for the eigenvectors u of the Gram matrix G. They are found by squaring G until nothing but
    its first eigenvector is left, and taking that out of G before the next: no decomposition, for which a GPU would
    make the program wait. With u as a constant, the gradient of u^T G u is that of the eigenvalue. Where two are nearly
    equal, u is between their eigenvectors, as good as either.
    """
    products = gram(features if len(features) <= features.shape[1] else features.T)
    rest, found = products.detach(), []
    for _ in range(count):
        vector = _first_eigenvector(rest)
        found.append(vector @ products @ vector)
        rest = rest - torch.outer(vector, rest @ vector)
    return torch.stack(found).sum()


def _first_eigenvector(matrix: Tensor) -> Tensor:
    """Of a positive semi-definite matrix; zeros where that is zero."""
    tiny = torch.finfo(matrix.dtype).tiny
    for _ in range(SQUARINGS):
        matrix = matrix / matrix.diagonal().sum().clamp(min=tiny)
        matrix = matrix @ matrix
    column = matrix.index_select(1, matrix.diagonal().argmax().reshape(1))[:, 0]
    vector: Tensor = column / torch.linalg.vector_norm(column).clamp(min=tiny)
    return vector


class BSP(Adapter):
    """Penalises the largest singular values of the features of both domains.

    Chen et al. 2019: the first singular vectors dominate adversarial alignment, at the cost of the others, which tell
    the classes apart. To the loss is added beta * the sum over i up to k of (sigma_s,i^2 + sigma_t,i^2), the squares of
    the largest singular values of the batch's source features and target features.

    Use it when `dann` or `cdan` aligns the domains and loses accuracy; it is made to stand beside one of them.
    Cost: a Gram matrix of each domain, and two dozen products of matrices of that size; memory O(batch^2).

    Deviation: singular values come from powers of the Gram matrix, not from a decomposition; the values are the same.

    Args:
        layer: `features` (what the head reads, the paper's choice), `backbone` (its output), or a module of the
            backbone by name.
        count: how many singular values of each domain, k; 1 as in the paper.
        strength: factor of the term in the loss, beta; 0.0001 as in the paper. The term grows with the batch.
    """

    name = "bsp"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Chen et al. 2019, Transferability vs. discriminability: Batch spectral penalization, ICML"

    def __init__(self, layer: str = "features", count: Count = 1, strength: Positive = 1e-4) -> None:
        super().__init__()
        self.layer, self.count, self.strength = layer, count, strength

    def prepare(self, run: Run) -> None:
        if self.count > run.train.batch:
            raise UserError(
                f"a batch of {run.train.batch} has no {self.count} singular values for `bsp`",
                "raise `batch` under `train`, or lower `count`",
            )
        tap(run, [self.layer], self.name)

    def penalty(self, step: Step) -> Tensor:
        views = (step.source, step.target)
        return self.strength * torch.stack([largest_squares(v.layer(self.layer), self.count) for v in views]).sum()
