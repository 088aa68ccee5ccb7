"""Going on from an adapted model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tlhub.artifact import Adapted
from tlhub.errors import UserError
from tlhub.run import Run


def reorder(old: Adapted, columns: Sequence[int]) -> None:
    """Let the old model's linear head give its logits in another order: number i is what was number `columns[i]`."""
    linear: Any = old.model.head.linear
    with torch.no_grad():
        linear.weight.copy_(linear.weight[columns])
        linear.bias.copy_(linear.bias[columns])


def go_on(run: Run, old: Adapted) -> None:
    """Give the run's backbone the old weights; both models are on the CPU.

    Raises UserError where it is built otherwise, or its features of an example are others than the old ones.
    """
    ours, theirs = run.model.backbone, old.model.backbone
    state = theirs.state_dict()
    same = {key: value.shape for key, value in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}
    if same:
        ours.load_state_dict(state)
        training, seen = ours.training, []
        for backbone in (ours.eval(), theirs):
            example = backbone.preprocess(train=False)(run.domains[0].raw(0))
            with torch.inference_mode():
                seen.append(backbone(backbone.collate([example])))
        ours.train(training)
        same = seen[0].shape == seen[1].shape and torch.allclose(seen[0], seen[1], rtol=1e-3, atol=1e-4)
    if not same:
        raise UserError(
            f"`lwf` goes on from the model in {old.folder}, but the backbone `{ours.name}` gives other features",
            f"write the backbone as it is in {old.folder}/tlhub.json, under `manifest`; list `lwf` before adapters "
            "that change the network",
        )
