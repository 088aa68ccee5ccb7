"""Whether a run's examples can be disturbed."""

from __future__ import annotations

import torch
from torch import Tensor

from tlhub.errors import UserError
from tlhub.run import Run


def require_disturbable(run: Run, name: str) -> None:
    """Raise UserError where the backbone reads neither 8-bit images nor rows of tokens, which `name` can disturb."""
    backbone = run.model.backbone
    if backbone.ragged:
        return
    example = backbone.preprocess(train=True)(run.targets[0].raw(0))
    if isinstance(example, Tensor) and example.dtype == torch.uint8 and example.ndim == 3:
        return
    kind = f"{example.dtype} {list(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
    raise UserError(
        f"`{name}` disturbs 8-bit images [channels, height, width] or rows of tokens; `{backbone.name}` reads {kind}",
        "use `pseudo_label` or `entropy_minimization`, which need no second look at an example",
    )
