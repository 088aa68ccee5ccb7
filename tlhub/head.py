"""Networks that stand between the backbone's features and the answer."""

from __future__ import annotations

from torch import Tensor, nn

from tlhub.component import Component


class Head(Component, nn.Module):
    """A neck or a head: rebuilt from its settings when a saved model is loaded.

    Whatever an adapter puts into `model.neck` or `model.head` is a `Head`, offered by a plugin under a name, so
    that a saved model can be loaded without running the adapter again. `width` is the width of what comes out.
    """

    width: int


class Identity(Head):
    """Hands the features on as they are.

    Args:
        features: width of the features.
    """

    name = "identity"

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features

    def forward(self, features: Tensor) -> Tensor:
        return features
