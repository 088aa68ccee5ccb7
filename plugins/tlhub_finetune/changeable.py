"""The layers of a backbone that can take a low-rank change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from tlhub.backbone import Backbone
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_finetune import peft_form

ATTENTION = (
    *("query", "value"),  # BERT, RoBERTa, ELECTRA
    *("q_lin", "v_lin"),  # DistilBERT
    *("query_proj", "value_proj"),  # DeBERTa
    *("q_proj", "v_proj"),
    "qkv",  # timm's vision transformers: one layer for query, key and value
)
"""What the layers that make queries and values are called."""


def attention(backbone: Backbone) -> list[str]:
    """The names of those that make queries and values. Raises UserError where there are none."""
    able = _able(backbone)
    names = [name for name in able if name.rpartition(".")[2] in ATTENTION]
    if not names:
        raise UserError(
            f"`lora` knows no layers of `{backbone.name}` that make queries and values",
            f"name some under `layers`; there are {_kinds(able)}",
        )
    return names


def by_names(backbone: Backbone, patterns: Sequence[str]) -> list[str]:
    """The names of those that patterns fit. Raises UserError for a pattern that fits none."""
    able = _able(backbone)
    found = {pattern: [name for name in able if _match(name, pattern)] for pattern in patterns}
    for pattern, names in found.items():
        if not names:
            raise UserError(f"`lora`: no layer it could change is called `{pattern}`", f"there are {_kinds(able)}")
    return [name for name in able if any(name in names for names in found.values())]


def _match(name: str, pattern: str) -> bool:
    """Whether the pattern fits the name or its end; `backbone.net.` in front does no harm."""
    return fnmatchcase(f".backbone.net.{name}", f"*.{pattern}")


def _able(backbone: Backbone) -> list[str]:
    """Names, in the network, of pretrained layers that can take a low-rank change and give it to their weights."""
    net = peft_form.network(backbone)
    fresh = {id(parameter) for parameter in peft_form.fresh(net).values()}
    return [name for name, layer in net.named_modules() if _takes(layer) and id(layer.weight) not in fresh]


def _takes(layer: nn.Module) -> bool:
    # subclasses may do more with their weights, such as normalise them: a change merged into those would be another
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    return type(layer) is nn.Linear


def _kinds(names: Sequence[str]) -> str:
    """Names with every number as `*`, which as patterns match again."""
    kinds = list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.|$)", "*", name) for name in names))
    return ", ".join(f"`{kind}`" for kind in kinds) or "none"


def refuse_unused(run: Run, names: Sequence[str]) -> None:
    """Raise UserError where features are computed without running a layer: some networks read its weights alone."""
    backbone = run.model.backbone
    layers = {name: peft_form.network(backbone).get_submodule(name) for name in _able(backbone)}
    used: set[nn.Module] = set()
    hooks = [layer.register_forward_pre_hook(lambda module, _: used.add(module)) for layer in layers.values()]
    training = backbone.training
    example = backbone.preprocess(train=False)(run.domains[0].raw(0))
    with torch.no_grad():
        backbone.eval()(backbone.collate([example]))
    backbone.train(training)
    for hook in hooks:
        hook.remove()
    unused = [name for name in names if layers[name] not in used]
    if unused:
        raise UserError(
            f"`lora` cannot change {_kinds(unused)}: the network reads their weights without running them",
            f"name others under `layers`; there are {_kinds([name for name in layers if layers[name] in used])}",
        )
