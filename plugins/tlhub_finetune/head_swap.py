"""A fresh neck and head."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tlhub.adapter import Adapter
from tlhub.errors import SettingError
from tlhub.head import Identity
from tlhub.run import Run
from tlhub_finetune.bottleneck import Bottleneck, Normalise


class HeadSwap(Adapter):
    """Replaces what follows the backbone: an optional bottleneck, and a head with one output per class.

    Yosinski et al. 2014 put a random last layer on a pretrained network and train it for the new task. The bottleneck
    is that of the domain-adaptation literature (DDC, Tzeng et al. 2014: a narrow layer where domains are
    aligned), with the order linear - batch norm - ReLU that the library TLlib made customary; DDC's has no
    normalisation (`normalise: none`).

    Args:
        bottleneck: width of a layer between the backbone and the head, such as 256 (TLlib's; DDC found 256 by its MMD);
            null: the head reads the backbone's features.
        dropout: share of the bottleneck's outputs that a training step sets to zero; 0 because the literature's
            bottleneck has no dropout.
        normalise: normalisation in the bottleneck. `batch` keeps its outputs at one scale, which the bandwidth of an
            MMD and the input of a discriminator like; `layer` does the same without looking at the other examples of a
            batch.
    """

    name = "head_swap"
    paper = "Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv:1411.1792"

    def __init__(
        self,
        bottleneck: Annotated[int, Field(gt=0)] | None = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        normalise: Normalise = "batch",
    ) -> None:
        super().__init__()
        if dropout and bottleneck is None:
            raise SettingError("dropout", "`dropout` is the bottleneck's, and there is none", "write `bottleneck: 256`")
        self.bottleneck, self.dropout, self.normalise = bottleneck, dropout, normalise

    def modify(self, run: Run) -> None:
        width = run.model.backbone.width
        if self.bottleneck is None:
            run.model.neck = Identity(width)
        else:
            run.model.neck = Bottleneck(width, self.bottleneck, self.dropout, self.normalise)
        run.model.head = run.task.head(run.model.neck.width, run.classes)
