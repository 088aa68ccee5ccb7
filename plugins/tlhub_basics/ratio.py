"""Ratios of sums, such as F1, as means of scores."""

from __future__ import annotations

import torch
from torch import Tensor


def ratio_scores(parts: Tensor, wholes: Tensor) -> Tensor:
    """`[rows]`: scores whose mean is sum(parts) / sum(wholes), from both `[rows]`; zeros where the wholes sum to 0.

    A ratio of sums R is no mean over examples, but its linearisation R + (part - R * whole) / mean(whole) is one: the
    mean is R, and the standard error that of R in large samples (Cochran 1977, Sampling Techniques, chapter 6), so that
    intervals and paired comparisons hold. A single score may be below 0 or above 1.
    """
    parts, wholes = parts.double(), wholes.double()
    whole = wholes.mean()
    if whole == 0:
        return torch.zeros_like(parts)
    ratio = parts.mean() / whole
    return ratio + (parts - ratio * wholes) / whole
