"""The bottleneck between a pretrained network and a fresh head."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from tlhub.head import Head

Normalise = Literal["batch", "layer", "none"]


class Bottleneck(Head):
    """Linear layer, normalisation, ReLU, dropout.

    Args:
        features: width of what comes in.
        outputs: width of what goes out.
        dropout: share of the outputs that a training step sets to zero.
        normalise: normalisation between the linear layer and the ReLU; `layer` does not depend on the other examples of
            a batch.
    """

    name = "bottleneck"

    def __init__(
        self,
        features: int,
        outputs: int,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        normalise: Normalise = "batch",
    ) -> None:
        super().__init__()
        self.width = outputs
        norm = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": None}[normalise]
        norms = [] if norm is None else [norm(outputs)]
        drops = [nn.Dropout(dropout)] if dropout else []
        self.layers = nn.Sequential(nn.Linear(features, outputs), *norms, nn.ReLU(), *drops)

    def forward(self, features: Tensor) -> Tensor:
        narrowed: Tensor = self.layers(features)
        return narrowed
