"""Looks for what went wrong in an adaptation that is over."""

from __future__ import annotations

from pathlib import Path

from tlhub import artifact
from tlhub.case import Case, baseline_of
from tlhub.catalog import Catalog
from tlhub.diagnostics import listed
from tlhub.errors import UserError
from tlhub.monitor import symptoms
from tlhub.symptom import Finding

_ORDER = ("fault", "warning", "fine")


def examine(case: Case, voiding: bool = False) -> tuple[list[Finding], list[str]]:
    """What every installed symptom has to say, the worst first, and notes on what could not be looked at, and why.

    Args:
        voiding: ask only those with which scores mean nothing.
    """
    findings, blind, notes = [], dict[str, list[str]](), []
    for symptom in symptoms(case.catalog):
        if voiding and not symptom.voids:
            continue
        try:
            finding = symptom.examine(case)
        except UserError as error:
            blind.setdefault(error.message, []).append(symptom.name)
        except Exception as error:  # a plugin's mistake must not spoil a run that is over
            notes.append(f"`{symptom.name}` failed: {type(error).__name__}: {error}")
        else:
            findings += [] if finding is None else [finding]
    notes += [f"{listed(names)} could not be looked for: {message}" for message, names in blind.items()]
    return sorted(findings, key=lambda each: _ORDER.index(each.level)), notes


def diagnose(
    folder: Path, device: str | None, catalog: Catalog, voiding: bool = False
) -> tuple[list[Finding], list[str]]:
    """`examine` an adapted model in its folder. Raises ArtifactError where it cannot be loaded."""
    after, notes = artifact.load(folder, device, catalog), []
    try:
        before = baseline_of(after, device, catalog)
    except UserError as error:
        before = None
        notes.append(error.message)
    findings, more = examine(Case(after, before, catalog), voiding)
    return findings, [*notes, *more]
