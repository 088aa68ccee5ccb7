"""Domain-adversarial training: DANN."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.adapter import Adapter, Need
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.adversary import discriminator, domain_loss, reverse
from tlhub_alignment.fields import Count, Layers, Positive
from tlhub_alignment.layers import tap, width
from tlhub_alignment.warmup import WarmUp, warm_up


class DANN(Adapter):
    """Trains a discriminator to tell the domains apart, and the features to deceive it.

    Ganin et al. 2016, eq. 9: the features descend the gradient of L_task - lambda * L_domain, the discriminator that of
    L_domain, in one backward pass through a layer that reverses the gradient (eq. 18). So the discriminator's own
    gradient is not scaled by lambda. lambda is `strength` x the schedule of section 5.2.2.

    Use it when the domains differ in style, and there is time to train an adversary for more than a few epochs.
    Cost: the discriminator's forward and backward pass over both domains' rows.

    Deviation: L_domain is the mean of the two domains' means, half of the paper's sum.
    Deviation: the discriminator learns at the head's rate by the run's optimizer.

    Args:
        layer: what the discriminator reads: `features` (what the head reads, the paper's choice), `backbone` (its
            output), `logits`, or a module of the backbone by name; or a list of them, which one discriminator reads
            side by side, so that their joint distributions are aligned.
        hidden: width of the discriminator's hidden layers; 1024 as in the paper's networks for natural images, which
            used 100 for MNIST.
        layers: number of hidden layers; 2 as in the paper's networks for natural images, 1 for MNIST.
        dropout: share of the discriminator's hidden values that a training step sets to zero; 0 as the paper names
            none.
        batch_norm: batch normalisation in the discriminator, over the rows of both domains together. Off as in the
            paper.
        strength: the largest lambda; 1 as in the paper.
        schedule: `dann`: lambda grows from 0 with the progress p of training, 2 / (1 + exp(-10 p)) - 1, so that the
            noise of a fresh discriminator does no harm; `constant`: it does not.
    """

    name = "dann"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Ganin et al. 2016, Domain-adversarial training of neural networks, arXiv:1505.07818"
    discriminator: nn.Sequential

    def __init__(
        self,
        layer: str | Layers = "features",
        hidden: Count = 1024,
        layers: Annotated[int, Field(ge=0)] = 2,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        batch_norm: bool = False,
        strength: Positive = 1.0,
        schedule: WarmUp = "dann",
    ) -> None:
        super().__init__()
        self.read = [layer] if isinstance(layer, str) else list(layer)
        self.hidden, self.layers, self.dropout, self.batch_norm = hidden, layers, dropout, batch_norm
        self.strength, self.schedule = strength, schedule
        self.additive = not batch_norm  # a mean of means, unless rows are normalised by each other

    def prepare(self, run: Run) -> None:
        tap(run, self.read, self.name)
        seen = sum(width(run, layer) for layer in self.read)
        self.discriminator = discriminator(seen, self.hidden, self.layers, self.dropout, self.batch_norm)

    def penalty(self, step: Step) -> Tensor:
        source, target = (torch.cat([v.layer(name) for name in self.read], 1) for v in (step.source, step.target))
        factor = self.strength * warm_up(self.schedule, step.progress)
        told = self.discriminator(reverse(torch.cat([source, target]), factor)).squeeze(1)
        return domain_loss(told[: len(source)], told[len(source) :])
