"""Backbone, neck and head as one network, and how a joint batch of several domains passes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tlhub.backbone import Backbone
from tlhub.errors import UserError
from tlhub.head import Head

MAP = "map of "
"""Before a module's name: its output as it is, not pooled."""


@dataclass(frozen=True)
class Seen:
    """A batch as the model saw it.

    Attributes:
        features: `[rows, width]`, what the head read; where it answers every word, their mean over an example's words.
        logits: `[rows, outputs]`, or `[rows, words, outputs]`, zeros where an example has no more words.
        layers: `[rows, width]` of `backbone` and all tapped modules; `MAP` and a name for what is not pooled.
    """

    features: Tensor
    logits: Tensor
    layers: Mapping[str, Tensor]

    def map(self, name: str) -> Tensor:
        """What a module gave that was tapped with `pooled=False`."""
        return self.layers[f"{MAP}{name}"]


class Model(nn.Module):
    """Backbone -> neck -> head; `features` is what the head reads."""

    def __init__(self, backbone: Backbone, neck: Head, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.taps: list[str] = []

    def forward(self, inputs: Any) -> Tensor:
        """Logits `[examples, outputs]` of a collated batch."""
        return self.see(inputs).logits

    def see(self, inputs: Any) -> Seen:
        """Features, logits and tapped layers of a collated batch.

        Raises UserError where a tapped module does not run, or gives what cannot be told apart by example.
        """
        layers: dict[str, Tensor] = {}
        hooks = [
            self.backbone.get_submodule(tap.removeprefix(MAP)).register_forward_hook(self._keep(layers, tap, inputs))
            for tap in self.taps
        ]
        try:
            out = self.backbone(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        for tap in self.taps:
            if tap not in layers:
                raise _untappable(tap, "it does not run when features are computed", "name one that does")
            if len(layers[tap]) != len(out):
                reason = f"it gives {len(layers[tap])} rows for {len(out)} examples"
                raise _untappable(tap, reason, "name a module around it")
        return self.see_features(out, layers)

    def see_features(self, features: Tensor, layers: Mapping[str, Tensor] | None = None) -> Seen:
        """The same from the backbone's output."""
        inner = self.neck(features)
        logits = self.head(inner)
        if features.ndim == 3:
            words = (features != 0).any(-1, keepdim=True)
            count = words.sum(1).clamp(min=1)
            features, inner = ((given * words).sum(1) / count for given in (features, inner))
            logits = logits * words
        return Seen(inner, logits, {"backbone": features, **(layers or {})})

    def tap(self, layer: str, pooled: bool = True) -> None:
        """Let adapters see a module of the backbone as `view.layer(name)`, as they always see `features` and `logits`.

        A module's output is averaged over all but its batch and channel dimensions, as `Backbone.pooled` says. Where
        `pooled` is false it is seen as it is, by `view.map(name)`. Raises UserError where there is no such module.
        """
        always = ("features", "logits", "backbone") if pooled else ()
        if layer in always:
            return
        names = [name for name, _ in self.backbone.named_modules() if name]
        if layer not in names:
            top = ", ".join(name for name in names if name.count(".") <= 1)
            known = ", ".join([*(f"`{name}`" for name in always), f"modules such as {top[:300]}"])
            raise UserError(f"the backbone `{self.backbone.name}` has no layer `{layer}`", f"there are {known}")
        tap = layer if pooled else f"{MAP}{layer}"
        if tap not in self.taps:
            self.taps.append(tap)

    def train(self, mode: bool = True) -> Model:
        """Like nn.Module's, but what is frozen stays in evaluation mode, so that no running statistic of it moves."""
        super().train(mode)
        if mode:
            for module in _frozen(self):
                module.eval()
        return self

    def _keep(self, layers: dict[str, Tensor], tap: str, inputs: Any) -> Callable[[nn.Module, Any, Any], None]:
        """A hook that puts what a module gives into `layers`."""

        def hook(module: nn.Module, given: Any, output: Any) -> None:
            try:
                activation = self.backbone.activation(output)
                layers[tap] = activation if tap.startswith(MAP) else self.backbone.pooled(activation, inputs)
            except UserError as error:
                raise _untappable(tap, error.message, error.hint) from error

        return hook

    @property
    def backbone_learns(self) -> bool:
        """Whether training may change the features."""
        return any(parameter.requires_grad for parameter in self.backbone.parameters())

    def freeze(self, parameters: Iterable[nn.Parameter]) -> None:
        """Stop training these parameters, and with them the running statistics of the modules they are all of."""
        for parameter in parameters:
            parameter.requires_grad_(False)


def _frozen(module: nn.Module) -> Iterable[nn.Module]:
    """The outermost modules that have parameters, none of which is trained."""
    if any(parameter.requires_grad for parameter in module.parameters()):
        for child in module.children():
            yield from _frozen(child)
    elif next(module.parameters(), None) is not None:
        yield module


def _untappable(tap: str, reason: str, hint: str | None) -> UserError:
    return UserError(f"the backbone's layer `{tap.removeprefix(MAP)}` cannot be looked at: {reason}", hint)


class SeparateBatchNorm(TorchFunctionMode):
    """Normalises each part of a joint batch by its own statistics; the running ones follow the last part alone.

    The parts are the sources' rows and the targets' rows. The trained model is for the target: that is whose statistics
    it should leave with.

    Args:
        sizes: rows of every part, in their order in the batch.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return self._batch_norm(*args, **kwargs)

    def _batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or len(input) != sum(self.sizes):
            return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
        *others, last = torch.split(input, self.sizes)
        outputs = [F.batch_norm(part, None, None, weight, bias, True, momentum, eps) for part in others]
        outputs.append(F.batch_norm(last, running_mean, running_var, weight, bias, True, momentum, eps))
        return torch.cat(outputs)


def normalisation(kind: str, sizes: Sequence[int]) -> AbstractContextManager[Any]:
    """The context for one forward pass of a joint batch under `train.batch_norm`."""
    return SeparateBatchNorm(sizes) if kind == "separate" and len(sizes) > 1 else nullcontext()


def memory_order(device: torch.device) -> torch.memory_format:
    """The order of images and convolutions in memory: channels last, where that is fastest; logits depend on it."""
    return torch.contiguous_format if device.type == "mps" else torch.channels_last


def batch_norms(model: nn.Module) -> list[str]:
    """Names of the modules that would take statistics from a training batch."""
    kinds = (nn.modules.batchnorm._BatchNorm,)
    return [name for name, module in model.named_modules() if isinstance(module, kinds) and module.training]
