"""Conditional adversarial training: CDAN."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.adversary import discriminator, domain_loss, reverse, tell
from tlhub_alignment.entropy import certainty
from tlhub_alignment.fields import Count, Depth, Dropout, Positive
from tlhub_alignment.multilinear import multilinear, random_multilinear
from tlhub_alignment.warmup import WarmUp, warm_up

WIDEST = 4096
"""The widest multilinear map that is made in full (the paper's threshold)."""


class CDAN(Adapter):
    """Trains a discriminator on features times predictions, and the features to deceive it.

    Long et al. 2018: as DANN, but the discriminator reads the multilinear map f x g of the features f and the class
    probabilities g, so that domains are aligned class by class. Where the map is wider than 4096, the discriminator
    reads the random one, (R_f f) * (R_g g) / sqrt(d), instead. With `entropy` (CDAN+E), a row of entropy H counts
    1 + exp(-H): those that are easy to transfer come first. lambda is `strength` x the schedule of DANN.

    Use it when DANN mixes up the classes, and the predictions on the target are better than chance.
    Cost: the discriminator's forward and backward pass over both domains' rows, its input at most 4096 wide.

    Deviation: the predictions and the weights are seen as constants, as the authors' code has the predictions and
    TLlib has both: the gradient of the domain loss does not reach the head. In the paper's formula it does.
    Deviation: weighted and plain losses are the mean of the two domains' means, half of the paper's sum.

    Args:
        entropy: whether rows of certain prediction count more: CDAN+E, the paper's better variant.
        random_width: width d of the random map; 1024 as in the authors' code.
        hidden: width of the discriminator's hidden layers; 1024 as in the authors' code.
        depth: number of hidden layers; 2 as in the authors' code.
        dropout: share of the discriminator's hidden values that a training step sets to zero; 0.5 as in the authors'
            code.
        strength: the largest lambda; 1 as in the paper.
        schedule: `dann`: lambda grows from 0 with the progress p of training, 2 / (1 + exp(-10 p)) - 1; `constant`: it
            does not.
    """

    name = "cdan"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Long et al. 2018, Conditional adversarial domain adaptation, arXiv:1705.10667"
    discriminator: nn.Sequential
    of_features: Tensor
    of_classes: Tensor

    def __init__(
        self,
        entropy: bool = False,
        random_width: Count = 1024,
        hidden: Count = 1024,
        depth: Depth = 2,
        dropout: Dropout = 0.5,
        strength: Positive = 1.0,
        schedule: WarmUp = "dann",
    ) -> None:
        super().__init__()
        self.entropy, self.random_width, self.hidden, self.depth = entropy, random_width, hidden, depth
        self.dropout, self.strength, self.schedule = dropout, strength, schedule
        self.additive = not entropy  # a mean of means, unless rows are weighted by each other

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`mmd`, `coral` or `dann`")
        width, classes = run.model.neck.width, run.model.head.width
        self.random = width * classes > WIDEST
        if self.random:
            self.register_buffer("of_features", torch.randn(width, self.random_width))
            self.register_buffer("of_classes", torch.randn(classes, self.random_width))
        seen = self.random_width if self.random else width * classes
        self.discriminator = discriminator(seen, self.hidden, self.depth, self.dropout, batch_norm=False)

    def penalty(self, step: Step) -> Tensor:
        rows = len(step.source)
        features = torch.cat([step.source.features, step.target.features])
        said = torch.cat([step.source.logits, step.target.logits]).detach()
        factor = self.strength * warm_up(self.schedule, step.progress)
        told = self.discriminator(self._map(reverse(features, factor), said.softmax(1))).squeeze(1)
        weights = certainty(said) if self.entropy else None
        pair = None if weights is None else (weights[:rows], weights[rows:])
        tell(step, (told[:rows], told[rows:]), self.discriminator)
        return domain_loss(told[:rows], told[rows:], pair)

    def _map(self, features: Tensor, probabilities: Tensor) -> Tensor:
        if self.random:
            return random_multilinear(features, probabilities, self.of_features, self.of_classes)
        return multilinear(features, probabilities)
