"""The linear head."""

from __future__ import annotations

from torch import Tensor, nn

from tlhub.head import Head


class LinearHead(Head):
    """One linear layer from the features to the answer.

    Args:
        features: width of the features.
        outputs: how many numbers the answer has, such as the number of classes.
    """

    name = "linear"

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.width = outputs
        self.linear = nn.Linear(features, outputs)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.linear(features)
        return logits
