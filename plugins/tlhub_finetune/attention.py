"""How much each channel of a pretrained network matters for a task: DELTA's attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from tlhub.backbone import Backbone
from tlhub.data import NO_LABEL
from tlhub.loader import ordered
from tlhub.measure import to_device
from tlhub.model import Model
from tlhub.ragged import padded
from tlhub.run import Run

ROWS = 64
"""Examples in a batch."""

DECAY = 1e-4
"""Weight decay of the head that is fitted to the pretrained features, as in the authors' code."""


def attention(losses: Tensor, loss: Tensor) -> Tensor:
    """`[channels]`, their mean 1: from the loss without each channel, and the loss with all of them.

    Channels x softmax of the differences, standardised and divided by 5 as in the authors' code: as they are, they
    would be so small that all weights are equal.
    """
    differences = losses - loss
    spread = differences.std(correction=0).clamp(min=torch.finfo(losses.dtype).tiny)
    return len(losses) * torch.softmax((differences - differences.mean()) / spread / 5, 0)


def channel_weights(
    run: Run, model: Model, layers: Sequence[str], widths: Sequence[int], examples: int
) -> list[Tensor]:
    """For every layer `[channels]`: its channels' attention.

    `model` is a pretrained one in evaluation mode, whose neck and head are fitted to all labelled examples first; then
    its loss for some of the examples is compared with its loss with a channel set to zero.
    """
    _fit(run, model)
    batches = list(_sample(run, examples))
    with torch.inference_mode():
        loss = _loss(run, model, batches)
        return [
            attention(
                torch.stack([_loss_without(run, model, layer, channel, batches) for channel in range(width)]), loss
            )
            for layer, width in zip(layers, widths, strict=True)
        ]


def _fit(run: Run, model: Model) -> None:
    """Fit neck and head to the features of all labelled examples."""
    preprocess = model.backbone.preprocess(train=False)
    features, labels = [], []
    for domain in run.domains:
        if domain.labels is None:
            continue
        for rows, inputs in ordered(domain, model.backbone, preprocess, run.workers):
            with torch.no_grad():
                features.append(model.backbone(to_device(inputs, run.device)))
            labels.append(domain.labels[rows].to(run.device))
    given, wanted = padded(features), padded(labels, NO_LABEL)
    learns = [*model.neck.parameters(), *model.head.parameters()]
    for parameter in learns:
        parameter.requires_grad_(True)  # of a copy: the run's own may be frozen
    optimizer = torch.optim.LBFGS(learns, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        squares = torch.stack([parameter.square().sum() for parameter in learns]).sum()
        loss = run.task.loss(model.see_features(given).logits, wanted).mean() + DECAY / 2 * squares
        torch.autograd.backward(loss)
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _sample(run: Run, examples: int) -> Iterator[tuple[Any, Tensor]]:
    """Inputs and labels of randomly chosen labelled examples, in batches."""
    backbone = run.model.backbone
    preprocess = backbone.preprocess(train=False)
    places = [(domain, row) for domain in run.domains if domain.labels is not None for row in range(len(domain))]
    chosen = [places[number] for number in torch.randperm(len(places))[:examples].tolist()]
    for first in range(0, len(chosen), ROWS):
        part = chosen[first : first + ROWS]
        inputs = backbone.collate([preprocess(domain.raw(row)) for domain, row in part])
        labels = padded([domain.labels[row : row + 1] for domain, row in part if domain.labels is not None], NO_LABEL)
        yield to_device(inputs, run.device), labels.to(run.device)


def _loss(run: Run, model: Model, batches: Sequence[tuple[Any, Tensor]]) -> Tensor:
    return torch.cat([run.task.loss(model(inputs), labels) for inputs, labels in batches]).mean()


def _loss_without(run: Run, model: Model, layer: str, channel: int, batches: Sequence[tuple[Any, Tensor]]) -> Tensor:
    hook = model.backbone.get_submodule(layer).register_forward_hook(
        lambda module, inputs, output: without(model.backbone, output, channel)
    )
    loss = _loss(run, model, batches)
    hook.remove()
    return loss


def without(backbone: Backbone, output: Any, channel: int) -> Any:
    """What a layer gave, with a channel set to zero."""
    activation = backbone.activation(output)
    # Which dimension holds channels is only known to `pooled`: what a pooled channel depends on is that channel.
    with torch.inference_mode(False), torch.enable_grad():
        probe = torch.zeros(1, *activation.shape[1:], device=activation.device, requires_grad=True)
        (reach,) = torch.autograd.grad(backbone.pooled(probe)[:, channel].sum(), probe)
    cut = activation.masked_fill(reach != 0, 0)
    return (cut, *output[1:]) if isinstance(output, tuple) else cut
