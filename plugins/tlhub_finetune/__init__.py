"""Fine-tuning: a fresh head, which parts of the network learn when, and low-rank changes of it."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_finetune.gradual_unfreeze import GradualUnfreeze
    from tlhub_finetune.head_swap import HeadSwap
    from tlhub_finetune.lora import Lora
    from tlhub_finetune.partial_freeze import PartialFreeze

    return [HeadSwap, PartialFreeze, GradualUnfreeze, Lora]


@hookimpl
def tlhub_heads() -> list[type]:
    from tlhub_finetune.bottleneck import Bottleneck

    return [Bottleneck]
