"""The linear probe."""

from __future__ import annotations

import warnings
from typing import Annotated

from pydantic import Field
from torch import Tensor

from tlhub.errors import DataError
from tlhub.score import TransferScore


class LinearProbe(TransferScore):
    """The accuracy of a linear classifier on the features, on examples that it was not fitted on.

    Logistic regression on standardised features (scikit-learn's), cross-validated: the share of examples that the
    classifier of the other folds gets right (Alain & Bengio 2017, "Understanding intermediate layers using linear
    classifier probes").

    Use it when its time is affordable: its number is one that people understand, and the accuracy that a frozen
    backbone would have.

    Cost: as many fits as folds: a second to a minute for some thousand examples, far more than the other scores.

    Args:
        folds: in how many parts the examples are cut; fewer where the smallest class has fewer examples.
        penalty: strength of the L2 penalty on the weights, over all examples together; scikit-learn's default.
    """

    name = "linear_probe"
    paper = "Alain & Bengio 2017, https://arxiv.org/abs/1610.01644"

    def __init__(self, folds: Annotated[int, Field(ge=2)] = 5, penalty: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.folds = folds
        self.penalty = penalty

    def score(self, given: Tensor, labels: Tensor) -> float:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import StratifiedKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        smallest = int(labels.bincount().min())
        if smallest < 2:
            raise DataError(
                "`linear_probe` needs two examples of every class, and there is a class with one",
                "add examples, or leave this score out",
            )
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / self.penalty, max_iter=300))
        folds = StratifiedKFold(min(self.folds, smallest), shuffle=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of the weights change no ranking
            answers = cross_val_predict(probe, given.numpy(), labels.numpy(), cv=folds)
        return float((answers == labels.numpy()).mean())
