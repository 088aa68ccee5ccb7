"""Linear learners of scikit-learn on features that do not change."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Learner = Literal["linear", "logistic", "svm", "ridge"]
"""`linear` is the run's own head, trained by its loop; the others are scikit-learn's."""

Array = npt.NDArray[np.float64]

_ABSENT = -1e4
"""The logit of a class without any example."""

_TOLERANCE = 0.1
"""Where `svm` stops, liblinear's own choice: scikit-learn's 1e-4 takes twice as long, for votes no better."""


def fit(learner: Learner, features: Any, labels: Array, weights: Array, outputs: int, c: float) -> tuple[Array, Array]:
    """Weight `[outputs, width]` and bias `[outputs]` of a learner taught examples of these weights.

    `c` is scikit-learn's `C` for weights of mean 1. Of two classes, the first has the logit 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.svm import LinearSVC

    made: Any = {
        "logistic": LogisticRegression(C=c, max_iter=500),
        "svm": LinearSVC(C=c, tol=_TOLERANCE, random_state=0),
        "ridge": Ridge(alpha=1 / (2 * c)),
    }[learner]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # boosting asks for weak learners, not for optimal ones
        made.fit(features, labels, sample_weight=weights / weights.mean())
    if learner == "ridge":
        return made.coef_.reshape(1, -1), np.reshape(made.intercept_, 1)
    weight, bias = np.zeros((outputs, features.shape[1])), np.full(outputs, _ABSENT)
    there = made.classes_.astype(int)
    bias[there] = 0
    rows = there[1:] if len(there) == 2 else there
    weight[rows], bias[rows] = made.coef_, made.intercept_
    return weight, bias
