"""The default validator, by what the run has."""

from __future__ import annotations

from tlhub.data import one_class_each
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.ensemble import Ensemble
from tlhub_validators.source_score import SourceScore
from tlhub_validators.target_score import TargetScore

ENOUGH = 20
"""From so many held-out labelled target examples on they choose; the score of fewer is known to 20 points or worse."""


class Auto(Validator):
    """Chooses the validator by what the run has.

    Target labels come first: with 20 held-out labelled target examples or more, or without a source, it is
    `target_score`. Otherwise, with a target and where every example is of one class, it is the `ensemble` of
    `source_score`, `information_maximization` and `silhouette`. Otherwise, as in the source-only baseline, it is
    `source_score`.

    The reason for the second: no validator is best for all methods and data. Musgrave et al. 2022, who compare a
    million models, find the best now in how sure and how varied the target's answers are (`bnm`, akin to
    `information_maximization`), now in how well they agree with clusters of its features (`class_ami`), and in many
    cases in the plain score on held-out source examples, which is blind to the target. The mean of one of each kind is
    wrong where most are. Of the kind of `class_ami` it takes `silhouette`, by which less was lost where a model was
    chosen among many (`docs/results/selection.md`).

    Use it when you have no reason for another.
    Cost: that of what it chooses.
    """

    name = "auto"
    holds_out = frozenset({"source", "target"})

    def score(self, task: Task, seen: Evidence) -> float:
        shown, source = seen.shown, seen.source
        if shown is not None and (source is None or len(shown.logits) >= ENOUGH):
            return TargetScore().score(task, seen)
        assert source is not None
        assert source.labels is not None
        one_class = one_class_each(source.labels)
        if one_class and seen.target is not None:
            return Ensemble().score(task, seen)
        return SourceScore().score(task, seen)
