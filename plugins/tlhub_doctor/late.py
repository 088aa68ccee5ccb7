"""What was measured of the loss terms, and its mean in the later part of training, when warm-ups are over."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def by_epoch(history: Sequence[Mapping[str, Any]], measure: str) -> dict[str, list[float]]:
    """By term, a measure in every epoch that has it; of several rounds, in the last one.

    Terms that have none are left out.
    """
    rows = [row.get("measures", {}) for row in history if row["round"] == history[-1]["round"]]
    terms = {term: None for row in rows for term in row}
    found = {term: [row[term][measure] for row in rows if measure in row.get(term, {})] for term in terms}
    return {term: values for term, values in found.items() if values}


def late(history: Sequence[Mapping[str, Any]], measure: str) -> dict[str, float]:
    """By term, the mean of a measure over the last third of the epochs that have it; see `by_epoch`."""
    found = by_epoch(history, measure)
    return {term: statistics.mean(values[-max(1, len(values) // 3) :]) for term, values in found.items()}
