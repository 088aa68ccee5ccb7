"""Circular (reverse) validation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.sample import sample


def reverse_accuracy(target: Tensor, answers: Tensor, source: Tensor, labels: Tensor) -> float:
    """The accuracy on source features of a logistic regression that learned the answers on target features.

    Features are standardised by the target's. Of one answer for all, the regression gives that answer.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(set(answers.tolist())) == 1:
        return float((labels == answers[0]).double().mean())
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(target.double().numpy(), answers.numpy())
    return float(model.score(source.double().numpy(), labels.numpy()))


class Circular(Validator):
    """How well a classifier that learned the model's answers on the target does on held-out source examples.

    Zhong et al. 2010, Cross validation framework to choose amongst models and datasets for transfer learning, ECML
    PKDD; Bruzzone & Marconcini 2010 call it circular validation. Answers that are right on the target lead back to the
    source.

    Use it when the domains' features are aligned or not far apart, and classes may be swapped, which scores that look
    at the target alone cannot see.
    Cost: a pass over the target; a logistic regression on 2,000 of its features, always the same.
    Known to fail: a model that ignores the shift leads back as well as one that adapts to it, if the target's answers
    are cut by the same line as the source's.
    Deviation: a logistic regression of what the head reads stands for training the method backwards (target to source)
    anew, as the papers, pytorch-adapt's ReverseValidator and skada's CircularValidation do, once for each model.
    """

    name = "circular"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    one_class = True

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.source is not None
        assert seen.source.labels is not None
        assert seen.target is not None
        target = sample(seen.target)
        return reverse_accuracy(target.features, target.logits.argmax(1), seen.source.features, seen.source.labels)
