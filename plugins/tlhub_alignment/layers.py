"""The layers that an alignment looks at, and what it must know of them before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import View


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


def side_by_side(view: View, layers: Sequence[str]) -> Tensor:
    """`[rows, width]`: what the layers gave, one beside the other."""
    return torch.cat([view.layer(name) for name in layers], 1)


def width(run: Run, layers: Sequence[str]) -> int:
    """The width of tapped layers side by side; that of modules inside the backbone is found with one example."""
    model = run.model
    known = {"features": model.neck.width, "backbone": model.backbone.width, "logits": model.head.width}
    if not known.keys() >= set(layers):
        preprocess, was_training = model.backbone.preprocess(train=False), model.training
        with torch.inference_mode():
            seen = model.eval().see(model.backbone.collate([preprocess(run.domains[0].raw(0))]))
        model.train(was_training)
        known = {**{name: value.shape[1] for name, value in seen.layers.items()}, **known}
    return sum(known[name] for name in layers)
