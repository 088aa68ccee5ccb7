"""Which parts of a backbone were pretrained: what never was, and the largest module of every stage."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from tlhub.backbone import Backbone
from tlhub_finetune.peft_form import fresh, network


def never_pretrained(backbone: Backbone) -> set[nn.Parameter]:
    """Parameters that start at random although they are the backbone's: parts of transformers' classifiers."""
    return set(fresh(network(backbone)).values())


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
