"""Another look of a model at a batch, beside the joint pass of the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.measure import to_device
from tlhub.model import Model


def look(model: Model, inputs: Any, device: torch.device, bf16: bool) -> Tensor:
    """Logits `[rows, classes]` in float32, of a forward pass in the precision of training."""
    with torch.autocast(device.type, torch.bfloat16, bf16):
        logits: Tensor = model(to_device(inputs, device))
    return logits.float()


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """Let batch normalisation use the statistics of the batch, and not remember them.

    The running statistics are for evaluation, so they must follow the examples as they are, each once.
    """
    kinds = (nn.modules.batchnorm._BatchNorm,)
    norms: list[Any] = [m for m in model.modules() if isinstance(m, kinds) and m.training and m.track_running_stats]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
