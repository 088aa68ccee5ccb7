"""The head that boosted classifiers answer with."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tlhub.head import Head


class Vote(Head):
    """Linear classifiers that vote, each with a weight of its own.

    The logits are the logarithms of the classes' shares of the votes, so that the probability of a class is its share.
    Of classes with equal votes the last wins, as in the answer of TrAdaBoost (Dai et al. 2007, figure 1), where a half
    of the votes is enough for class 1.

    Args:
        features: width of the features.
        outputs: number of classes.
        members: number of classifiers.
        soft: whether a classifier divides its vote by its probabilities, instead of giving it to one class.
    """

    name = "vote"
    votes: Tensor

    def __init__(self, features: int, outputs: int, members: Annotated[int, Field(gt=0)], soft: bool = False) -> None:
        super().__init__()
        self.width, self.members, self.soft = outputs, members, soft
        self.linear = nn.Linear(features, members * outputs).requires_grad_(False)
        self.register_buffer("votes", torch.ones(members))

    def forward(self, features: Tensor) -> Tensor:
        logits = self.linear(features).unflatten(-1, (self.members, self.width))
        said = logits.softmax(-1) if self.soft else F.one_hot(logits.argmax(-1), self.width).to(logits)
        shares = (self.votes[:, None] * said).sum(-2) / self.votes.sum()
        return (shares + 1e-6 * torch.arange(1, 1 + self.width, device=shares.device)).log()
