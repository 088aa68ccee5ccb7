"""How much likelier an example is in the target than in the source."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tlhub.task import Task
from tlhub.validator import Evidence
from tlhub_validators.sample import sample


def density_ratio(source: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """`[asked]`: p_target(x) / p_source(x) of features, by a logistic regression of the domains (Bickel et al. 2007).

    Features are standardised by those it learns from, and its odds are divided by those of the domains' sizes.

    Args:
        source, target: `[rows, width]`, what it learns from.
        asked: `[asked, width]`, source features that it has not learned from.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    domains = torch.arange(len(source) + len(target)) >= len(source)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(torch.cat([source, target]).double().numpy(), domains.numpy())
    log_odds = torch.from_numpy(model.decision_function(asked.double().numpy()))
    return (log_odds - math.log(len(target) / len(source))).clamp(max=LARGEST).exp()


LARGEST = 30.0
"""Log ratios are cut there, so that domains which a line tells apart give a finite ratio."""


def weighted_losses(task: Task, seen: Evidence) -> tuple[Tensor, Tensor]:
    """`[examples]` each, in 64 bits: the density ratios of the held-out source examples, and their losses."""
    assert seen.source is not None
    assert seen.source.labels is not None
    assert seen.trained is not None
    assert seen.target is not None
    weights = density_ratio(sample(seen.trained).features, sample(seen.target).features, seen.source.features)
    return weights, task.loss(seen.source.logits, seen.source.labels).double()
