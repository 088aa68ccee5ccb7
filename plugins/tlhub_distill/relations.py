"""Relations between examples: distances and angles of their features, and how those of two networks differ (RKD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def distances(features: Tensor) -> Tensor:
    """`[rows, rows]`: Euclidean distances; the gradient of one that is 0 is 0."""
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-D, eq. 5 to 7: how pairs of rows differ in distance, in units of the mean distance of each; from `distances`.

    The Huber loss, the mean over all pairs of different rows.
    """
    pairs = len(student) * (len(student) - 1)
    tiny = torch.finfo(student.dtype).tiny
    ours, theirs = (each / (each.sum() / pairs).clamp(min=tiny) for each in (student, teacher))
    return F.smooth_l1_loss(ours, theirs, reduction="sum") / pairs


def cosines(lengths: Tensor) -> Tensor:
    """`[rows, rows, rows]`: of rows i, j, k the cosine of the angle at j, eq. 8, from `distances`.

    0 where j is at the place of i or k, so that there is no angle.
    """
    squares = lengths.square()
    sides = lengths[:, :, None] * lengths[None]
    there = sides > 0
    twice = squares[:, :, None] + squares[None] - squares[:, None]
    return torch.where(there, twice / (2 * sides.where(there, 1)), 0)


def angle_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """RKD-A, eq. 8 to 10: how triples of rows differ in the cosines of their angles; from `distances`.

    The Huber loss, the mean over all triples of different rows.
    """
    n = len(student)
    different = ~torch.eye(n, dtype=torch.bool, device=student.device)
    triples = different[:, :, None] & different[None] & different[:, None]
    losses = F.smooth_l1_loss(cosines(student), cosines(teacher), reduction="none")
    return losses.where(triples, 0).sum() / (n * (n - 1) * (n - 2))
