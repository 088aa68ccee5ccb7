"""Maximum mean discrepancy: DDC and DAN."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Estimator, Kernels, Layers, Positive
from tlhub_alignment.gaussian import multi_gaussian_mmd2, require_two
from tlhub_alignment.layers import tap
from tlhub_alignment.warmup import WarmUp, warm_up


class MMD(Adapter):
    """Adds the squared maximum mean discrepancy between source and target features to the loss.

    DAN (Long et al. 2015, eq. 4): loss + lambda * sum over layers of MMD^2 with several Gaussian kernels; DDC (Tzeng et
    al. 2014, eq. 2) is the case of one layer. MMD^2 is estimated as Gretton et al. 2012 do (eq. 3 and 5).

    Use it when the domains differ moderately and a steady term without a network of its own is wanted.
    Cost: one Gram matrix of the joint batch and its exponential for each layer; memory O(batch^2).

    Deviation: DAN learns the weights of its kernels; here they are equal and the kernels are added up.
    Deviation: DAN's bandwidths are spread around the median distance of the data; here around the mean squared distance
    in the batch, each twice the one before.
    Deviation: DAN's estimate takes linear time; here all pairs of a batch count, which is less noisy and costs little.
    Deviation: DDC's kernel is linear; here it is Gaussian.

    Args:
        layers: where features are compared; the discrepancies are added. `features` (what the head reads), `backbone`
            (its output), `logits`, or modules of the backbone by name. DDC aligns one layer, DAN the last ones and the
            logits.
        kernels: number of Gaussians. 5 as in the customary code of DAN; 1 is one Gaussian.
        bandwidth: width of the middle kernel exp(-d^2 / (2 sigma^2)): sigma in the units of the features, or `mean`: 2
            sigma^2 is the mean squared distance in the batch, which follows the features as they grow or shrink.
        estimator: `unbiased` is 0 in expectation where the domains do not differ, so it may be negative; it needs two
            examples a batch. `biased` is never negative, but rewards features of a domain that move together, all the
            more the smaller the batch.
        strength: factor of the term in the loss, lambda; 1 is the customary one for DAN.
        schedule: `constant`, or `dann`: the factor grows from 0 as training progresses, by 2 / (1 + exp(-10 p)) - 1.
    """

    name = "mmd"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Long et al. 2015, Learning transferable features with deep adaptation networks, arXiv:1502.02791"

    def __init__(
        self,
        layers: Layers = ["features"],  # noqa: B006 - never changed
        kernels: Kernels = 5,
        bandwidth: Positive | Literal["mean"] = "mean",
        estimator: Estimator = "unbiased",
        strength: Positive = 1.0,
        schedule: WarmUp = "constant",
    ) -> None:
        super().__init__()
        self.layers, self.kernels, self.strength, self.schedule = list(layers), kernels, strength, schedule
        self.sigma = None if bandwidth == "mean" else float(bandwidth)
        self.unbiased = estimator == "unbiased"

    def prepare(self, run: Run) -> None:
        if self.unbiased:
            require_two(run, self.name)
        tap(run, self.layers, self.name)

    def penalty(self, step: Step) -> Tensor:
        pairs = [(step.source.layer(name), step.target.layer(name)) for name in self.layers]
        found = [multi_gaussian_mmd2(x, y, self.kernels, self.sigma, self.unbiased) for x, y in pairs]
        return self.strength * warm_up(self.schedule, step.progress) * torch.stack(found).sum()
