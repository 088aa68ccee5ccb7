"""Domains that lie farther apart after the adaptation than before."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.shift import mmd_test
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.features import distance, features
from tlhub_doctor.outcome import helped

RISE = 0.6
"""Chance moves the distance by 0.1, and methods that align nothing by up to 0.55 without any harm."""


class DomainDistance(Symptom):
    """Features of source and target that an adaptation moved apart instead of together.

    The proxy A-distance is 2 (1 - 2 e), where e is the error of a linear classifier that tells the domains apart, by
    cross-validation: 0 where it cannot, 2 where it makes no mistake. Features count as moved apart where it rises and
    the maximum mean discrepancy does not fall, unless the adaptation helped all the same.
    """

    name = "domain_distance"
    paper = "Ben-David et al. 2010, doi:10.1007/s10994-009-5152-4"

    def examine(self, case: Case) -> Finding | None:
        after, before = features(case, "after"), features(case, "before")
        if after is None:
            return None
        now, was = distance(case, "after"), distance(case, "before")
        assert now is not None
        if before is None or was is None:
            return self.fine(f"The proxy A-distance of the domains is {now:.2f} of 2.", _meaning(now))
        measured = f"The proxy A-distance of the domains was {was:.2f} of 2 before the adaptation and is {now:.2f} now."
        if now - was < RISE or helped(case) or mmd_test(*after, 1).squared < mmd_test(*before, 1).squared:
            return self.fine(measured, _meaning(now))
        return self.warning(
            measured,
            "The adaptation moved the domains apart.",
            "Raise the `strength` of a term that aligns, such as `mmd` or `coral`, or train for more epochs; "
            "`batch_norm: separate` under `train` takes out what differs in mean and scale.",
        )


def _meaning(distance: float) -> str:
    error = 100 * (1 - distance / 2) / 2
    return f"A linear classifier takes {error:.0f} in 100 examples for the other domain's."
