"""Classes of the source that the target lacks."""

from __future__ import annotations

import torch

from tlhub.case import Case
from tlhub.selection import breadth, has_collapsed
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.shares import known_labels, shares, source_labels

EXPECTED = 5
"""Where so many labels of a class are expected, there is none by chance once in 150 times."""

ANSWERED = 10
"""The same for answers, which may be wrong."""

RARE = 0.05
"""A class that is answered less often than this share of what is expected counts as never answered."""


class MissingClass(Symptom):
    """Classes of the source that the target lacks: the label spaces do not match.

    Told by the labels, where the target shows them or `evaluate` has some; otherwise by the answers on the target,
    where neither the model before the adaptation nor that after it gives a class.
    """

    name = "missing_class"
    paper = "Cao et al. 2018, arXiv:1808.04205"

    def examine(self, case: Case) -> Finding | None:
        labels = source_labels(case)
        if labels is None:
            return None
        assert case.after.classes is not None
        names, known = case.after.classes, known_labels(case)
        ours = shares(labels, len(names))
        if known is not None:
            expected, found = ours * len(known[1]), known[1].bincount(minlength=len(names))
            gone, what = (expected >= EXPECTED) & (found == 0), f"among {known[0]}"
        else:
            told = [seen for seen in (case.seen("before", "target"), case.seen("after", "target")) if seen is not None]
            if any(has_collapsed(seen.logits, breadth(labels)) for seen in told):
                return None
            expected = ours * len(told[0].logits)
            found = torch.stack([seen.logits.argmax(1).bincount(minlength=len(names)) for seen in told]).amax(0)
            gone, what = (expected >= ANSWERED) & (found < RARE * expected), "among the answers on the target"
        missing = [number for number, is_gone in enumerate(gone.tolist()) if is_gone]
        if not missing:
            return self.fine(f"Every class of the source is {what}.", "The label spaces match.")
        named = ", ".join(f"`{names[number]}`" for number in missing)
        share = 100 * float(ours[missing].sum())
        return self.warning(
            f"{named}, {share:.0f} in 100 examples of the source, {'are' if len(missing) > 1 else 'is'} not {what}.",
            "The target lacks classes of the source: what aligns all features pushes target examples onto them.",
            "Leave those examples out with `classes: {" + ", ".join(f"{names[n]}: null" for n in missing) + "}` in "
            "`source`, or prefer methods that look at the model's own answers, such as `mcc`.",
        )
