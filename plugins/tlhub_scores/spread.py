"""Centred features in the coordinates where their covariance is diagonal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def between(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """By principal direction: the scatter of features `[n, width]`, and the share of it that is between classes.

    The scatter of the class means along a direction is the two multiplied; constant features have no direction.
    """
    classes = F.one_hot(labels).double()
    left, singular, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
    kept = singular > max(features.abs().max(), singular[0]) * max(features.shape) * torch.finfo(torch.float64).eps
    share = (left[:, kept].T @ (classes / classes.sum(0).sqrt())).square().sum(1)
    return singular[kept].square(), share
