"""Weights of source examples from the densities of both domains: w(x) = p_target(x) / p_source(x)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.data import Domain
from tlhub.head import Identity
from tlhub.measure import outputs
from tlhub.model import Model
from tlhub.run import Run
from tlhub.step import View


def normalised(weights: Tensor, largest: float | None = None) -> Tensor:
    """Weights of mean 1, those above `largest` cut to it before they are brought to mean 1 again."""
    weights = weights / weights.mean()
    return weights if largest is None else normalised(weights.clamp(max=largest))


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """`[x, y]`: squared distances of the rows of both, centred first so that an offset costs no digits."""
    centre = y.mean(0)
    return torch.cdist(x - centre, y - centre).square()


def median_distance(x: Tensor, y: Tensor, rows: int = 1000) -> float:
    """The median distance of different rows of both samples, `rows` of each at most; 1 where that is 0."""
    some = torch.cat([sample[torch.linspace(0, len(sample) - 1, min(rows, len(sample))).long()] for sample in (x, y)])
    distances = torch.pdist(some - some.mean(0))
    middle = float(distances.median()) if len(distances) else 0.0
    return middle or 1.0


class DensityRatio(Adapter):
    """Weighs source examples by how likely they are in the target, as the backbone's features at the start tell."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    ratios: Tensor

    @abstractmethod
    def ratio(self, source: Tensor, target: Tensor) -> Tensor:
        """`[source]`: weights of mean 1, from features in 64 bits `[source, width]` and `[target, width]`."""

    def prepare(self, run: Run) -> None:
        lengths = [len(domain) for domain in run.sources]
        self.starts = {domain.key: sum(lengths[:number]) for number, domain in enumerate(run.sources)}
        self.register_buffer("ratios", torch.ones(sum(lengths)))

    def start_epoch(self, run: Run) -> None:
        if run.epoch == 0:  # not in start_round, which a resumed run hears again
            features = [torch.cat([_features(run, each) for each in role]) for role in (run.sources, run.targets)]
            self.ratios.copy_(self.ratio(*features))

    def weights(self, view: View) -> Tensor | None:
        (domain,) = view.domains
        return self.ratios[self.starts[domain.key] + view.indices] if view.role == "source" else None


def _features(run: Run, domain: Domain) -> Tensor:
    """What the backbone gives for a domain, whatever stands between it and the head."""
    whole = Identity(run.model.backbone.width)
    model = Model(run.model.backbone, whole, whole)
    return outputs(model, domain, run.device, run.workers, run.features.get(domain.key)).features.double()
