"""Distillation: a student that learns from what other models say of the examples."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_distill.attention_transfer import AttentionTransfer
    from tlhub_distill.distillation import Distillation
    from tlhub_distill.feature_distillation import FeatureDistillation
    from tlhub_distill.lwf import LwF
    from tlhub_distill.relational_distillation import RelationalDistillation
    from tlhub_distill.self_distillation import SelfDistillation

    return [Distillation, FeatureDistillation, AttentionTransfer, RelationalDistillation, LwF, SelfDistillation]
