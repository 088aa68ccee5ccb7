"""Answers that have collapsed into few of the classes."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.selection import breadth, has_collapsed
from tlhub.symptom import Finding, Symptom


class Collapse(Symptom):
    """Answers on the target that are all of one class, or of very few.

    The effective number of classes is exp of the entropy of the shares of the answers (Hill 1973, order 1), against
    that of the labels.
    """

    name = "collapse"
    paper = "Hill 1973, doi:10.2307/1934352"

    def examine(self, case: Case) -> Finding | None:
        source, target = case.seen("after", "source"), case.seen("after", "target")
        if not case.one_class or source is None or target is None or source.labels is None:
            return None
        answers = target.logits.argmax(1)
        said, known = breadth(answers), breadth(source.labels)
        measured = f"The answers on the target are of {said:.1f} classes in effect, the source's labels of {known:.1f}."
        if not has_collapsed(target.logits, known):
            return self.fine(measured, "Answers are of many classes.")
        assert case.after.classes is not None
        most = int(answers.mode().values)
        share = 100 * float((answers == most).double().mean())
        return self.fault(
            f"{measured} {share:.0f} in 100 of them are `{case.after.classes[most]}`.",
            "The model gives nearly every target example the same answer.",
            "Lower the `strength` of the adapters' terms or `train.lr`, or train for fewer epochs.",
        )
