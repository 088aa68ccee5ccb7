"""The H-score."""

from __future__ import annotations

from torch import Tensor

from tlhub.score import TransferScore
from tlhub_scores.spread import between


class HScore(TransferScore):
    """How much of the features' scatter is between classes: tr(cov(f)^-1 cov(E[f | y])).

    Bao et al. 2019, "An Information-Theoretic Approach to Transferability in Task Transfer Learning", definition 2,
    with the pseudo-inverse. It lies between 0 and the number of classes less one, and does not change under any
    invertible linear map of the features.

    Where there are no more examples than features, it is the number of classes less one whatever the features are:
    `hscore_shrunk` is for that. Below some ten examples a feature it is still too large, the more so the wider the
    features.

    Use it when there are many times more examples than features.

    Cost: one singular value decomposition of the features.
    """

    name = "hscore"
    paper = "Bao et al. 2019, https://doi.org/10.1109/ICIP.2019.8803726"

    def score(self, given: Tensor, labels: Tensor) -> float:
        return hscore(given, labels)

    def caution(self, given: Tensor, labels: Tensor) -> str | None:
        examples, width = given.shape
        if examples > width:
            return None
        return (
            f"`hscore` says nothing of {examples} examples with {width} features: "
            "with no more examples than features it is the same for all; `hscore_shrunk` is for that"
        )


def hscore(features: Tensor, labels: Tensor) -> float:
    """The H-score of features `[n, width]` and labels `[n]`; 0 of constant features."""
    return float(between(features, labels)[1].sum())
