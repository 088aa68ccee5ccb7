"""TrAdaBoost with probabilities."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from tlhub_reweight.tradaboost import TrAdaBoost


def soft_beta(error: Tensor) -> Tensor:
    """beta of the target examples: epsilon / (2 - epsilon), in (0, 1)."""
    error = error.clamp(min=torch.finfo(error.dtype).eps)
    return error / (2 - error)


class TrAdaBoostSoft(TrAdaBoost):
    """TrAdaBoost as the library adapt does it: errors and votes are probabilities.

    de Mathelin et al. 2021 (adapt), after Dai et al. 2007, figure 1. An example's error is the probability that the
    learner gives to other classes than its own, and a learner divides its vote by its probabilities. So learners that
    fit the few target examples, whose plain error is 0, go on telling examples apart. Not the paper's: beta_t = epsilon
    / (2 - epsilon), which has no limit at 1/2 and takes any number of classes. Deviation: rounds from ceil(N / 2)
    answer as in the paper, where adapt leaves out the first of them if N is even; adapt balances classes by their
    numbers, here it is by their weights.

    Use it when `tradaboost` would do, and its learner makes no error on the labelled target examples.
    Cost: nothing per step; a linear learner on stored features per round.

    Args:
        rounds: N; 10 is adapt's.
    """

    name = "tradaboost_soft"
    paper = "de Mathelin et al. 2021, ADAPT: Awesome Domain Adaptation Python Toolbox, arXiv:2107.03049"
    soft: ClassVar[bool] = True

    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        return 1 - logits.softmax(1).gather(1, labels[:, None])[:, 0]

    def beta(self, error: Tensor, outputs: int) -> Tensor:
        return soft_beta(error)
