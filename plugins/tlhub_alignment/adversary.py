"""What an adversary among the adapters is made of: gradient reversal, a discriminator, and its loss."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlhub.step import Step


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * gradient, None


def reverse(features: Tensor, factor: float) -> Tensor:
    """`features` as they are; the gradient flowing back is multiplied by `-factor` (Ganin et al. 2016, section 4.2)."""
    reversed_: Tensor = _Reversal.apply(features, factor)
    return reversed_


def domain_loss(source: Tensor, target: Tensor, weights: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Binary cross-entropy of a discriminator's logits: the mean of the two domains' means.

    So a domain with more rows weighs no more, and a discriminator that knows nothing costs ln 2. With `weights`, one a
    row, the means are weighted ones.
    """
    losses = (F.softplus(-source), F.softplus(target))
    if weights is None:
        return (losses[0].mean() + losses[1].mean()) / 2
    means = [(loss * weight).sum() / weight.sum() for loss, weight in zip(losses, weights, strict=True)]
    return (means[0] + means[1]) / 2


def tell(step: Step, told: tuple[Tensor, Tensor], discriminator: nn.Module) -> None:
    """Measure how a discriminator does: its accuracy, the mean of both domains', its loss, and the norm of its weights.

    Args:
        told: its logits on the source's rows and on the target's.
    """
    source, target = told
    step.measure("discriminator_accuracy", lambda: ((source > 0).float().mean() + (target < 0).float().mean()) / 2)
    step.measure("discriminator_loss", lambda: domain_loss(source, target))
    step.measure("discriminator_norm", lambda: nn.utils.get_total_norm(list(discriminator.parameters())))


def discriminator(width: int, hidden: int, depth: int, dropout: float, batch_norm: bool) -> nn.Sequential:
    """A perceptron of `depth` hidden layers from features `[rows, width]` to one logit, positive for the source."""
    modules: list[nn.Module] = []
    for number in range(depth):
        modules.append(nn.Linear(hidden if number else width, hidden))
        modules += [nn.BatchNorm1d(hidden)] if batch_norm else []
        modules.append(nn.ReLU())
        modules += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*modules, nn.Linear(hidden if depth else width, 1))
