"""Gradual unfreezing, from the head to the input."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tlhub_finetune.thaw import Thaw


class GradualUnfreeze(Thaw):
    """Trains the head first, then one more stage of the backbone every few epochs, from the output to the input.

    Howard & Ruder 2018, section 3.3 (ULMFiT): the last layer holds the least general knowledge, so it is unfrozen
    first, for one epoch, then the next lower one, until all layers learn.

    Use it when the labelled examples are few, and training everything at once forgets what was pretrained.
    Cost: none; while stages are frozen, a step is cheaper.

    Deviations: a layer is one of the backbone's stages, and the neck (a bottleneck, say) learns with the head. A
    training too short to reach the input leaves the first stages as they were: a backbone of S stages learns as a whole
    from epoch S x `every` on. What `partial_freeze` froze stays frozen.

    Args:
        every: epochs until the next stage learns too; 1 is the paper's.
    """

    name = "gradual_unfreeze"
    paper = "Howard & Ruder 2018, Universal language model fine-tuning for text classification, arXiv:1801.06146"

    def __init__(self, every: Annotated[int, Field(gt=0)] = 1) -> None:
        super().__init__()
        self.every = every

    def still_frozen(self, epoch: int, stages: int) -> int:
        return stages - epoch // self.every
