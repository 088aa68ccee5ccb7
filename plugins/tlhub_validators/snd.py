"""Soft neighbourhood density."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.sample import sample


def neighbourhood_density(logits: Tensor, temperature: float) -> float:
    """The mean entropy of softmax(cosines of an example's probabilities with the others' / temperature), in nats.

    Saito et al. 2021, equation 2 and the entropy of it. 0 of one example, which has no neighbours.
    """
    if len(logits) < 2:
        return 0.0
    directions = F.normalize(logits.double().softmax(1))
    similar = directions @ directions.T / temperature
    similar.fill_diagonal_(-torch.inf)  # an example is none of its own neighbours
    return float(torch.special.entr(similar.softmax(1)).sum(1).mean())


class Snd(Validator):
    """How many neighbours with the like answer a target example has: large where answers form dense clusters.

    Saito et al. 2021, Tune it the right way: Unsupervised validation of domain adaptation via soft neighborhood
    density, ICCV.

    Use it when target classes make clusters, and settings of one method are compared.
    Cost: a pass over the target; similarities of pairs among 2,000 of its examples, always the same.
    Known to fail: by collapse: one class for all has the densest neighbourhood of all. Fewer, larger clusters are
    preferred to right ones.
    Deviation: beyond 2,000 examples, a sample. pytorch-adapt's SNDValidator is the same on fewer; skada's takes one
    softmax over all pairs, and keeps an example's similarity with itself, its sign turned.

    Args:
        temperature: the paper's tau: the smaller, the fewer neighbours count.
    """

    name = "snd"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def __init__(self, temperature: Annotated[float, Field(gt=0)] = 0.05) -> None:
        self.temperature = temperature

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return neighbourhood_density(sample(seen.target).logits, self.temperature)
