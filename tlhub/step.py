"""What adapters see of one training step: every domain's batch as the model saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tlhub.data import Domain
    from tlhub.model import Model


@dataclass(frozen=True)
class View:
    """A batch of one domain, or of several side by side, seen through the model.

    Attributes:
        role: `source` or `target`.
        domains: the domains the rows come from, in order.
        indices: `[rows]`, the position of every row's example in its domain (on the model's device).
        labels: `[rows]` where the domain's labels are shown, else None.
        features: `[rows, width]`, what the head reads.
        logits: `[rows, outputs]`.
    """

    role: str
    domains: tuple[Domain, ...]
    indices: Tensor
    labels: Tensor | None
    features: Tensor
    logits: Tensor
    tapped: Callable[[str], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.indices)

    def layer(self, name: str) -> Tensor:
        """`[rows, width]` of a layer: `features`, `logits`, `backbone`, or a module that was tapped in `prepare`."""
        if name == "features":
            return self.features
        if name == "logits":
            return self.logits
        return self.tapped(name)


@dataclass(frozen=True)
class Step:
    """The views of one training step.

    Attributes:
        views: one view a domain, sources first.
        progress: the share of all training steps done before this one, in [0, 1); the same after a resume.
        number: how many steps were done before this one, in this round.
        model: the model being trained.
    """

    views: Sequence[View]
    progress: float
    number: int
    model: Model = field(repr=False)

    @cached_property
    def source(self) -> View:
        """All source rows side by side."""
        return _join([view for view in self.views if view.role == "source"])

    @cached_property
    def target(self) -> View:
        """All target rows side by side."""
        return _join([view for view in self.views if view.role == "target"])


def _join(views: Sequence[View]) -> View:
    if len(views) == 1:
        return views[0]
    labels = [view.labels for view in views]
    return View(
        role=views[0].role,
        domains=tuple(domain for view in views for domain in view.domains),
        indices=torch.cat([view.indices for view in views]),
        labels=torch.cat([label for label in labels if label is not None]) if None not in labels else None,
        features=torch.cat([view.features for view in views]),
        logits=torch.cat([view.logits for view in views]),
        tapped=lambda name: torch.cat([view.layer(name) for view in views]),
    )
