"""What was measured of the loss terms in the later part of training, when warm-ups are over."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def late(history: Sequence[Mapping[str, Any]], measure: str) -> dict[str, float]:
    """By term, the mean of a measure over the last third of the epochs, or the last that have it.

    Terms that have none are left out; of several rounds, the last one counts.
    """
    rounds = [row["round"] for row in history]
    rows = [row.get("measures", {}) for row in history if row["round"] == rounds[-1]]
    found = {}
    for term in {term: None for row in rows for term in row}:
        values = [row[term][measure] for row in rows if measure in row.get(term, {})]
        if values:
            found[term] = statistics.mean(values[-max(1, len(values) // 3) :])
    return found
