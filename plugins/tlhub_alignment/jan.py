"""Joint adaptation networks: JAN."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub_alignment.fields import Estimator, Kernels, Layers, Positive
from tlhub_alignment.gaussian import gaussian_kernels, joint_mmd2, require_two
from tlhub_alignment.layers import tap
from tlhub_alignment.warmup import WarmUp, warm_up

PREDICTION_SIGMA = 0.84**0.5
"""Of the predictions' kernel exp(-d^2 / 1.68): the authors' code. Probabilities have a scale that needs no estimate."""


class JAN(Adapter):
    """Adds the squared maximum mean discrepancy between the domains' joint distributions of features and predictions.

    Long et al. 2017, eq. 9 and 10: loss + lambda * JMMD, the MMD^2 whose kernel of two examples is the product over
    layers of the layers' kernels. So features are compared together with the class that they speak for.

    Use it when features alone can be aligned with the classes mixed up; otherwise like `mmd`.
    Cost: one Gram matrix of the joint batch and its exponential for each layer; memory O(batch^2).

    Deviation: the paper's estimate takes linear time (eq. 11); here all pairs of a batch count, which is less noisy.
    Deviation: bandwidths of features are spread around the mean squared distance in the batch as in `mmd`, not set by
    the median distance of the data; the predictions' is that of the authors' code, exp(-d^2 / 1.68).

    Args:
        layers: what is compared together with the predictions: `features` (what the head reads), `backbone` (its
            output), or modules of the backbone by name. The paper: the last layers before the predictions.
        kernels: number of Gaussians for each of these layers; 5 as in the authors' code.
        estimator: `unbiased` is 0 in expectation where the domains do not differ, so it may be negative; it needs two
            examples a batch. `biased` (the paper's eq. 9) is never negative, but rewards features of a domain that move
            together, all the more the smaller the batch.
        strength: factor of the term in the loss, lambda; 1.
        schedule: `constant`, or `dann`: the factor grows from 0 as training progresses, by 2 / (1 + exp(-10 p)) - 1.
    """

    name = "jan"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Long et al. 2017, Deep transfer learning with joint adaptation networks, arXiv:1605.06636"

    def __init__(
        self,
        layers: Layers = ["features"],  # noqa: B006 - never changed
        kernels: Kernels = 5,
        estimator: Estimator = "unbiased",
        strength: Positive = 1.0,
        schedule: WarmUp = "constant",
    ) -> None:
        super().__init__()
        self.layers, self.kernels, self.strength, self.schedule = list(layers), kernels, strength, schedule
        self.unbiased = estimator == "unbiased"

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`mmd`, `coral` or `dann`")
        if self.unbiased:
            require_two(run, self.name)
        tap(run, self.layers, self.name)

    def penalty(self, step: Step) -> Tensor:
        source, target = step.source, step.target
        found = [gaussian_kernels(source.layer(name), target.layer(name), self.kernels) for name in self.layers]
        found.append(gaussian_kernels(source.logits.softmax(1), target.logits.softmax(1), 1, PREDICTION_SIGMA))
        factor = self.strength * warm_up(self.schedule, step.progress)
        return factor * joint_mmd2(found, len(source), self.unbiased)
