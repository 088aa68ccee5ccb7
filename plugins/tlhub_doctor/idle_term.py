"""A loss term that does not move the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlhub.symptom import Finding, Symptom
from tlhub_doctor.late import late

IDLE = 1e-4
"""A term is idle whose gradient is under this share of the task's: rounding moves the model as much."""


class IdleTerm(Symptom):
    """A loss term whose gradient on the model is as good as zero: its method does nothing."""

    name = "idle_term"

    def watch(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        pulls = late(history, "pull")
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
