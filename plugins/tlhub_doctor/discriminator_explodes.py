"""A discriminator that has exploded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tlhub.symptom import Finding, Symptom
from tlhub_doctor.discriminators import IGNORANCE, exploded
from tlhub_doctor.late import by_epoch


class DiscriminatorExplodes(Symptom):
    """A discriminator whose loss is far over ln 2, which one that knows nothing has.

    Its loss is the mean binary cross-entropy of an epoch; the worst epoch counts, since a network that has exploded
    often says the same of every example later.
    """

    name = "discriminator_explodes"

    def watch(self, history: Sequence[Mapping[str, Any]]) -> Finding | None:
        losses = by_epoch(history, "discriminator_loss")
        if not losses:
            return None
        ill = exploded(history)
        name = max(ill or losses, key=lambda term: max(losses[term]))
        worst = f"The loss of the discriminator of `{name}` was {max(losses[name]):,.2f} in its worst epoch"
        measured = f"{worst}; one that knows nothing has {IGNORANCE:.2f}."
        if not ill:
            return self.fine(measured, "It has not exploded.")
        return self.fault(
            measured,
            "It has exploded: it is sure of the wrong domain, and its gradient moves the features at random.",
            "Lower `train.lr`, or set `clip: 1.0` under `train`.",
        )
