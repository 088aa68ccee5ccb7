"""Agreement of answers and clusters."""

from __future__ import annotations

import warnings
from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.sample import sample


def clusters_agreement(features: Tensor, answers: Tensor, classes: int) -> float:
    """The adjusted mutual information of the answers and of k-means clusters of the features, as many as classes.

    Musgrave et al. 2022. At most 1; about 0 where they have nothing to do with each other.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.metrics import adjusted_mutual_info_score

    means = KMeans(min(classes, len(features)), n_init=4, random_state=0)
    with warnings.catch_warnings():  # of fewer different features than clusters, which then are fewer too
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = means.fit_predict(features.numpy())
    return float(adjusted_mutual_info_score(answers.numpy(), clusters))


class ClassAmi(Validator):
    """How well the answers on the target agree with the clusters that its features form by themselves.

    Musgrave, Belongie & Lim 2022, Three new validators and a large-scale benchmark ranking for unsupervised domain
    adaptation: the adjusted mutual information of predicted classes and k-means clusters of what the head reads.

    Use it when features are good already, as those of pretrained networks, and classes make clusters.
    Cost: a pass over the target; k-means from four beginnings on 2,000 of its examples, always the same.
    Known to fail: where the features themselves follow the answers, as after long training without a frozen backbone:
    answers and clusters then agree, right or wrong. One class for all scores 0.
    Deviation: beyond 2,000 examples, a sample. pytorch-adapt's ClassClusterValidator does the same from ten beginnings,
    or one, and at random.
    """

    name = "class_ami"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    holds_out = frozenset()
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        target = sample(seen.target)
        return clusters_agreement(target.features, target.logits.argmax(1), target.logits.shape[1])
