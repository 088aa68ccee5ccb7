"""The layers that an alignment looks at, and what it must know of them before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tlhub.errors import UserError
from tlhub.run import Run


def tap(run: Run, layers: Sequence[str], name: str) -> None:
    """Let the adapter `name` see these layers of every example.

    Raises UserError where there is no such layer, or where it gives no vector for an example: logits of words.
    """
    for layer in layers:
        if layer == "logits" and run.task.per_word:
            raise UserError(
                f"`{name}` compares examples, and the logits of `{run.task.name}` are those of words",
                "name another layer, such as `features`",
            )
        run.model.tap(layer)


def width(run: Run, layer: str) -> int:
    """The width of a layer that was tapped; that of a module inside the backbone is found with one example."""
    model = run.model
    known = {"features": model.neck.width, "backbone": model.backbone.width, "logits": model.head.width}
    if layer in known:
        return known[layer]
    preprocess, was_training = model.backbone.preprocess(train=False), model.training
    model.eval()
    with torch.inference_mode():
        seen = model.see(model.backbone.collate([preprocess(run.domains[0].raw(0))]))
    model.train(was_training)
    return seen.layers[layer].shape[1]


def require_classes(run: Run, name: str) -> None:
    """Raise UserError where an example is not of exactly one class: the adapter `name` needs class probabilities."""
    for domain in run.domains:
        labels = domain.labels
        if labels is not None and (labels.ndim > 1 or labels.is_floating_point()):
            raise UserError(
                f"`{name}` needs the probabilities of an example's classes, which `{run.task.name}` has not",
                "use it where every example is of one class, or align with `mmd`, `coral` or `dann`",
            )
