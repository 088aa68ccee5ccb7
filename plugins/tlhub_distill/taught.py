"""What the adapters here have in common: a choice of domains, and what was said of every example before the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.data import Domain
from tlhub.errors import UserError
from tlhub.lineage import Origin
from tlhub.run import Run
from tlhub.step import Step, View

On = Literal["target", "source", "all"]


class Taught(Adapter):
    """An adapter that holds the student to what is known beforehand of every example of some domains.

    The class needs the target, so that the source-only baseline is the student without a teacher; one that looks at
    all domains, or at the source alone, also works where there is no target.

    Args:
        on: the domains.

    Attributes:
        learned_from: its teachers, as they are loaded.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    table: Tensor

    def __init__(self, on: On) -> None:
        super().__init__()
        self.on = on
        self.learned_from: list[Origin] = []
        if on != "target":
            self.needs = frozenset()  # type: ignore[misc]  # follows from a setting

    def origins(self) -> Sequence[Origin]:
        return self.learned_from

    def domains(self, run: Run) -> list[Domain]:
        """The domains that `on` names. Raises UserError where the run has none of them."""
        found = {"target": run.targets, "source": run.sources, "all": run.domains}[self.on]
        if not found:
            raise UserError(f"`{self.name}` learns `on: {self.on}`, but the run has no {self.on}", "write `on: all`")
        return found

    def remember(self, known: Mapping[str, Tensor], persistent: bool = False) -> None:
        """Keep what is known of the examples, by their domain's key, a row for each.

        It is a part of checkpoints only where it is `persistent`: what a teacher says can be asked for again.
        """
        sizes = [len(rows) for rows in known.values()]
        self.first = {key: sum(sizes[:number]) for number, key in enumerate(known)}
        self.register_buffer("table", torch.cat(list(known.values())), persistent)

    def views(self, step: Step) -> list[View]:
        """The views of the domains that `on` names."""
        return [view for view in step.views if self.on in ("all", view.role)]

    def known(self, views: Sequence[View]) -> Tensor:
        """What is kept of the views' examples, a row for each."""
        return self.table[torch.cat([view.indices + self.first[view.domains[0].key] for view in views])]
