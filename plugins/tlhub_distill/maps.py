"""Maps of the layers of two networks that are to be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tlhub.errors import UserError
from tlhub.model import Model


def tap_maps(model: Model, layers: Sequence[str], example: Any) -> list[Tensor]:
    """Let the maps of `layers` be seen, `[rows, channels, height, width]`; those of `example`, a collated batch.

    Raises UserError where a layer gives no such maps.
    """
    for layer in layers:
        model.tap(layer, pooled=False)
    training = model.training
    with torch.no_grad():
        seen = model.eval().see(example)
    model.train(training)
    maps = [seen.map(layer) for layer in layers]
    for layer, found in zip(layers, maps, strict=True):
        # some networks order dimensions otherwise, as what they pool shows
        if found.ndim != 4 or model.backbone.pooled(found).shape[1] != found.shape[1]:
            raise UserError(
                f"the layer `{layer}` of `{model.backbone.name}` gives no maps [rows, channels, height, width], but "
                f"{list(found.shape)}",
                "name a stage of a convolutional network",
            )
    return maps


def compare_sizes(names: Iterable[tuple[str, str]], student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    """Raise UserError where a layer's maps and those of the teacher's layer beside it differ in size."""
    for (ours, theirs), s, t in zip(names, student, teacher, strict=True):
        if s.shape[2:] != t.shape[2:]:
            raise UserError(
                f"maps of different sizes cannot be compared: {list(s.shape[2:])} of the student's layer `{ours}`, "
                f"{list(t.shape[2:])} of the teacher's `{theirs}`",
                "name layers of the same stage under `layers` and `teacher_layers`",
            )
