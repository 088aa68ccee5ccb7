"""A loss term that does not move the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.discriminators import exploded
from tlhub_doctor.late import by_epoch, late

IDLE = 1e-5
"""A term is idle whose gradient is under this share of the task's: the weakest of the methods here, by their defaults,
have ten times as much."""

EARLY = 5
"""While a run trains, a term may wait for so many epochs: self-training, say, begins when answers are certain."""


class IdleTerm(Symptom):
    """A loss term whose gradient on the model is as good as zero: its method does nothing."""

    name = "idle_term"

    def watch(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        if min(map(len, by_epoch(history, "pull").values()), default=0) < EARLY:
            return None
        return self._look(history)

    def examine(self, case: Case) -> Finding | None:
        return self._look(case.history)

    def _look(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        pulls = {term: each for term, each in late(history, "pull").items() if term not in exploded(history)}
        if not pulls:
            return None
        name, pull = min(pulls.items(), key=lambda each: each[1])
        measured = f"The gradient of `{name}` on the model is {pull:.2g} times as large as the task's."
        if pull >= IDLE:
            return self.fine(measured, "Every term moves the model.")
        return self.fault(
            measured,
            f"`{name}` does nothing: without it the model would be the same.",
            f"Raise the `strength` of `{name}`, or let the layers that it reads learn.",
        )
