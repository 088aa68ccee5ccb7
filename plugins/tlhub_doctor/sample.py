"""Some examples of a role, for what has to look at every layer."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.data import Domain, Role

ROWS = 200
"""Of every role: more change no statistic of a layer by a tenth of its standard deviation."""


def sample(case: Case, role: Role) -> list[Domain]:
    """At most `ROWS` examples of a role, of every domain as many, always the same."""
    domains = case.some(role)
    most = ROWS // max(1, len(domains))
    return [each.some(most, "sample") for each in domains]
