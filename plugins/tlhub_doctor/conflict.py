"""A loss term that works against the task."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.dominated import DOMINANT
from tlhub_doctor.late import late
from tlhub_doctor.outcome import helped, source

AGAINST = -0.3
"""Gradients are in conflict from this cosine on. It is -0.6 in healthy runs, too, since two terms that are both near
their best hold each other in balance: so it is ill only where the source is lost."""

COUNTS = 0.1
"""A term counts whose gradient is at least this share of the task's; a smaller one cannot hold it up."""


class Conflict(Symptom):
    """A loss term whose gradient on the model points against the task's, at the task's cost.

    The cosine of the two gradients on the model is measured in some steps; the last third of the epochs counts. Of an
    adversarial term, it is the gradient that the model gets: after reversal. It is ill only where the adapted model is
    less often right on the source than its baseline, and is not better on the target. A term much stronger than the
    task is left to `dominated`.
    """

    name = "conflict"
    paper = "Yu et al. 2020, Gradient surgery for multi-task learning, arXiv:2001.06782"

    def examine(self, case: Case) -> Finding | None:
        pulls, cosines = late(case.history, "pull"), late(case.history, "agreement")
        counting = {term: each for term, each in cosines.items() if COUNTS <= pulls[term] <= DOMINANT}
        if not counting:
            return None
        name, cosine = min(counting.items(), key=lambda each: each[1])
        measured = f"The cosine of the gradients of `{name}` and the task is {cosine:.2f}; unrelated ones have 0."
        if cosine > AGAINST:
            return self.fine(measured, "No term works against the task.")
        known = source(case)
        if known is None:
            return None
        if not known.lost or helped(case):
            return self.fine(f"{measured} {known}", "The task is learnt all the same.")
        return self.warning(
            f"{measured} {known}",
            f"`{name}` and the task are in conflict: what one learns, the other unlearns.",
            f"Lower the `strength` of `{name}`, remove it, or let it read other `layers`.",
        )
