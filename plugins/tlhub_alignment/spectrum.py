"""The largest singular values of a batch's features."""

from __future__ import annotations

import torch
from torch import Tensor

from tlhub_alignment.gram import gram

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
