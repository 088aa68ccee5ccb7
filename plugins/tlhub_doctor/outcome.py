"""What became of the task: on the target by the verdict, and on the source."""

from __future__ import annotations

from typing import NamedTuple

from tlhub.case import Case
from tlhub_doctor.answers import accuracy

LOST = 0.1
"""So much less accuracy on the source than the baseline's is no noise: on 100 examples it is two standard errors."""


class Source(NamedTuple):
    """The accuracy on the source of the baseline, and of the adapted model."""

    before: float
    after: float

    @property
    def lost(self) -> bool:
        """Whether the adapted model no longer knows what its baseline does."""
        return self.before - self.after >= LOST

    def __str__(self) -> str:
        return f"On the source it is right in {100 * self.after:.0f} %, its baseline in {100 * self.before:.0f} %."


def source(case: Case) -> Source | None:
    """None where there is no baseline, or no labelled source with one class an example."""
    if not case.one_class:
        return None
    seen = [case.seen("before", "source"), case.seen("after", "source")]
    found = [accuracy(each) for each in seen if each is not None and each.labels is not None]
    return Source(*found) if len(found) == len(seen) else None


def helped(case: Case) -> bool:
    """Whether the adapted model is better than its baseline on the labelled examples under `evaluate`."""
    result = case.after.record.get("result") or {}
    return (result.get("comparison") or {}).get("outcome") == "helped"
