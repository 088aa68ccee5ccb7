"""Adaptive batch normalisation: AdaBN."""

from __future__ import annotations

from typing import ClassVar

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_finetune.statistics import in_order, inputs_of, moments, norms


class AdaBN(Adapter):
    """Replaces the statistics of every batch normalisation by those of the whole target, when training has ended.

    Li et al. 2016, algorithm 1: each unit is normalised by the mean and variance of its responses over all target
    examples. The statistics are the data's own, not a moving average: they are taken from all target examples without
    augmentation, layer after layer from the input, since a layer's responses depend on the statistics of those before
    it. So the adapted model answers what it would if the whole target were one batch. Frozen layers are adapted too:
    nothing is learned here.

    Use it when inputs of the target look different (light, style, sensor) and the network has batch normalisation.
    Cost: none in a step; at the end, half a pass over the target for every batch normalisation (53 in a ResNet-50).

    Deviations: the variance is the biased one, by which a batch in training is normalised.
    """

    name = "adabn"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    paper = "Li et al. 2016, Revisiting batch normalization for practical domain adaptation, arXiv:1603.04779"

    def prepare(self, run: Run) -> None:
        if not norms(run.model):
            raise UserError(
                "`adabn` has nothing to adapt: the model has no batch normalisation with statistics",
                "use another backbone, `head_swap` with a `bottleneck`, or another method, such as `coral`",
            )

    def finish(self, run: Run) -> None:
        run.model.eval()
        for norm in in_order(run):
            mean, variance = moments(inputs_of(norm, run))
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
        run.features.clear()  # those of a frozen backbone had the old statistics
