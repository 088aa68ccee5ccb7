"""Several adapted models on the same labelled examples, each compared with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tlhub import artifact
from tlhub.adaptation import Row, scored
from tlhub.catalog import Catalog
from tlhub.errors import UserError
from tlhub.measure import Comparison, compare, side_by_side


@dataclass(frozen=True)
class Entrant:
    """A model of the contest: its scores, and what it is against the first on the same examples; None of the first."""

    place: str
    metric: str
    rows: Sequence[Row]
    comparison: Comparison | None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.place,
            "metric": self.metric,
            "rows": [row.as_dict() for row in self.rows],
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
        }


def contest(
    places: Sequence[str],
    data: Sequence[Mapping[str, Any]] | None = None,
    *,
    device: str | None = None,
    catalog: Catalog | None = None,
) -> list[Entrant]:
    """Score models on the same labelled data, by default what the first one was scored on.

    Raises UserError where there is nothing to score on, a model has other classes, or another task.
    """
    catalog = catalog or Catalog.installed()
    found: list[Entrant] = []
    first = None
    for place in places:
        adapted = artifact.load(place, device, catalog)
        if data is None:
            data = adapted.record["manifest"].get("evaluate", [])
        if first is not None and adapted.task.name != first[0].task.name:
            raise UserError(
                f"{places[0]} answers a `{first[0].task.name}` and {place} a `{adapted.task.name}`",
                "compare models of one task",
            )
        rows, seen = scored(adapted, data, place, catalog)
        whole = side_by_side(seen)
        assert whole is not None
        first = first or (adapted, whole)
        comparison = compare(adapted.task, first[1], whole) if found else None
        found.append(Entrant(place, adapted.task.metric, rows, comparison))
    return found
