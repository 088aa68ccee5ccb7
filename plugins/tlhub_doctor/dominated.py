"""A loss term that drowns the task."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.discriminators import exploded
from tlhub_doctor.late import late
from tlhub_doctor.outcome import helped, source

DOMINANT = 5.0
"""A term dominates whose gradient is more than so many times the task's; where adaptation works, it is 3 or less."""


class Dominated(Symptom):
    """A loss term that pulls at the model much harder than the task does, at the task's cost.

    The ratio of the norms of the two gradients on the model is measured in some steps; the last third of the epochs
    counts. A task that is learnt has hardly a gradient left, so a large ratio is ill only where the adapted model is
    less often right on the source than its baseline, and is not better on the target.
    """

    name = "dominated"
    paper = "Chen et al. 2018, GradNorm, arXiv:1711.02257"

    def examine(self, case: Case) -> Finding | None:
        pulls = {term: each for term, each in late(case.history, "pull").items() if term not in exploded(case.history)}
        if not pulls:
            return None
        name, pull = max(pulls.items(), key=lambda each: each[1])
        measured = f"The gradient of `{name}` on the model is {pull:,.1f} times as large as the task's."
        if pull <= DOMINANT:
            return self.fine(measured, "No term drowns the task.")
        known = source(case)
        if known is None:
            return None
        if not known.lost or helped(case):
            return self.fine(f"{measured} {known}", "The task is learnt all the same.")
        return self.fault(
            f"{measured} {known}",
            f"`{name}` dominates the loss: the model learns it instead of the task.",
            f"Lower the `strength` of `{name}`.",
        )
