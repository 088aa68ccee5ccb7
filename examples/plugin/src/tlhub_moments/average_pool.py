"""A very small image network."""

from dataclasses import dataclass

import torch
from torch import nn

from tlhub import Backbone


@dataclass(frozen=True)
class Shrink:
    """Average an image down to `side` times `side` pixels; frozen, so that equal ones compare equal."""

    side: int
    random: bool = False

    def __call__(self, raw):
        import numpy as np

        small = raw.convert("RGB").resize((self.side, self.side))
        return torch.from_numpy(np.array(small)).permute(2, 0, 1)


class AveragePool(Backbone):
    """Average-pooled pixels through one hidden layer.

    Args:
        side: how many pixels a side is averaged down to.
        width: width of the features.
    """

    name = "average_pool"
    modality = "image"

    def __init__(self, side: int = 8, width: int = 32) -> None:
        super().__init__()
        self.side = side
        self.width = width
        self.hidden = nn.Linear(3 * side * side, width)

    def forward(self, inputs):
        return self.hidden(inputs.flatten(1).float() / 255 - 0.5).relu()

    def stages(self):
        return [["hidden.weight", "hidden.bias"]]

    def preprocess(self, train):
        return Shrink(self.side)
