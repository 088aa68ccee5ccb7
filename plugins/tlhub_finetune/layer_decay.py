"""Layer-wise decay of the learning rate."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tlhub.adapter import Adapter
from tlhub.run import Run
from tlhub_finetune.pretrained import never_pretrained


class LayerDecay(Adapter):
    """Lets the backbone's stages learn the more slowly the nearer they are to the input.

    Of S stages, number s = 1..S learns at factor^(S + 1 - s) of what it would otherwise (BEiT's and ELECTRA's
    fine-tuning; discriminative fine-tuning in ULMFiT, Howard & Ruder 2018, section 3.2, with a factor of 1 / 2.6). The
    neck and the head learn at the full rate. It multiplies `train.backbone_lr`, which is 0.1 unless said: for the
    papers' rates write `backbone_lr: 1.0`.

    Use it when fine-tuning a transformer, above all a large one, or one that was pretrained without labels.
    Cost: none.

    Deviations: a layer is one of the backbone's stages; ELECTRA's last layer is two steps below the head, BEiT's and
    ours one.

    Args:
        factor: how much slower each stage learns than the next; 0.8 is ELECTRA's for its small and base sizes (0.9 for
            large), 0.65 and 0.75 are usual for vision transformers of base and large size.
    """

    name = "layer_decay"
    paper = (
        "Clark et al. 2020, ELECTRA: Pre-training text encoders as discriminators rather than generators, "
        "arXiv:2003.10555"
    )

    def __init__(self, factor: Annotated[float, Field(gt=0, lt=1)] = 0.8) -> None:
        super().__init__()
        self.factor = factor

    def prepare(self, run: Run) -> None:
        new = never_pretrained(run.model.backbone)
        for steps, stage in enumerate(reversed(run.stages), start=1):
            for parameter in stage:
                if parameter not in new:
                    run.lr_scales[parameter] = run.lr_scales.get(parameter, 1.0) * self.factor**steps
