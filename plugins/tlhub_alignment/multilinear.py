"""Multilinear maps of features and class probabilities (Long et al. 2018, section 3.2)."""

from __future__ import annotations

import math

from torch import Tensor


def multilinear(features: Tensor, probabilities: Tensor) -> Tensor:
    """`[rows, classes x width]`: all products of a feature and a probability."""
    return (probabilities[:, :, None] * features[:, None, :]).flatten(1)


def random_multilinear(features: Tensor, probabilities: Tensor, of_features: Tensor, of_classes: Tensor) -> Tensor:
    """`[rows, d]`: (f R_f) * (g R_g) / sqrt(d), whose inner products are those of `multilinear` in expectation.

    `of_features` `[width, d]` and `of_classes` `[classes, d]` are R_f and R_g, of independent standard normal numbers.
    """
    return (features @ of_features) * (probabilities @ of_classes) / math.sqrt(of_features.shape[1])
