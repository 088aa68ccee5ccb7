"""Looks for symptoms while a model trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlhub.catalog import Catalog
from tlhub.symptom import Finding, Symptom


class Monitor:
    """Every installed symptom that shows in the history alone; each is told of once."""

    def __init__(self, catalog: Catalog) -> None:
        self._waiting = [each for each in symptoms(catalog) if type(each).watch is not Symptom.watch]

    def hear(self, history: Sequence[Mapping[str, Any]]) -> list[Finding]:
        """What has shown itself in the history since this was last asked."""
        looked = [(each, each.watch(history)) for each in self._waiting]
        self._waiting = [each for each, finding in looked if finding is None or not finding.ill]
        return [finding for _, finding in looked if finding is not None and finding.ill]


def symptoms(catalog: Catalog) -> list[Symptom]:
    """Every installed symptom."""
    return [catalog.create("symptoms", entry.name, {}) for entry in catalog.entries("symptoms")]
