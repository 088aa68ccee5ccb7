"""Classes that are named otherwise where the labels are than where they were learnt."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.answers import confusion, renamed

TOLD = 3
"""Of classes that have changed places, so many are told; the mend names all."""


class ClassOrder(Symptom):
    """Classes that have changed places: what the model calls `a` is labelled `b`, and the reverse.

    Of all one-to-one namings of the answers, the one is looked for that fits the labels under `evaluate` best.
    """

    name = "class_order"
    voids = True
    paper = "Kuhn 1955, doi:10.1002/nav.3800020109"

    def examine(self, case: Case) -> Finding | None:
        seen = case.seen("after", "evaluate")
        if not case.one_class or seen is None or seen.labels is None:
            return None
        assert case.after.classes is not None
        names, moved = case.after.classes, renamed(seen)
        counts = confusion(seen)
        now = 100 * float(counts.trace()) / len(seen.logits)
        if not moved:
            return self.fine(f"The accuracy under `evaluate` is {now:.0f} %.", "No other naming of the classes fits.")
        gain = sum(counts[label, answer] - counts[label, label] for label, answer in moved.items())
        told = [f"what the model calls `{names[a]}` is labelled `{names[b]}`" for b, a in moved.items()]
        more = f", and so on for {len(told) - TOLD} more" if len(told) > TOLD else ""
        mapping = ", ".join(f"{names[label]}: {names[answer]}" for label, answer in moved.items())
        return self.fault(
            f"Under `evaluate`, {', '.join(told[:TOLD])}{more}: with these names changed, the accuracy is "
            f"{now + 100 * float(gain) / len(seen.logits):.0f} % instead of {now:.0f} %.",
            "The classes of source and `evaluate` are in another order, or named otherwise.",
            f"Set the class names right in the data, or write `classes: {{{mapping}}}` in `evaluate`.",
        )
