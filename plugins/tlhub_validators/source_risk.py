"""Selection by the loss on held-out source examples."""

from __future__ import annotations

from typing import ClassVar

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


class SourceRisk(Validator):
    """The task's mean loss on source examples held out from training, with its sign turned.

    Use it when `source_score` is the same in many epochs: the loss goes on telling them apart.
    Cost: a pass over the held-out examples.
    Known to fail: as `source_score`, it says nothing of the target. The loss begins to rise, since the model becomes
    too sure, while its answers still get better: it tends to choose early epochs.
    Deviation: the loss is the task's own, with its label smoothing, where that is set.
    """

    name = "source_risk"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE})

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.source is not None
        assert seen.source.labels is not None
        return -float(task.loss(seen.source.logits, seen.source.labels).double().mean())
