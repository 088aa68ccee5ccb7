"""Silhouettes of the predicted classes."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.sample import sample


def mean_silhouette(features: Tensor, answers: Tensor) -> float:
    """The mean of (b - a) / max(a, b) over the examples: Rousseeuw 1987; -1 of one class, or of a class for each.

    a is an example's mean distance to the others of its class, b the least mean distance to those of another.
    """
    from sklearn.metrics import silhouette_score

    if not 1 < len(set(answers.tolist())) < len(answers):
        return -1.0
    return float(silhouette_score(features.double().numpy(), answers.numpy()))


class Silhouette(Validator):
    """How far apart the classes are that the model answers on the target, as the distances of their features tell.

    Rousseeuw 1987, Silhouettes: A graphical aid to the interpretation and validation of cluster analysis, Journal of
    Computational and Applied Mathematics 20; for the choice of models in domain adaptation in Musgrave et al. 2022.

    Use it as `class_ami`; it asks that classes be apart, not merely found by k-means.
    Cost: a pass over the target; distances of pairs among 2,000 of its examples, always the same.
    Known to fail: as `class_ami`; and two far classes of many score well.
    Deviation: the clusters are the predicted classes; pytorch-adapt's ClassClusterValidator takes the silhouettes of
    k-means clusters that begin at their centres. One class for all scores -1; there it is an error.
    """

    name = "silhouette"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        target = sample(seen.target)
        return mean_silhouette(target.features, target.logits.argmax(1))
