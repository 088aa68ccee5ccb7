"""Wasserstein distance guided representation learning: WDGRL."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from tlhub.adapter import Adapter, Need
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.adversary import discriminator
from tlhub_alignment.critic import between, gradient_penalty
from tlhub_alignment.fields import Count, Depth, Layers, Positive
from tlhub_alignment.layers import side_by_side, tap, width
from tlhub_alignment.warmup import WarmUp, warm_up


class Wasserstein(Adapter):
    """Adds the Wasserstein distance between source and target features, as a critic estimates it, to the loss.

    WDGRL (Shen et al. 2018, Algorithm 1): W = mean of the critic over the source - its mean over the target, for a
    critic whose gradient has norm 1. Before each step of the features, the critic takes several steps of its own up the
    gradient of W - gamma * mean of (|gradient| - 1)^2 over source features, target features and points between them.
    The term is lambda * W, and only the features learn from it.

    Use it when `dann`'s discriminator tells the domains apart at once, and its gradient is of no more use.
    Cost: `critic_steps` x (forward, backward and penalty of the critic over both domains' rows, and points between).

    Deviation: the critic takes plain gradient steps, as the algorithm is printed; the authors' code has Adam. (One step
    for both by gradient reversal, as in `dann`, was tried: the critic trails behind, and features run away from it.)

    Args:
        layers: what the critic reads: `features` (what the head reads, the paper's choice), `backbone` (its output),
            `logits`, or modules of the backbone by name. Several are read side by side.
        hidden: width of the critic's hidden layers; 100 as in the authors' code.
        depth: number of hidden layers; 1 as in the authors' code.
        gamma: factor of the gradient penalty; 10 as in the paper.
        critic_steps: steps of the critic for each step of the features; 5 as in the authors' code.
        critic_lr: rate of these steps; 0.01 settles for features of any width in some dozen steps; where features are
            far apart, 50 times their spread, a larger one does not.
        strength: factor of the term in the loss, lambda; 0.1. The authors' code has 0.01 for digits.
        schedule: `constant` as in the paper, or `dann`: lambda grows from 0 with the progress p of training,
            2 / (1 + exp(-10 p)) - 1.
    """

    name = "wasserstein"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Shen et al. 2018, Wasserstein distance guided representation learning, arXiv:1707.01217"
    critic: nn.Sequential

    def __init__(
        self,
        layers: Layers = ["features"],  # noqa: B006 - never changed
        hidden: Count = 100,
        depth: Depth = 1,
        gamma: Positive = 10.0,
        critic_steps: Count = 5,
        critic_lr: Positive = 0.01,
        strength: Positive = 0.1,
        schedule: WarmUp = "constant",
    ) -> None:
        super().__init__()
        self.layers, self.hidden, self.depth, self.gamma = list(layers), hidden, depth, gamma
        self.critic_steps, self.critic_lr, self.strength, self.schedule = critic_steps, critic_lr, strength, schedule

    def prepare(self, run: Run) -> None:
        tap(run, self.layers, self.name)
        self.critic = discriminator(width(run, self.layers), self.hidden, self.depth, dropout=0.0, batch_norm=False)
        self.critic.requires_grad_(False)  # the run's optimizer leaves it alone

    def penalty(self, step: Step) -> Tensor:
        source, target = (side_by_side(view, self.layers) for view in (step.source, step.target))
        for _ in range(self.critic_steps):
            self._improve(source.detach(), target.detach())
        return self.strength * warm_up(self.schedule, step.progress) * self._distance(source, target)

    def _distance(self, source: Tensor, target: Tensor) -> Tensor:
        distance: Tensor = self.critic(source).mean() - self.critic(target).mean()
        return distance

    def _improve(self, source: Tensor, target: Tensor) -> None:
        """One step of the critic."""
        self.critic.requires_grad_(True)
        points = torch.cat([source, target, between(source, target)])
        loss = self.gamma * gradient_penalty(self.critic, points) - self._distance(source, target)
        weights = list(self.critic.parameters())
        slopes = torch.autograd.grad(loss, weights)
        self.critic.requires_grad_(False)
        for weight, slope in zip(weights, slopes, strict=True):
            weight.sub_(slope, alpha=self.critic_lr)
