"""Freezing a part of the network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field
from torch import nn

from tlhub.adapter import Adapter
from tlhub.errors import SettingError, UserError
from tlhub.model import Model
from tlhub.run import Run


class PartialFreeze(Adapter):
    """Keeps a part of the network as it was pretrained: its parameters, and the running statistics of its batch norms.

    Yosinski et al. 2014 freeze the first n layers; here a layer is one of the backbone's stages. Exactly one of
    `stages` and `names` is given. Deviation: frozen batch norms normalise by their pretrained statistics during
    training too, so that nothing of what is frozen moves.

    Args:
        stages: how many of the backbone's stages to freeze, from the input; `all`: the whole backbone.
        names: the parameters to freeze, by name or pattern, such as `conv1.*` or `*.bias`; the backbone's with or
            without `backbone.` in front, those of the neck and the head as `neck.*` and `head.*`.
        train_norms: whether normalisation layers in the frozen part go on learning: their weights and biases, and with
            them the running statistics of batch norms. Off, because a frozen part then is exactly what it was.
    """

    name = "partial_freeze"
    paper = "Yosinski et al. 2014, How transferable are features in deep neural networks?, arXiv:1411.1792"

    def __init__(
        self,
        stages: Annotated[int, Field(gt=0)] | Literal["all"] | None = None,
        names: Annotated[list[str], Field(min_length=1)] | None = None,
        train_norms: bool = False,
    ) -> None:
        super().__init__()
        if (stages is None) == (names is None):
            raise SettingError(
                "stages" if names is None else "names",
                "`partial_freeze` takes either `stages` or `names`, one of them",
                "write `stages: 2`, `stages: all`, or `names: [conv1.*]`",
            )
        self.stages, self.names, self.train_norms = stages, names, train_norms

    def prepare(self, run: Run) -> None:
        chosen = _by_names(run.model, self.names) if self.names else self._by_stages(run)
        kept = {id(parameter) for parameter in _norms(run.model)} if self.train_norms else set()
        run.model.freeze(parameter for parameter in chosen if id(parameter) not in kept)
        if not any(parameter.requires_grad for parameter in run.model.parameters()):
            raise UserError("`partial_freeze` leaves nothing of the model to train", "freeze less: the head must learn")

    def _by_stages(self, run: Run) -> list[nn.Parameter]:
        number = len(run.stages) if self.stages == "all" else self.stages
        assert isinstance(number, int)
        if number > len(run.stages):
            raise UserError(
                f"`partial_freeze` is to freeze {number} stages; `{run.model.backbone.name}` has {len(run.stages)}",
                "write `stages: all` for the whole backbone",
            )
        return [parameter for stage in run.stages[:number] for parameter in stage]


def _by_names(model: Model, patterns: list[str]) -> list[nn.Parameter]:
    parameters = dict(model.named_parameters())
    matches = {pattern: [name for name in parameters if _match(name, pattern)] for pattern in patterns}
    for pattern, found in matches.items():
        if not found:
            names = list(parameters)
            some = names if len(names) <= 8 else [*names[:4], "...", *names[-4:]]
            raise UserError(f"`partial_freeze`: no parameter is called `{pattern}`", f"there are {', '.join(some)}")
    return [parameters[name] for found in matches.values() for name in found]


def _match(name: str, pattern: str) -> bool:
    name = re.sub(r"\.(base_layer|lora_[AB]\.default)\.", ".", name)  # `lora` puts layers around layers
    return fnmatchcase(name, pattern) or fnmatchcase(name.removeprefix("backbone."), pattern)


def _norms(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of normalisation layers, told by the class's name, since networks bring their own (LlamaRMSNorm)."""
    for module in model.modules():
        if "norm" in type(module).__name__.lower():
            yield from module.parameters(recurse=False)
