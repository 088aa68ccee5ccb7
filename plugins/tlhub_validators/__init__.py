"""Scores for choosing an epoch without hidden labels."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_validators() -> list[type]:
    from tlhub_validators.auto import Auto
    from tlhub_validators.bnm import Bnm
    from tlhub_validators.circular import Circular
    from tlhub_validators.class_ami import ClassAmi
    from tlhub_validators.dev import Dev
    from tlhub_validators.ensemble import Ensemble
    from tlhub_validators.entropy import Entropy
    from tlhub_validators.information_maximization import InformationMaximization
    from tlhub_validators.iwv import Iwv
    from tlhub_validators.mixval import MixVal
    from tlhub_validators.rankme import RankMe
    from tlhub_validators.silhouette import Silhouette
    from tlhub_validators.snd import Snd
    from tlhub_validators.source_risk import SourceRisk
    from tlhub_validators.source_score import SourceScore
    from tlhub_validators.target_score import TargetScore

    source = [SourceScore, SourceRisk, Iwv, Dev, Circular]
    target = [Entropy, InformationMaximization, Bnm, Snd, ClassAmi, Silhouette, RankMe, MixVal, TargetScore]
    return [Auto, Ensemble, *source, *target]
