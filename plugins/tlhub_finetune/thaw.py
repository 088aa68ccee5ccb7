"""What methods have in common that let the head learn first, and stages of the backbone later."""

from __future__ import annotations

import torch
from torch import Tensor

from tlhub.adapter import Adapter
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_finetune.pretrained import never_pretrained


class Thaw(Adapter):
    """An adapter that says in every epoch which stages of the backbone are still frozen.

    What follows the pretrained network learns from the start, and what another adapter froze stays frozen.
    """

    learns: Tensor

    def still_frozen(self, epoch: int, stages: int) -> int:
        """How many of the backbone's stages, from the input, do not learn in this epoch."""
        raise NotImplementedError

    def prepare(self, run: Run) -> None:
        others = [f"`{adapter.name}`" for adapter in run.adapters if isinstance(adapter, Thaw)]
        if len(others) > 1:
            raise UserError(f"{' and '.join(others)} each say when the backbone begins to learn", "keep one of them")
        # Everything stays trainable here: the optimizer is made of what is. Which parameters another adapter froze is
        # only known when all are prepared, and must survive a checkpoint: a buffer.
        self.register_buffer("learns", torch.zeros(sum(map(len, run.stages)), dtype=torch.bool))

    def start_round(self, run: Run) -> None:
        flags = [parameter.requires_grad for stage in run.stages for parameter in stage]
        self.learns.copy_(torch.tensor(flags, dtype=torch.bool))

    def start_epoch(self, run: Run) -> None:
        frozen = self.still_frozen(run.epoch, len(run.stages))
        new = never_pretrained(run.model.backbone)
        learns = iter(self.learns.tolist())
        for number, stage in enumerate(run.stages):
            for parameter in stage:
                parameter.requires_grad_(next(learns) and (number >= frozen or parameter in new))
