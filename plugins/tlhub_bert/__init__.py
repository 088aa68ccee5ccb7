"""Any BERT-type encoder of the transformers library as a backbone."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_backbones() -> list[type]:
    from tlhub_bert.backbone import BertBackbone

    return [BertBackbone]


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_bert.mlm import MaskedLanguageModel

    return [MaskedLanguageModel]
