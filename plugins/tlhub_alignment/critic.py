"""What keeps the gradient of a critic at length 1 (Gulrajani et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def gradient_penalty(critic: nn.Module, points: Tensor) -> Tensor:
    """The mean over `points` `[rows, width]` of (|gradient of the critic| - 1)^2, for the critic to learn from."""
    points = points.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    steepness: Tensor = torch.linalg.vector_norm(slopes, dim=1)
    return (steepness - 1).square().mean()


def between(source: Tensor, target: Tensor) -> Tensor:
    """A random point on the line from every row of `target` to a random row of `source`."""
    others = source[torch.randint(len(source), (len(target),), device=source.device)]
    return target + torch.rand(len(target), 1, device=target.device) * (others - target)
