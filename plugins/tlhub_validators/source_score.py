"""Selection by the score on held-out source examples."""

from __future__ import annotations

from typing import ClassVar

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


class SourceScore(Validator):
    """The task's score on source examples held out from training.

    Use it when nothing of the target may be looked at, and to stop a training that has begun to overfit the source.
    Cost: a pass over the held-out examples.
    Known to fail: it says nothing of the target: two models that are equally good on the source may differ widely
    there. It soon stops rising; of equals the last epoch is kept.
    """

    name = "source_score"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE})

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.source is not None
        assert seen.source.labels is not None
        return float(task.score(seen.source.logits, seen.source.labels).mean())
