"""Predictions as labels, where they are confident."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def confident_loss(logits: Tensor, told: Tensor, threshold: float) -> Tensor:
    """The mean over rows of 1(max q >= threshold) H(argmax q, p) with p = softmax(logits) and q = softmax(told).

    q is seen as a constant. Rows below the threshold count as zeros, so that few confident rows weigh little.
    """
    confidence, labels = told.detach().softmax(1).max(1)
    return (F.cross_entropy(logits, labels, reduction="none") * (confidence >= threshold)).mean()
