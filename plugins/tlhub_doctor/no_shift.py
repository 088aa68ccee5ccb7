"""A target that is the source."""

from __future__ import annotations

import json

import torch

from tlhub.case import Case
from tlhub.data import Domain, Role
from tlhub.parts import DomainPart
from tlhub.shift import mmd_test
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.features import distance, features

SAME = 0.5
"""From this share on, target examples that are the source's too are no oversight at the edge of a split."""

CHANCE = 0.05
"""A difference that chance alone gives more often than this is no evidence of one."""

ENOUGH = 100
"""With fewer examples of a domain, a real difference may not show."""

NEAR = 0.2
"""Two halves of one domain have a proxy A-distance below this."""

LOOKED_AT = 8
"""Of examples of one name, so many are looked at whether they are the same."""

_OF_THE_PART = set(DomainPart.model_fields) - {"use"}  # not settings of the data set


class NoShift(Symptom):
    """A target that has the source's own examples, or does not differ from the source: there is nothing to adapt.

    Whether domains differ at all is told by a permutation test of the squared maximum mean discrepancy of the features,
    before and after: the p-value says how often chance alone gives as large a one.
    """

    name = "no_shift"
    paper = "Gretton et al. 2012, https://jmlr.org/papers/v13/gretton12a.html"

    def examine(self, case: Case) -> Finding | None:
        sources, targets = case.domains("source"), case.domains("target")
        if not sources or not targets:
            return None
        common, all_ = _common(case), sum(map(len, targets))
        if common >= SAME * all_:
            return self.fault(
                f"{common:,} of the {all_:,} target examples are examples of the source.",
                "Source and target are the same data, so there is nothing to adapt to.",
                "Name other data, or another `split`, under `target`.",
            )
        before, after = features(case, "before"), features(case, "after")
        if after is None or before is None:
            return None
        test, now = mmd_test(*before), mmd_test(*after)
        measured = (
            f"The squared MMD of the domains was {test.squared:.4f} before (as large by chance with p = "
            f"{test.p_value:.3f}) and is {now.squared:.4f} now (p = {now.p_value:.3f})."
        )
        few = min(map(len, before)) < ENOUGH
        if few or test.p_value <= CHANCE or (distance(case, "before") or 0.0) > NEAR:
            return self.fine(
                measured, "The domains differ." if test.p_value <= CHANCE else "The domains hardly differ."
            )
        return self.warning(
            measured,
            "No difference between source and target is seen, so there is nothing to adapt.",
            "If the data under `target` is what was meant, train on the source alone, without adapters that look at "
            "the target.",
        )


def _common(case: Case) -> int:
    """How many target examples are of the same data set as a source's, and have the same name in it."""
    known: dict[tuple[str, str], tuple[Domain, int]] = {}
    for data, domain in _by_data(case, "source"):
        known |= {(data, domain.where(row)): (domain, row) for row in range(len(domain))}
    pairs = [
        (known[data, domain.where(row)], (domain, row))
        for data, domain in _by_data(case, "target")
        for row in range(len(domain))
        if (data, domain.where(row)) in known
    ]
    preprocess = case.after.model.backbone.preprocess(train=False)
    for pair in pairs[:: len(pairs) // LOOKED_AT + 1]:  # a data set may name two examples alike
        one, other = (preprocess(domain.raw(row)) for domain, row in pair)
        if not torch.equal(one, other):
            return 0
    return len(pairs)


def _by_data(case: Case, role: Role) -> list[tuple[str, Domain]]:
    """The domains of a role, each with its data set and the settings of that."""
    listed = [
        json.dumps({key: value for key, value in part.items() if key not in _OF_THE_PART}, sort_keys=True)
        for part in case.manifest[role]
    ]
    return list(zip(listed, case.domains(role), strict=True))
