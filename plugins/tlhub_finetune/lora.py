"""Low-rank adaptation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tlhub.adapter import Adapter
from tlhub.errors import UserError
from tlhub.model import Model
from tlhub.run import Run
from tlhub_finetune import peft_form
from tlhub_finetune.changeable import attention, by_names, refuse_unused


class Lora(Adapter):
    """Keeps the pretrained weights and learns a low-rank change of some layers, through the peft library.

    Hu et al. 2021, eq. 3: a layer W x becomes W x + alpha / rank B A x, and only A `[rank, in]` and B `[out, rank]`
    learn, with the neck and the head. B starts at zero, so that training starts at the pretrained network. The change
    belongs to the layer's stage: it learns at `train.backbone_lr` of the learning rate (the paper has one rate for all:
    1.0), `gradual_unfreeze` lets it wait for its turn, and what `partial_freeze` keeps has none. Of transformers'
    classifiers, what lies between the pretrained encoder and the head is not pretrained, and learns as a whole.

    Deviations: A starts as the authors' own code has it (Kaiming uniform), not Gaussian as in the paper; of timm's
    vision transformers the joint layer `qkv` is changed, keys included; dropout inside modules of which nothing learns
    is off.

    Args:
        rank: rank of the change; 8 is the paper's for RoBERTa.
        alpha: the change counts alpha / rank; twice the rank is customary.
        dropout: share of a changed layer's inputs that the change does not see in a training step; 0, because a
            change of low rank overfits little.
        layers: names or patterns of the linear and convolutional layers to change, such as `query`, `attn.*` or
            `blocks.11.mlp.fc1`; by default those of attention that make queries and values, as in the paper.
        save: `merged` adds the change to the weights, so that the saved model is as any other; `adapter` writes peft's
            own small form, which loads into the pretrained network: that must be there then, with the same weights.
    """

    name = "lora"
    paper = "Hu et al. 2021, LoRA: Low-rank adaptation of large language models, arXiv:2106.09685"

    def __init__(
        self,
        rank: Annotated[int, Field(gt=0)] = 8,
        alpha: Annotated[float, Field(gt=0)] = 16.0,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        layers: Annotated[list[str], Field(min_length=1)] | None = None,
        save: Literal["merged", "adapter"] = "merged",
    ) -> None:
        super().__init__()
        self.rank, self.alpha, self.dropout, self.layers, self.save = rank, alpha, dropout, layers, save

    def modify(self, run: Run) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        backbone = run.model.backbone
        if peft_form.low_rank_layers(backbone):
            raise UserError("`lora` is listed twice", "name all layers in one `lora`")
        names = by_names(backbone, self.layers) if self.layers else attention(backbone)
        refuse_unused(run, names)
        if self.save == "adapter":
            peft_form.refuse_unpinned(run)
        net = peft_form.network(backbone)
        fresh = [parameter for parameter in peft_form.fresh(net).values() if parameter.requires_grad]
        exactly = "|".join(re.escape(name) for name in names)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft only divides by the rank
            lora_dropout=self.dropout,
            target_modules=exactly,
        )
        inject_adapter_in_model(config, net)  # freezes all else
        for parameter in fresh:
            parameter.requires_grad_(True)
        for layer in peft_form.low_rank_layers(backbone).values():
            stage = next(stage for stage in run.stages if any(each is layer.base_layer.weight for each in stage))
            stage.extend(parameter for parameter in layer.parameters() if parameter.requires_grad)

    def start_round(self, run: Run) -> None:
        layers = peft_form.low_rank_layers(run.model.backbone).values()
        if not any(parameter.requires_grad for layer in layers for parameter in layer.parameters()):
            raise UserError(
                "`lora` has nothing to train: another adapter froze all the layers it changes",
                "remove `partial_freeze`: `lora` keeps the pretrained weights by itself",
            )

    def finish(self, run: Run) -> None:
        if self.save == "merged":
            peft_form.merge(run.model.backbone)

    def export(self, run: Run, folder: Path) -> str | None:
        """peft's own form, where `save` is `adapter`."""
        return peft_form.export(run, folder) if self.save == "adapter" else None

    def load_exported(self, model: Model, folder: Path) -> None:
        peft_form.load(model, folder)
