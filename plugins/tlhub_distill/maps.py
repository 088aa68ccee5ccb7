"""The maps that a network's layers give, as whole tensors and not pooled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.backbone import Backbone
from tlhub.errors import UserError
from tlhub.measure import to_device


class Maps:
    """Keeps what some modules of a backbone gave in its last forward pass that `wanted` is true of.

    Args:
        layers: names of the modules, each of which gives maps `[rows, channels, height, width]`.
        learning: whether only passes are kept that a gradient may flow back through.
    """

    def __init__(self, backbone: Backbone, layers: Sequence[str], learning: bool) -> None:
        self.backbone, self.layers, self.learning = backbone, layers, learning
        self.held = False
        """Whether later passes are not kept, until the maps are taken: other methods may run the network again."""
        self._kept: dict[str, Tensor] = {}
        modules = dict(backbone.named_modules())
        for layer in layers:
            if not layer or layer not in modules:
                top = ", ".join(name for name in modules if name and name.count(".") <= 1)
                raise UserError(
                    f"the backbone `{backbone.name}` has no layer `{layer}`", f"there are modules such as {top[:300]}"
                )
        self._hooks = [modules[layer].register_forward_hook(self._keep(layer)) for layer in layers]

    def take(self) -> list[Tensor]:
        """The maps of every layer, which are then let go. Raises UserError where a layer gave no such maps."""
        kept, self._kept, self.held = self._kept, {}, False
        for layer in self.layers:
            found = kept.get(layer)
            if not isinstance(found, Tensor) or found.ndim != 4 or self._channels(found) != found.shape[1]:
                shape = list(found.shape) if isinstance(found, Tensor) else "nothing of that kind"
                raise UserError(
                    f"the layer `{layer}` of `{self.backbone.name}` gives no maps [rows, channels, height, width], but "
                    f"{shape}",
                    "name a stage of a convolutional network",
                )
        return [kept[layer].float() for layer in self.layers]

    def remove(self) -> None:
        """Leave the network as it was."""
        for hook in self._hooks:
            hook.remove()

    def _channels(self, found: Tensor) -> int:
        return self.backbone.pooled(found).shape[1]  # some networks order dimensions otherwise

    def _keep(self, layer: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not self.held and (torch.is_grad_enabled() or not self.learning):
                self._kept[layer] = output

        return hook


def compare_sizes(student: Maps, teacher: Maps, example: Tensor, device: torch.device) -> None:
    """Raise UserError where, for a batch of one example, a layer of the student and one of the teacher differ in size.

    The teacher is on `device`, the student not yet.
    """
    training = student.backbone.training
    student.backbone.eval()(example)
    student.backbone.train(training)
    with torch.no_grad():
        teacher.backbone(to_device(example, device))
    layers = zip(student.layers, teacher.layers, strict=True)
    for (ours, theirs), s, t in zip(layers, student.take(), teacher.take(), strict=True):
        if s.shape[2:] != t.shape[2:]:
            raise UserError(
                f"maps of different sizes cannot be compared: {list(s.shape[2:])} of the student's layer `{ours}`, "
                f"{list(t.shape[2:])} of the teacher's `{theirs}`",
                "name layers of the same stage under `layers` and `teacher_layers`",
            )
