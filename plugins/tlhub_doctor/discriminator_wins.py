"""A discriminator that the features do not deceive."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.apart import APART, told_apart
from tlhub_doctor.discriminators import exploded
from tlhub_doctor.idle_term import IDLE
from tlhub_doctor.late import late
from tlhub_doctor.outcome import helped

WINS = 0.95
"""A discriminator wins that is right at least so often late in training; where adaptation works, it is up to 0.86."""


class DiscriminatorWins(Symptom):
    """A discriminator that tells the domains apart nearly without a mistake to the end: nothing was aligned.

    Its accuracy is the mean of both domains' in the last third of the epochs; chance is one half. It is ill where a
    linear classifier tells the features of the adapted model apart, too (proxy A-distance), and the model is not better
    on the target.
    """

    name = "discriminator_wins"
    paper = "Ben-David et al. 2010, doi:10.1007/s10994-009-5152-4"

    def examine(self, case: Case) -> Finding | None:
        accuracies, pulls = late(case.history, "discriminator_accuracy"), late(case.history, "pull")
        others = {*exploded(case.history), *(term for term, pull in pulls.items() if pull < IDLE)}  # told of elsewhere
        fair = {term: accuracy for term, accuracy in accuracies.items() if term not in others}
        if not fair:
            return None
        name, accuracy = max(fair.items(), key=lambda each: each[1])
        measured = f"At the end, the discriminator of `{name}` is right in {100 * accuracy:.0f} %; chance is 50 %."
        if accuracy < WINS:
            return self.fine(measured, "The features deceive it in part.")
        linear = told_apart(case)
        if linear is None or linear < APART or helped(case):
            return None
        return self.warning(
            f"{measured} A linear classifier of the adapted features is right in {100 * linear:.0f} %.",
            "The features do not deceive it: the domains are not aligned.",
            f"Raise the `strength` of `{name}` or `train.epochs`, let more of the backbone learn, or use `mmd`.",
        )
