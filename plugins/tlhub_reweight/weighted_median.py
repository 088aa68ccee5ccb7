"""The head that boosted regressions answer with."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.head import Head


class WeightedMedian(Head):
    """The weighted median of several linear regressions.

    That is the smallest of their answers such that it and those below it have at least half of the weight (Drucker
    1997, Improving regressors using boosting techniques).

    Args:
        features: width of the features.
        members: number of regressions.
    """

    name = "weighted_median"
    votes: Tensor

    def __init__(self, features: int, members: Annotated[int, Field(gt=0)]) -> None:
        super().__init__()
        self.width = 1
        self.linear = nn.Linear(features, members).requires_grad_(False)
        self.register_buffer("votes", torch.ones(members))

    def forward(self, features: Tensor) -> Tensor:
        answers, order = self.linear(features).sort(-1)
        below = self.votes[order].cumsum(-1)
        chosen = (below < below[..., -1:] / 2).sum(-1, keepdim=True)
        median: Tensor = answers.gather(-1, chosen)
        return median
