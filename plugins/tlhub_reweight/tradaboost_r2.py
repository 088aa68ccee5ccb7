"""TrAdaBoost for numbers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from tlhub_reweight.booster import Booster, Initial
from tlhub_reweight.tradaboost import beta
from tlhub_reweight.weighted_median import WeightedMedian


def adjusted_errors(answers: Tensor, labels: Tensor) -> Tensor:
    """`[examples]` in [0, 1]: absolute errors by the largest of them (Drucker 1997's linear loss); 0 where all are."""
    errors = (answers - labels).abs()
    return errors / errors.max().clamp(min=torch.finfo(errors.dtype).tiny)


class TrAdaBoostR2(Booster):
    """Boosts a linear regression on labelled source and few labelled target examples, round after round.

    Pardoe & Stone 2010: TrAdaBoost (Dai et al. 2007, figure 1) with the errors of AdaBoost.R2 (Drucker 1997): e = |y -
    h(x)| / D, D the largest of all examples; the answer is the median of the rounds ceil(N / 2) ... N, weighted with
    ln(1 / beta_t). This is the one-stage form: the paper's two-stage form, which keeps the weights of source and target
    apart and chooses between rounds by cross-validation, is not here. Where the paper leaves it open: an epsilon below
    0.001 counts as 0.001; a learner with an epsilon of 1/2 or more has no vote and leaves the target's weights alone.

    Use it when labels are numbers, there are many source examples, and a few labelled target examples.
    Cost: nothing per step; a linear learner on stored features per round.

    Args:
        rounds: N; 10 as in `tradaboost`.
        learner: `linear`: the run's own head, trained anew by its loop every round; `ridge`: scikit-learn's regression
            with an L2 penalty, without any step of the loop, so that no other adapter has a say in it.
        c: how closely `ridge` follows the data: its alpha is 1 / (2 c), for weights of mean 1.
        initial: the first weights. `equal`: those of all examples are equal; `halves`: source and target weigh the same
            together, so that a few target examples have a say at once.
    """

    name = "tradaboost_r2"
    paper = "Pardoe & Stone 2010, Boosting for regression transfer, ICML"
    numbers: ClassVar[bool] = True

    def __init__(
        self,
        rounds: Annotated[int, Field(gt=0)] = 10,
        learner: Literal["linear", "ridge"] = "linear",
        c: Annotated[float, Field(gt=0)] = 1.0,
        initial: Initial = "equal",
    ) -> None:
        super().__init__(rounds, learner, c, initial, balance=False)

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        return adjusted_errors(logits[:, 0], labels)

    def beta(self, error: Tensor, outputs: int) -> Tensor:
        return beta(error, 2)

    def published(self, features: int, outputs: int, members: int) -> WeightedMedian:
        return WeightedMedian(features, members)
