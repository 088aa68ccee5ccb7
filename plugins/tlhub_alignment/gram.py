"""The Gram matrix of rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (rows,) = ctx.saved_tensors
        product: Tensor = (gradient + gradient.T) @ rows
        return product


def gram(rows: Tensor) -> Tensor:
    """`[n, n]`: the inner products of all rows. Backward takes one product of matrices; autograd's own takes two."""
    products: Tensor = _Gram.apply(rows)
    return products
