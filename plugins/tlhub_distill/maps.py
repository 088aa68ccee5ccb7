"""Maps of two networks, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlhub.backbone import Backbone
from tlhub.errors import UserError
from tlhub.measure import to_device
from tlhub.model import Model


def tap_maps(
    student: Model, layers: Sequence[str], teacher: Model, teacher_layers: Sequence[str], device: torch.device
) -> None:
    """Let the maps of some layers of both models be seen, of a batch of one example first.

    The teacher is on `device`, the student not yet.
    """

