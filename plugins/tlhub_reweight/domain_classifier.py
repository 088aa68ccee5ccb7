"""Weights by a classifier of domains."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_reweight.density import DensityRatio, normalised


def held_out_odds(source: Tensor, target: Tensor, folds: int, c: float) -> tuple[Tensor, Tensor]:
    """`[source]` and `[target]`: the log odds of the target, of each example by a logistic regression it was not in.

    Features are standardised by those the regression was taught, and domains have equal weights.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, domains = torch.cat([source, target]).numpy(), torch.arange(len(source) + len(target)) >= len(source)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, class_weight="balanced", max_iter=1000))
    split = StratifiedKFold(folds, shuffle=True, random_state=int(torch.randint(2**31, ())))
    odds = cross_val_predict(model, features, domains.numpy(), cv=split, method="decision_function")
    return torch.from_numpy(odds[: len(source)]), torch.from_numpy(odds[len(source) :])


def calibrated(source: Tensor, target: Tensor) -> Tensor:
    """`[source]`: log odds a f + b under which the domains of all log odds f are likeliest (Platt 1999)."""
    from sklearn.linear_model import LogisticRegression

    odds, domains = torch.cat([source, target])[:, None].numpy(), torch.arange(len(source) + len(target)) >= len(source)
    platt = LogisticRegression(class_weight="balanced").fit(odds, domains.numpy())
    return torch.from_numpy(platt.decision_function(source[:, None].numpy()))


class DomainClassifier(DensityRatio):
    """Weighs source examples by the odds that a classifier of the two domains gives them to be of the target.

    Bickel et al. 2007: p_target(x) / p_source(x) is, up to a factor, p(target | x) / p(source | x), here of a logistic
    regression. An overconfident one would give all the weight to a few examples, so that its log odds are those of
    examples it was not taught (cross-fitting), and are calibrated (Platt 1999).

    Use it when the target's inputs are differently drawn from the source's; it is the fastest, and minds many features
    least.
    Cost: nothing per step; at the start one logistic regression per fold.
    Deviation: features of the pretrained backbone stand for the inputs; the paper learns this classifier and the task's
    together; cross-fitting and calibration are not in the paper.

    Args:
        c: how closely the classifier follows the data: scikit-learn's `C`.
        folds: in how many parts the examples are for cross-fitting.
        largest: weights above it, where 1 is the mean, are cut; null: none is.
    """

    name = "domain_classifier"
    paper = "Bickel et al. 2007, Discriminative learning for differing training and test distributions, ICML"

    def __init__(
        self,
        c: Annotated[float, Field(gt=0)] = 1.0,
        folds: Annotated[int, Field(ge=2)] = 5,
        largest: Annotated[float, Field(gt=1)] | None = None,
    ) -> None:
        super().__init__()
        self.c, self.folds, self.largest = c, folds, largest

    def prepare(self, run: Run) -> None:
        super().prepare(run)
        fewest = min(sum(map(len, role)) for role in (run.sources, run.targets))
        if fewest < self.folds:
            raise UserError(
                f"`domain_classifier` divides every domain in {self.folds} parts, and one has {fewest} examples",
                "lower `folds`, or add examples",
            )

    def ratio(self, source: Tensor, target: Tensor) -> Tensor:
        odds = calibrated(*held_out_odds(source, target, self.folds, self.c))
        return normalised((odds - odds.max()).exp(), self.largest)
