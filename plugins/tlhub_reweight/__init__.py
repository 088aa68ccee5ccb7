"""Instance weighting: source examples count by how much they say about the target."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_reweight.domain_classifier import DomainClassifier
    from tlhub_reweight.kliep import KLIEP
    from tlhub_reweight.kmm import KMM
    from tlhub_reweight.tradaboost import TrAdaBoost
    from tlhub_reweight.tradaboost_r2 import TrAdaBoostR2
    from tlhub_reweight.tradaboost_soft import TrAdaBoostSoft

    return [TrAdaBoost, TrAdaBoostSoft, TrAdaBoostR2, KMM, KLIEP, DomainClassifier]


@hookimpl
def tlhub_heads() -> list[type]:
    from tlhub_reweight.vote import Vote
    from tlhub_reweight.weighted_median import WeightedMedian

    return [Vote, WeightedMedian]
