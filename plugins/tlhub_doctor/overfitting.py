"""Target examples that were learnt by heart."""

from __future__ import annotations

import math

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.answers import accuracy

FEW = 500
"""With more labelled target examples, a gap says more of the evaluation's data than of training."""

GAP = 0.25
"""Fine-tuned networks that are sound are often right on every shown example and wrong on a fifth of the others."""

CERTAIN = 3.0
"""In standard errors of the difference of two accuracies: chance gives as large a one once in 700 times."""


class Overfitting(Symptom):
    """A model that is right on the target examples whose labels it saw, and wrong on others.

    Compared are the accuracies on a target that shows its labels and under `evaluate`.
    """

    name = "overfitting"

    def examine(self, case: Case) -> Finding | None:
        shown, others = case.seen("after", "target"), case.seen("after", "evaluate")
        if not case.one_class or shown is None or others is None or shown.labels is None or others.labels is None:
            return None
        count = sum(map(len, case.domains("target")))
        first, second = accuracy(shown), accuracy(others)
        measured = (
            f"The accuracy is {100 * first:.0f} % on the {count:,} labelled target examples of training, and "
            f"{100 * second:.0f} % under `evaluate`."
        )
        error = math.sqrt(sum(p * (1 - p) / len(seen.logits) for p, seen in ((first, shown), (second, others))))
        if count > FEW or first - second < max(GAP, CERTAIN * error):
            return self.fine(measured, "What was learnt of the target holds for others of its examples.")
        return self.warning(
            measured,
            "The few labelled target examples were learnt by heart.",
            "Freeze more with `partial_freeze`, stay near the pretrained weights with `l2_sp`, or lower "
            "`train.epochs`.",
        )
