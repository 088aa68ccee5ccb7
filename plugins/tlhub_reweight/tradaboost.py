"""TrAdaBoost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from tlhub_reweight.booster import Booster, Initial
from tlhub_reweight.vote import Vote

CERTAIN = 1e-3
"""An epsilon below counts as this."""


def beta(error: Tensor, classes: int) -> Tensor:
    """beta of the target examples: epsilon / (1 - epsilon) / (K - 1), in (0, 1].

    A learner no better than chance has 1: no vote, and the target's weights stay.
    """
    error = error.clamp(CERTAIN, 1 - 1 / classes)
    return error / (1 - error) / (classes - 1)


class TrAdaBoost(Booster):
    """Boosts a linear classifier on labelled source and few labelled target examples, round after round.

    Dai et al. 2007, figure 1. Every round trains a learner h by the weights w; epsilon is its error on the target
    alone. Source examples it gets wrong are multiplied by beta = 1 / (1 + sqrt(2 ln n / N)), n of them and N rounds, as
    they say little of the target; target examples by 1 / beta_t, beta_t = epsilon / (1 - epsilon). The answer is the
    vote of the rounds ceil(N / 2) ... N, with ln(1 / beta_t) each. As in the paper's experiments, the learner is taught
    classes of equal weight. Several classes as in SAMME (Zhu et al. 2009, Multi-class AdaBoost): beta_t = epsilon / (1
    - epsilon) / (K - 1). Where the paper leaves it open: an epsilon below 0.001 counts as 0.001; a learner no better
    than chance on the target (epsilon of 1/2 of two classes) has no vote and leaves the target's weights alone.

    Use it when there are many labelled source examples, some misleading, and a few labelled target examples.
    Cost: nothing per step; a linear learner on stored features per round.
    Deviation: unlabelled target examples, which the paper's learner may use, are not looked at.

    Args:
        rounds: N. 10; the paper has 100, by which a learner that fits the few target examples gains nothing more.
        learner: `linear`: the run's own head, trained anew by its loop every round; `logistic` and `svm`:
            scikit-learn's logistic regression and linear support vector machine, without any step of the loop, so that
            no other adapter has a say in it. The paper's is `svm`.
        c: how closely scikit-learn's learners follow the data: its `C`, for weights of mean 1.
        initial: the first weights, which the paper leaves to the user. `equal`: those of all examples are equal;
            `halves`: source and target weigh the same together, so that a few target examples have a say at once.
        balance: whether the learner is taught classes of equal weight.
    """

    name = "tradaboost"
    paper = "Dai et al. 2007, Boosting for transfer learning, ICML, doi:10.1145/1273496.1273521"
    soft: ClassVar[bool] = False

    def __init__(
        self,
        rounds: Annotated[int, Field(gt=0)] = 10,
        learner: Literal["linear", "logistic", "svm"] = "linear",
        c: Annotated[float, Field(gt=0)] = 1.0,
        initial: Initial = "equal",
        balance: bool = True,
    ) -> None:
        super().__init__(rounds, learner, c, initial, balance)

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        return (logits.argmax(1) != labels).double()

    def beta(self, error: Tensor, outputs: int) -> Tensor:
        return beta(error, outputs)

    def published(self, features: int, outputs: int, members: int) -> Vote:
        return Vote(features, outputs, members, self.soft)
