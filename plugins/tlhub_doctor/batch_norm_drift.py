"""Statistics of batch normalisation that do not fit the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.artifact import Adapted
from tlhub.case import Case
from tlhub.data import Domain
from tlhub.measure import outputs
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.sample import sample

DRIFT = 0.8
"""In running standard deviations, farther than the source's. A network frozen since ImageNet that answers well on
photos of two kinds has 0.44; one that was trained on white digits, for black ones, 1.04."""


class BatchNormDrift(Symptom):
    """Running statistics of batch normalisation that fit the source, and not the target.

    Of every channel the 2-Wasserstein distance of two normal distributions is taken, sqrt((m - m')^2 + (s - s')^2), in
    running standard deviations s'; of a layer the median of its channels; and the layer is told that is worst for the
    target as compared with the source.
    """

    name = "batch_norm_drift"
    paper = "Li et al. 2016, arXiv:1603.04779"

    def examine(self, case: Case) -> Finding | None:
        sources, targets = sample(case, "source"), sample(case, "target")
        theirs, ours = _drifts(case.after, targets), _drifts(case.after, sources)
        if not theirs or not ours:
            return None
        layer = max(theirs, key=lambda name: theirs[name] - ours[name])
        was = {} if case.before is None else _drifts(case.before, targets)
        measured = (
            f"The target's statistics are {theirs[layer]:.2f} standard deviations from the running ones in `{layer}`, "
            f"the source's {ours[layer]:.2f}"
            + (f"; before the adaptation the target's were up to {max(was.values()):.2f} away." if was else ".")
        )
        if theirs[layer] - ours[layer] < DRIFT:
            return self.fine(measured, "Batch normalisation fits the target about as well as the source.")
        return self.warning(
            measured,
            "Batch normalisation brings the target's features to another mean and scale than what was learnt.",
            "Set `batch_norm: separate` under `train`, or add `adabn`, which takes the statistics from the target.",
        )


def _drifts(adapted: Adapted, domains: Sequence[Domain]) -> dict[str, float]:
    """By layer of batch normalisation, how far the statistics of these domains are from the running ones."""
    layers: dict[str, Any] = {
        name: module
        for name, module in adapted.model.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    }
    if not layers or not domains:
        return {}
    sums: dict[str, list[Tensor]] = {}
    with _seen(layers, sums):
        for domain in domains:
            outputs(adapted.model, domain, adapted.device, 0)
    found = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        deviation = (squares / count - mean**2).clamp(min=0).sqrt()
        running = (layers[name].running_var.double() + layers[name].eps).sqrt()
        apart = torch.hypot(mean - layers[name].running_mean, deviation - running) / running
        found[name] = float(apart.median())
    return found


@contextmanager
def _seen(layers: dict[str, nn.Module], sums: dict[str, list[Tensor]]) -> Iterator[None]:
    """In this context, what the layers are given is counted and summed up channel by channel, with its squares."""

    def look(name: str, inputs: tuple[Tensor, ...]) -> None:
        rows = inputs[0].double().transpose(0, 1).flatten(1)
        new = [torch.tensor(float(rows.shape[1])), rows.sum(1), rows.square().sum(1)]
        sums[name] = [old + more for old, more in zip(sums[name], new, strict=True)] if name in sums else new

    hooks = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs))
        for name, module in layers.items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
