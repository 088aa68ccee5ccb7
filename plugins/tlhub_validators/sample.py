"""A part of many examples, for what takes long."""

from __future__ import annotations

from dataclasses import replace

from tlhub.randomness import permutation
from tlhub.validator import Outputs

ROWS = 2_000
"""So many rows are looked at by what compares rows with each other, or learns from them."""


def sample(seen: Outputs) -> Outputs:
    """`ROWS` examples at random, the same in every epoch and run of as many examples; all where there are fewer."""
    if len(seen.logits) <= ROWS:
        return seen
    rows = permutation(len(seen.logits), "validators")[:ROWS]
    labels = None if seen.labels is None else seen.labels[rows]
    return replace(seen, features=seen.features[rows], logits=seen.logits[rows], labels=labels)
