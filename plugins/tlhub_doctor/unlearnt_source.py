"""Labels of the source from which nothing can be learnt."""

from __future__ import annotations

from tlhub.case import Case
from tlhub.selection import breadth, has_collapsed
from tlhub.symptom import Finding, Symptom
from tlhub.validator import Outputs
from tlhub_doctor.answers import kappa, renamed

LEARNT = 0.2
"""Cohen's kappa on the source's own training examples; of two classes in equal shares, an accuracy of 60 %."""

RELATED = 0.1
"""Cohen's kappa under `evaluate`: of two classes in equal shares, an accuracy of 55 %."""

FEWEST = 100
"""With fewer examples under `evaluate`, chance gives such a kappa."""


class UnlearntSource(Symptom):
    """A source whose labels the model has not learnt, or has learnt by heart without any use for the target.

    Cohen's kappa is the agreement of answers and labels beyond chance: 1 is perfect, 0 is none. It is taken on the
    source's training examples, and on those under `evaluate`, of the better model: the adapted one, or that before.
    """

    name = "unlearnt_source"
    voids = True
    paper = "Cohen 1960, doi:10.1177/001316446002000104"

    def examine(self, case: Case) -> Finding | None:
        source, others = case.seen("after", "source"), case.seen("after", "evaluate")
        if not case.one_class or source is None or source.labels is None:
            return None
        learnt = _best(source, case.seen("before", "source"))
        measured = f"On the source, answers agree with labels with a kappa of {learnt:.2f} (1 is perfect, 0 is chance)."
        if learnt < LEARNT:
            return self.fault(
                measured,
                "The labels of the source were not learnt: they may be wrong or shuffled, or training was too short.",
                "Look at some examples of the source and their labels; raise `train.epochs`, or change `train.lr`.",
            )
        if others is None or others.labels is None or len(others.labels) < FEWEST:
            return self.fine(measured, "The source was learnt.")
        used = _best(others, case.seen("before", "evaluate"))
        measured += f" Under `evaluate` it is {used:.2f}."
        collapsed = has_collapsed(others.logits, breadth(source.labels))
        if used >= RELATED or collapsed or renamed(others):
            return self.fine(measured, "The source was learnt.")
        return self.fault(
            measured,
            "The source was learnt by heart and says nothing of the target: its labels may be wrong or shuffled, or "
            "the domains have nothing in common.",
            "Look at some examples of the source and of `evaluate` and their labels.",
        )


def _best(after: Outputs, before: Outputs | None) -> float:
    """Kappa, of the model before the adaptation where that is better: what was unlearnt is not the labels' fault."""
    return kappa(after) if before is None else max(kappa(after), kappa(before))
