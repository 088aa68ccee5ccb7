"""Gradual unfreezing, from the head to the input."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter
from tlhub.run import Run


class GradualUnfreeze(Adapter):
    """Trains the head first, then one more stage of the backbone every few epochs, from the output to the input.

    Howard & Ruder 2018, section 3.3 (ULMFiT): the last layer holds the least general knowledge, so it is unfrozen
    first, for one epoch, then the next lower one, until all layers learn. Deviations: a layer is one of the backbone's
    stages, and the neck (a bottleneck, say) learns with the head. A training too short to reach the input leaves the
    first stages as they were: a backbone of S stages learns as a whole from epoch S x `every` on. What `partial_freeze`
    froze stays frozen.

    Args:
        every: epochs until the next stage learns too; 1 is the paper's.
    """

    name = "gradual_unfreeze"
    paper = "Howard & Ruder 2018, Universal language model fine-tuning for text classification, arXiv:1801.06146"
    learns: Tensor

    def __init__(self, every: Annotated[int, Field(gt=0)] = 1) -> None:
        super().__init__()
        self.every = every

    def prepare(self, run: Run) -> None:
        # Everything stays trainable here: the optimizer is made of what is. Which parameters another adapter froze is
        # only known when all are prepared, and must survive a checkpoint: a buffer.
        self.register_buffer("learns", torch.zeros(sum(map(len, run.stages)), dtype=torch.bool))

    def start_round(self, run: Run) -> None:
        flags = [parameter.requires_grad for stage in run.stages for parameter in stage]
        self.learns.copy_(torch.tensor(flags, dtype=torch.bool))

    def start_epoch(self, run: Run) -> None:
        still_frozen = len(run.stages) - run.epoch // self.every
        learns = iter(self.learns.tolist())
        for number, stage in enumerate(run.stages):
            for parameter in stage:
                parameter.requires_grad_(next(learns) and number >= still_frozen)
