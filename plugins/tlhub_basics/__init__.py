"""What nearly every run needs: the tasks, the linear head, and selection by the source."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_tasks() -> list[type]:
    from tlhub_basics.classification import Classification
    from tlhub_basics.multilabel import MultiLabel
    from tlhub_basics.regression import Regression
    from tlhub_basics.token_classification import TokenClassification

    return [Classification, MultiLabel, Regression, TokenClassification]


@hookimpl
def tlhub_heads() -> list[type]:
    from tlhub.head import Identity
    from tlhub_basics.linear import LinearHead

    return [Identity, LinearHead]


@hookimpl
def tlhub_validators() -> list[type]:
    from tlhub_basics.source_score import SourceScore

    return [SourceScore]
