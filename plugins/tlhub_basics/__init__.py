"""What nearly every run needs: the tasks and the linear head."""

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
