"""Fine-tuning: a fresh head, what of the network learns when and how fast, and what keeps it near its start."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_finetune.adabn import AdaBN
    from tlhub_finetune.bitfit import BitFit
    from tlhub_finetune.bss import BSS
    from tlhub_finetune.delta import Delta
    from tlhub_finetune.gradual_unfreeze import GradualUnfreeze
    from tlhub_finetune.head_swap import HeadSwap
    from tlhub_finetune.l2_sp import L2SP
    from tlhub_finetune.layer_decay import LayerDecay
    from tlhub_finetune.lora import Lora
    from tlhub_finetune.lp_ft import LinearProbeThenFinetune
    from tlhub_finetune.partial_freeze import PartialFreeze

    freezing = [PartialFreeze, GradualUnfreeze, LinearProbeThenFinetune, BitFit, Lora]
    return [HeadSwap, *freezing, LayerDecay, L2SP, Delta, BSS, AdaBN]


@hookimpl
def tlhub_heads() -> list[type]:
    from tlhub_finetune.bottleneck import Bottleneck

    return [Bottleneck]
