"""How well the domains are told apart by the adapted model's features."""

from __future__ import annotations

from tlhub.case import Case
from tlhub_doctor.features import distance

APART = 0.8
"""Domains are apart where a linear classifier is right in four of five examples: a proxy A-distance of 1.2."""


def told_apart(case: Case) -> float | None:
    """The cross-validated accuracy of a linear classifier of the domains, from 0.5, of what the adapted head reads.

    None where there are too few examples of a domain.
    """
    apart = distance(case, "after")
    return None if apart is None else (apart + 2) / 4
