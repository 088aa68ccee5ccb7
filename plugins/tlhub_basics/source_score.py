"""Selection by held-out source examples."""

from __future__ import annotations

from typing import ClassVar

from tlhub.adapter import Need
from tlhub.errors import UserError
from tlhub.task import Task
from tlhub.validator import Outputs, Validator


class SourceScore(Validator):
    """The task's score on source examples held out from training.

    It needs no target label, and says nothing about the target: two models that are equally good on the source may
    differ widely there. Use it to stop a training that has begun to overfit the source.
    """

    name = "source_score"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE})

    def score(self, task: Task, source: Outputs | None, target: Outputs | None) -> float:
        if source is None or source.labels is None:
            raise UserError(
                "`source_score` needs a labelled source", "name one under `source`, or choose another `select`"
            )
        return float(task.score(source.logits, source.labels).mean())
