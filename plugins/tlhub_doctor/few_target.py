"""A target of very few examples."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.symptom import Finding, Symptom

FEW = 50
"""The mean of a feature over so many examples is off by a seventh of its standard deviation."""


class FewTarget(Symptom):
    """A target of too few examples to say what it looks like: training sees the same ones again and again."""

    name = "few_target"

    def examine(self, case: Case) -> Finding | None:
        keys = [key for key in case.after.record["data"] if key.partition(".")[0].partition(" ")[0] == "target"]
        count = sum(case.after.record["data"][key]["examples"] for key in keys)
        if not count:
            return None
        rows = case.after.record["composed"]["steps"] * case.manifest["train"]["batch"] * len(keys)
        measured = f"The target has {count:,} examples; training saw each of them {rows / count:.0f} times."
        if count >= FEW:
            return self.fine(measured, "Its features can be told from so many.")
        return self.warning(
            measured,
            "So few examples do not show what the target looks like; what is aligned is chance.",
            "Gather more target examples, which need no labels; or train for fewer epochs and freeze more with "
            "`partial_freeze`.",
        )
