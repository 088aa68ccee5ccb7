"""Which parts of a backbone were never pretrained."""

from __future__ import annotations

from torch import nn

from tlhub.backbone import Backbone
from tlhub_finetune.peft_form import fresh, network


def never_pretrained(backbone: Backbone) -> set[nn.Parameter]:
    """Parameters that start at random although they are the backbone's: parts of transformers' classifiers."""
    return set(fresh(network(backbone)).values())
