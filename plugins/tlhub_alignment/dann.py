"""Domain-adversarial training: DANN."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tlhub.adapter import Adapter, Need
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.adversary import discriminator, domain_loss, reverse, tell
from tlhub_alignment.fields import Count, Depth, Dropout, Layers, Positive
from tlhub_alignment.layers import side_by_side, tap, width
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
        layers: what the discriminator reads: `features` (what the head reads, the paper's choice), `backbone` (its
            output), `logits`, or modules of the backbone by name. Several are read side by side, so that their joint
            distributions are aligned.
        hidden: width of the discriminator's hidden layers; 1024 as in the paper's networks for natural images, which
            used 100 for MNIST.
        depth: number of hidden layers; 2 as in the paper's networks for natural images, 1 for MNIST.
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
        layers: Layers = ["features"],  # noqa: B006 - never changed
        hidden: Count = 1024,
        depth: Depth = 2,
        dropout: Dropout = 0.0,
        batch_norm: bool = False,
        strength: Positive = 1.0,
        schedule: WarmUp = "dann",
    ) -> None:
        super().__init__()
        self.layers, self.hidden, self.depth, self.dropout = list(layers), hidden, depth, dropout
        self.batch_norm, self.strength, self.schedule = batch_norm, strength, schedule
        self.additive = not batch_norm  # a mean of means, unless rows are normalised by each other

    def prepare(self, run: Run) -> None:
        tap(run, self.layers, self.name)
        seen = width(run, self.layers)
        self.discriminator = discriminator(seen, self.hidden, self.depth, self.dropout, self.batch_norm)

    def penalty(self, step: Step) -> Tensor:
        source, target = (side_by_side(view, self.layers) for view in (step.source, step.target))
        factor = self.strength * warm_up(self.schedule, step.progress)
        told = self.discriminator(reverse(torch.cat([source, target]), factor)).squeeze(1)
        of_source, of_target = told[: len(source)], told[len(source) :]
        tell(step, (of_source, of_target), self.discriminator)
        return domain_loss(of_source, of_target)
