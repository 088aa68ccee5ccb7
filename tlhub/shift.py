"""How far two samples of features lie apart, and whether their classes come in other shares."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlhub.randomness import permutation

CERTAIN = 0.2
"""The least singular value of P(answer | class) with which label shares are estimated; errors grow by its inverse."""


def proxy_a_distance(source: Tensor, target: Tensor, seed: int = 0) -> float:
    """How well a linear classifier tells the domains apart, from 0, not at all, to 2, without a mistake.

    2 (1 - 2 e), where e is the cross-validated error of logistic regression on standardised features `[n, width]`
    (Ben-David et al. 2010, "A theory of learning from different domains", section 4; Ganin et al. 2016, eq. 3). Of both
    domains as many examples are taken, at least two. An error of more than one half counts as one half.
    """
    size = min(len(source), len(target))
    features = torch.cat([_some(source, size, seed, "source"), _some(target, size, seed, "target")]).double()
    domain = torch.arange(2 * size) // size
    error = float((_answers(features, domain) != domain).double().mean())
    return max(0.0, 2 * (1 - 2 * error))


@dataclass(frozen=True)
class MMDTest:
    """The unbiased squared maximum mean discrepancy, and how often chance alone gives as large a one."""

    squared: float
    p_value: float


def mmd_test(source: Tensor, target: Tensor, permutations: int = 500, seed: int = 0) -> MMDTest:
    """Whether two samples `[n, width]` come from one distribution (Gretton et al. 2012, eq. 3, with permutations).

    The kernel is Gaussian, exp(-d^2 / 2 s^2), and s the median distance of all pairs. The p-value counts the actual
    assignment too, so it is never 0.
    """
    joint = torch.cat([source, target]).double()
    joint -= joint.mean(0)  # far from 0, distances lose digits
    squared = torch.cdist(joint, joint).square()
    middle = float(squared[squared > 0].median()) if bool((squared > 0).any()) else 1.0
    kernel = torch.exp(-squared / (2 * middle)).fill_diagonal_(0)
    first = torch.zeros(permutations + 1, len(joint), dtype=torch.float64)
    first[0, : len(source)] = 1
    for number in range(1, permutations + 1):
        first[number, permutation(len(joint), seed, "mmd", number)[: len(source)]] = 1
    second = 1 - first
    n, m = len(source), len(target)
    within = ((first @ kernel) * first).sum(1) / (n * (n - 1)) + ((second @ kernel) * second).sum(1) / (m * (m - 1))
    values = within - 2 * ((first @ kernel) * second).sum(1) / (n * m)
    # sums of the same numbers in another order differ in their last digits
    as_large = int((values[1:] >= values[0] - 1e-12).sum())
    return MMDTest(float(values[0]), (1 + as_large) / (1 + permutations))


def label_shares(source: Tensor, labels: Tensor, target: Tensor, classes: int) -> Tensor | None:
    """`[classes]`: the shares of the classes in an unlabelled target, by black-box shift estimation.

    A logistic regression is fitted on source features `[n, width]` and labels `[n]`; how its answers depend on the
    class is told by source examples it was not fitted on (by cross-validation), and from its answers on the target the
    shares follow (Lipton et al. 2018, "Detecting and Correcting for Label Shift with Black Box Predictors", eq. 3 and
    4). Negative shares are set to 0.

    It assumes that the examples of a class look alike in both domains, and is off where they do not. None where the
    classifier tells the classes too badly apart, or a class has fewer than two examples.
    """
    if int(labels.bincount(minlength=classes).min()) < 2:
        return None
    answers = _answers(source.double(), labels)
    confusion = torch.zeros(classes, classes, dtype=torch.float64)
    confusion.index_put_((answers, labels), torch.ones(len(labels), dtype=torch.float64), accumulate=True)
    confusion /= confusion.sum(0)  # column by column P(answer | class)
    if float(torch.linalg.svdvals(confusion)[-1]) < CERTAIN:
        return None
    told = torch.as_tensor(_fitted(source.double(), labels).predict(target.double().numpy()))
    shares: Tensor = torch.linalg.solve(confusion, told.bincount(minlength=classes).double() / len(told)).clamp(min=0)
    return shares / shares.sum()


def total_variation(first: Tensor, second: Tensor) -> float:
    """Half the summed difference of two distributions: the share that would have to move."""
    return float((first - second).abs().sum() / 2)


def accuracy(features: Tensor, labels: Tensor) -> float:
    """The cross-validated accuracy of logistic regression on features `[n, width]`."""
    return float((_answers(features.double(), labels) == labels).double().mean())


def _some(features: Tensor, size: int, seed: int, key: str) -> Tensor:
    return features[permutation(len(features), seed, "shift", key)[:size]]


def _answers(features: Tensor, labels: Tensor) -> Tensor:
    """For every example, what a classifier says that was fitted on the other folds."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(min(5, int(labels.bincount().min())), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence: the last digits of the weights matter to nothing here
        return torch.as_tensor(cross_val_predict(_classifier(), features.numpy(), labels.numpy(), cv=folds))


def _fitted(features: Tensor, labels: Tensor) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _classifier().fit(features.numpy(), labels.numpy())


def _classifier() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
