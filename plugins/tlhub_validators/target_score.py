"""Selection by the score on the few labelled target examples."""

from __future__ import annotations

from typing import ClassVar

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator


class TargetScore(Validator):
    """The task's score on target examples whose labels are shown, held out from training as `train.validation` says.

    Use it when a target part has `labels: all`; also to stop a fine-tuning without a source.
    Cost: a pass over the held-out examples.
    Known to fail: of few examples. The score of 10 is known to about 30 points, of 100 to 10: raise `train.validation`,
    or leave those labels to training and choose with another validator.
    """

    name = "target_score"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET_LABELS})
    holds_out = frozenset({"target"})

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.shown is not None
        assert seen.shown.labels is not None
        return float(task.score(seen.shown.logits, seen.shown.labels).mean())
