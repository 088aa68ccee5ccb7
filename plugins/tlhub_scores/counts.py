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


def too_few(score: str, probabilities: Tensor) -> str | None:
    """What to know of a score that counts labels for every source class, where examples are too few for that."""
    met = int((probabilities.argmax(1).bincount() > 0).sum())
    if met * 5 <= len(probabilities):
        return None
    return f"`{score}` counts on fewer than five examples for each of {met} source classes: it is too large"
