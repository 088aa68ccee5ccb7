"""Batch spectral shrinkage: BSS."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step


def smallest_squares(features: Tensor, count: int) -> Tensor:
    """The sum of the squares of the `count` smallest singular values of `[rows, width]`.

    From the singular values themselves: as eigenvalues of the Gram matrix the small ones would be lost in float32.
    """
    values: Tensor = torch.linalg.svdvals(features)
    return values[-count:].square().sum()


class BSS(Adapter):
    """Shrinks the smallest singular values of a batch's features, whose directions do not transfer.

    Chen et al. 2019, section 4: loss + eta sum_{i=1..k} sigma_{-i}^2, with the k smallest singular values of the matrix
    `[rows, width]` of what the head reads. It goes with other methods, such as `l2_sp` and `delta`, and does not
    weaken what they keep.

    Use it when fine-tuning on few labelled examples makes the model worse than a new one would be.
    Cost: a singular value decomposition of the batch's features, for which a GPU is waited.

    Deviations: the rows of all domains of a step make one matrix.

    Args:
        count: how many singular values are shrunk, k; 1 as in the paper.
        strength: factor of the term in the loss, eta; 0.001 as in the paper.
    """

    name = "bss"
    paper = (
        "Chen et al. 2019, Catastrophic forgetting meets negative transfer: Batch spectral shrinkage for safe "
        "transfer learning, NeurIPS"
    )

    def __init__(self, count: Annotated[int, Field(gt=0)] = 1, strength: Annotated[float, Field(gt=0)] = 1e-3) -> None:
        super().__init__()
        self.count, self.strength = count, strength

    def prepare(self, run: Run) -> None:
        rows, width = run.train.batch * len(run.domains), run.model.neck.width
        if self.count > min(rows, width):
            raise UserError(
                f"`bss` is to shrink {self.count} singular values, and features [{rows}, {width}] have fewer",
                f"set `count: {min(rows, width)}` or less",
            )

    def penalty(self, step: Step) -> Tensor:
        features = torch.cat([view.features for view in step.views])
        # the decomposition refuses what is not finite, and the loop names the term where that comes from
        return self.strength * smallest_squares(features.nan_to_num(), self.count)
