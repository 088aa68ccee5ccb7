"""Adaptive feature norm: SAFN."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Layers, Positive
from tlhub_alignment.layers import tap


def norm_growth(features: Tensor, growth: float) -> Tensor:
    """The mean over rows of (|f| - (|f|_now + growth))^2, where |f|_now is a constant.

    Its value is always growth^2; its gradient, -2 growth f / |f| over the number of rows, makes every row longer.
    """
    norms: Tensor = torch.linalg.vector_norm(features, dim=1)
    return (norms - (norms.detach() + growth)).square().mean()


class AFN(Adapter):
    """Makes the features of both domains grow in norm, step by step.

    SAFN (Xu et al. 2019): features of the target are shorter than those of the source, and longer ones transfer better.
    To the loss is added lambda * L of the rows of the source and of the target each, where L is the mean of
    (|f| - (|f|_now + growth))^2. The term is a constant, 2 lambda growth^2 a layer: only its gradient is of use.

    Use it when target features are shorter than source features, or some source classes are missing in the target.
    Cost: one norm a row.

    Deviation: the two domains' means are added as in the authors' code; the paper's mean over all rows is half as much.
    Deviation: dropout that keeps the norm, which the authors put into their bottleneck, is the neck's affair.

    Args:
        layers: whose norms grow; the terms are added. `features` (what the head reads, the paper's choice), `backbone`
            (its output), or modules of the backbone by name.
        growth: by how much a step wants a norm to grow, Delta r; 1 as in the paper.
        strength: factor of the term in the loss, lambda; 0.05 as in the paper.
    """

    name = "afn"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Xu et al. 2019, Larger norm more transferable: an adaptive feature norm approach, arXiv:1811.07456"
    additive = True  # a mean over rows

    def __init__(
        self,
        layers: Layers = ["features"],  # noqa: B006 - never changed
        growth: Positive = 1.0,
        strength: Positive = 0.05,
    ) -> None:
        super().__init__()
        self.layers, self.growth, self.strength = list(layers), growth, strength

    def prepare(self, run: Run) -> None:
        tap(run, self.layers, self.name)

    def penalty(self, step: Step) -> Tensor:
        views = (step.source, step.target)
        found = [norm_growth(view.layer(name), self.growth) for name in self.layers for view in views]
        return self.strength * torch.stack(found).sum()
