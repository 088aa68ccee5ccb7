"""Importance-weighted validation."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Need
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.density import weighted_losses


def importance_weighted_risk(weights: Tensor, losses: Tensor) -> float:
    """(1/n) sum_i w(x_i) l(x_i, y_i): Sugiyama et al. 2007, the importance weighted estimate of the risk."""
    return float((weights * losses).mean())


class Iwv(Validator):
    """The loss on held-out source examples, each weighed by how likely it is in the target, with its sign turned.

    Sugiyama, Krauledat & Müller 2007, Covariate shift adaptation by importance weighted cross validation, JMLR 8:
    (1/n) sum_i w(x_i) l(x_i, y_i) with w = p_target / p_source is an unbiased estimate of the target's risk, if labels
    depend on inputs alike in both domains.

    Use it when domains overlap: the source has examples like those of the target.
    Cost: passes over the target and over at most 5,000 examples of every source; a logistic regression on 2,000
    features of both.
    Known to fail: where a line tells the domains apart, a few examples have all the weight, or none has any: then the
    loss of a model that aligns nothing is weighed by nearly 0, and wins.
    Deviations: one held-out part instead of cross-validation; ratios are of what the head reads, as in `dev`, by
    logistic regression of standardised features, not of the inputs. skada takes kernel densities of the inputs, divides
    by the sum of the weights and uses the scorer's accuracy; pytorch-adapt has no such validator.
    """

    name = "iwv"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})

    def score(self, task: Task, seen: Evidence) -> float:
        return -importance_weighted_risk(*weighted_losses(task, seen))
