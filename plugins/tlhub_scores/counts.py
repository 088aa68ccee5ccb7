"""How often classes of two kinds meet."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from tlhub.errors import DataError


def joint(probabilities: Tensor, labels: Tensor) -> Tensor:
    """`[classes, source classes]`: the joint distribution of labels `[n]` and source classes `[n, source classes]`.

    Raises DataError where a row of `probabilities` is no distribution.
    """
    if bool((probabilities < 0).any()) or not bool((probabilities.sum(1) - 1).abs().max() < 1e-3):
        raise DataError("the source classifier's answers are no probabilities", "leave this score out")
    return F.one_hot(labels).double().T @ probabilities / len(labels)
