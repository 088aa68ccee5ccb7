"""What became of the discriminators that adapters train, as the history tells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tlhub_doctor.late import by_epoch

IGNORANCE = math.log(2)
"""The loss of a discriminator that knows nothing, and says so."""

EXPLODED = 5.0
"""A discriminator has exploded whose mean loss in some epoch is more than so many times that of ignorance.

Of healthy ones it is at most 1.4 times as large, of those whose learning rate is a thousand times too large, 200 times.
"""

STILL = 1e-6
"""Weights did not move whose norm changed by less than this share: the precision of their numbers."""


def exploded(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By term, the loss of a discriminator in its worst epoch, of those that have exploded."""
    worst = {term: max(losses) for term, losses in by_epoch(history, "discriminator_loss").items()}
    still = frozen(history)
    return {term: loss for term, loss in worst.items() if loss > EXPLODED * IGNORANCE and term not in still}


def frozen(history: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """By term, for how many epochs the weights of a discriminator have been the same, of those that do not move."""
    norms = {term: each for term, each in by_epoch(history, "discriminator_norm").items() if len(each) > 1}
    return {term: len(each) for term, each in norms.items() if math.isclose(min(each), max(each), rel_tol=STILL)}
