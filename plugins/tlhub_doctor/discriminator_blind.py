"""A discriminator that does not learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.apart import APART, told_apart
from tlhub_doctor.discriminators import exploded, frozen
from tlhub_doctor.late import by_epoch
from tlhub_doctor.outcome import helped

BLIND = 0.53
"""A discriminator is blind that is more often right than this in no epoch: 0.5 is chance, the rest is noise."""


class DiscriminatorBlind(Symptom):
    """A discriminator that is frozen, or never sees a difference that is there.

    Frozen: the norm of its weights is the same in all epochs. Blind: in every epoch it is right in half of the
    examples, while a linear classifier tells the features of the adapted model apart (proxy A-distance), and the model
    is not better on the target. To be at chance only late in training is what a discriminator is meant for.
    """

    name = "discriminator_blind"
    paper = "Ben-David et al. 2010, doi:10.1007/s10994-009-5152-4"

    def watch(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        still = frozen(history)
        if not still:
            return None
        name, epochs = next(iter(still.items()))
        return self.fault(
            f"The weights of the discriminator of `{name}` have not changed in {epochs} epochs.",
            "It is frozen: it cannot learn to tell the domains apart, so deceiving it aligns nothing.",
            f"Let the discriminator of `{name}` learn: remove what freezes it, or raise `train.lr`.",
        )

    def examine(self, case: Case) -> Finding | None:
        found = self.watch(case.history)
        accuracies = by_epoch(case.history, "discriminator_accuracy")
        best = {term: max(values) for term, values in accuracies.items() if term not in exploded(case.history)}
        if found is not None or not best:
            return found
        name, accuracy = min(best.items(), key=lambda each: each[1])
        measured = f"At best, the discriminator of `{name}` was right in {100 * accuracy:.0f} %; chance is 50 %."
        if accuracy > BLIND:
            return self.fine(measured, "It has learnt something.")
        linear = told_apart(case)
        if linear is None or linear < APART or helped(case):
            return None
        return self.warning(
            f"{measured} A linear classifier of the adapted features is right in {100 * linear:.0f} %.",
            "It does not see a difference that is there, so deceiving it aligns nothing.",
            f"Raise `train.lr` or `train.epochs`, or lower the `strength` of `{name}`, so that it can keep up.",
        )
