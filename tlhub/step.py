"""What adapters see of one training step: every domain's batch as the model saw it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tlhub.data import NO_LABEL
from tlhub.model import MAP
from tlhub.ragged import padded

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
        inputs: what `model.see` takes for these rows: the backbone's inputs. Of a frozen backbone whose features are
            computed once, the features, unless an adapter of the run says `needs_inputs`.
        labels: `[rows]` where the domain's labels are shown, else None; `[rows, words]` or `[rows, classes]` in tasks
            that have those.
        features: `[rows, width]`, what the head reads.
        logits: `[rows, outputs]`, or `[rows, words, outputs]`.
    """

    role: str
    domains: tuple[Domain, ...]
    indices: Tensor
    inputs: Any = field(repr=False)
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

    def map(self, name: str) -> Tensor:
        """`[rows, ...]`: what a module of the backbone gave, tapped in `prepare` with `pooled=False`."""
        return self.tapped(f"{MAP}{name}")


@dataclass(frozen=True)
class Step:
    """The views of one training step.

    Attributes:
        views: one view a domain, sources first.
        progress: the share of all training steps done before this one, in [0, 1); the same after a resume.
        number: how many steps were done before this one, in this round.
        model: the model being trained.
        measured: what was told with `measure` in this step; None in the steps that are not measured.
    """

    views: Sequence[View]
    progress: float
    number: int
    model: Model = field(repr=False)
    measured: dict[str, Tensor] | None = field(default=None, repr=False)

    def measure(self, name: str, value: Callable[[], Tensor]) -> None:
        """Tell a scalar of this step for the history, such as the accuracy of a discriminator.

        It is computed in one step of some, without a gradient; the history has its mean over every epoch.
        """
        if self.measured is not None:
            with torch.no_grad():
                self.measured[name] = value().detach().float()

    @cached_property
    def source(self) -> View:
        """All source rows side by side."""
        return _join([view for view in self.views if view.role == "source"])

    @cached_property
    def target(self) -> View:
        """All target rows side by side."""
        return _join([view for view in self.views if view.role == "target"])


def rows_of(inputs: Any, rows: slice) -> Any:
    """Some rows of a collated batch."""
    return inputs[rows] if isinstance(inputs, Tensor) else {name: value[rows] for name, value in inputs.items()}


def _join_inputs(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _join(views: Sequence[View]) -> View:
    if len(views) == 1:
        return views[0]
    labels = [view.labels for view in views]
    return View(
        role=views[0].role,
        domains=tuple(domain for view in views for domain in view.domains),
        indices=torch.cat([view.indices for view in views]),
        inputs=_join_inputs([view.inputs for view in views]),
        labels=padded([label for label in labels if label is not None], NO_LABEL) if None not in labels else None,
        features=torch.cat([view.features for view in views]),
        logits=torch.cat([view.logits for view in views]),
        tapped=lambda name: torch.cat([view.tapped(name) for view in views]),
    )
