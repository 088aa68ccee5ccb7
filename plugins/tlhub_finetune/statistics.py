"""The statistics of what batch normalisations are given, over all examples of the target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.loader import EVALUATION_BATCH, fits, ordered, store
from tlhub.measure import to_device
from tlhub.model import Model
from tlhub.run import Run


def moments(parts: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """`[channels]` each: mean and (biased) variance of all parts `[rows, channels, ...]` together, in float64.

    The parts' own moments are merged by the formula of Chan et al. 1979, so that nothing large cancels.
    """
    count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in parts:
        values = part.transpose(0, 1).flatten(1)
        here, (variance, centre) = values.shape[1], (m.cpu().double() for m in torch.var_mean(values, 1, correction=0))
        shift, count = centre - mean, count + here
        mean = mean + shift * (here / count)
        squares = squares + variance * here + shift.square() * (here * (count - here) / count)
    return mean, squares / count


def norms(model: Model) -> list[Any]:
    """The batch normalisations that have statistics."""
    kinds = (nn.modules.batchnorm._BatchNorm,)
    return [module for module in model.modules() if isinstance(module, kinds) and module.running_mean is not None]


def in_order(run: Run) -> list[Any]:
    """The batch normalisations that run, in the order in which they do."""
    found: list[Any] = []
    hooks = [norm.register_forward_pre_hook(lambda module, _: found.append(module)) for norm in norms(run.model)]
    preprocess = run.model.backbone.preprocess(train=False)
    with torch.inference_mode():
        run.model(to_device(run.model.backbone.collate([preprocess(run.targets[0].raw(0))]), run.device))
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(found))


class _StopError(Exception):
    """What lies behind a layer is not needed."""


def inputs_of(norm: nn.Module, run: Run) -> Iterator[Tensor]:
    """What a layer is given, `[rows, channels, ...]`, for one batch of the target after the other."""
    seen: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
        seen.append(inputs[0].float())
        raise _StopError

    hook = norm.register_forward_pre_hook(look)
    try:
        for batch in _batches(run):
            try:
                with torch.inference_mode():
                    run.model(to_device(batch, run.device))
            except _StopError:
                yield seen.pop()
    finally:
        hook.remove()


def _batches(run: Run) -> Iterator[Any]:
    """All examples of the target, in batches; preprocessed once where they fit in memory."""
    backbone, preprocess = run.model.backbone, run.model.backbone.preprocess(train=False)
    for domain in run.targets:
        if not backbone.ragged and fits([domain], backbone, preprocess):
            stored = store(domain, backbone, preprocess, run.workers)
            assert isinstance(stored, Tensor)
            yield from torch.split(stored, EVALUATION_BATCH)
        else:
            yield from (inputs for _, inputs in ordered(domain, backbone, preprocess, run.workers))
