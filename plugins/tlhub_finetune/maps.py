"""Feature maps: what modules of a backbone give, before any averaging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tlhub.backbone import Backbone


def keep(backbone: Backbone, names: Sequence[str], maps: dict[str, Tensor]) -> list[RemovableHandle]:
    """Let modules write into `maps` what they give whenever they run; by their names. The hooks that do it."""

    def keeping(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            maps[name] = output

        return hook

    return [backbone.get_submodule(name).register_forward_hook(keeping(name)) for name in names]


def largest_modules(backbone: Backbone, stages: Sequence[Sequence[nn.Parameter]]) -> list[str]:
    """The name of the largest module of every stage but the first, which is the stem; of the first if there is one."""
    modules = {
        name: set(module.parameters())
        for name, module in backbone.named_modules()
        if name and not isinstance(module, nn.ModuleList | nn.ModuleDict)  # those do not run
    }
    found = []
    for stage in stages[1:] or stages:
        whole = set(stage)
        sizes = {name: sum(p.numel() for p in own) for name, own in modules.items() if own and own <= whole}
        if sizes:
            found.append(max(sizes, key=lambda name: sizes[name]))
    return found


def without_padding(maps: Tensor, inputs: Any) -> Tensor:
    """Maps `[rows, tokens, channels]` of texts, scaled so that the mean over all tokens is that over a row's own."""
    if isinstance(inputs, Tensor) or maps.ndim != 3:
        return maps
    lengths = inputs["lengths"].to(maps.device, non_blocking=True)[:, None, None]
    longest = maps.shape[1]
    real = torch.arange(longest, device=maps.device)[:, None] < lengths
    scaled: Tensor = maps * real * (longest / lengths)
    return scaled
