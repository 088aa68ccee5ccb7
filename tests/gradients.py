"""Formulas against implementations written from the papers: values, and gradients by central differences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]


def by_numbers(formula: Callable[[Array], float], at: Array) -> Array:
    """The gradient of a formula, by central differences."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-6
        slopes[place] = (formula(at + step) - formula(at - step)) / 2e-6
    return slopes


def agree(ours: Callable[[Tensor], Tensor], theirs: Callable[[Array], float], at: Array) -> None:
    """Value and gradient are those of an implementation written from the paper."""
    point = torch.tensor(at, requires_grad=True)
    value = ours(point)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == pytest.approx(theirs(at), rel=1e-10, abs=1e-14)
    assert point.grad is not None
    np.testing.assert_allclose(point.grad.numpy(), by_numbers(theirs, at), rtol=1e-5, atol=1e-8)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)
