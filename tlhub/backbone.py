"""The pretrained network that turns inputs into features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from tlhub.component import Component
from tlhub.errors import UserError
from tlhub.ragged import Ragged

if TYPE_CHECKING:
    from tlhub.lineage import Origin
    from tlhub.model import Model
    from tlhub.task import Task


class Preprocess(Protocol):
    """Turns one raw input into what the network's batches are made of.

    `random` says whether two calls with the same input may differ (augmentation). A random one draws from torch's,
    NumPy's or Python's global generator, which the caller seeds for every example, so that a run repeats exactly.

    For examples of different lengths it may also have `many(raws) -> Ragged`, which makes all examples of a domain at
    once; the `remark` of what it gives is told to the user.

    It can be hashed, equals another that does the same (stored examples are known by it), and can be pickled (other
    processes may load examples). A frozen dataclass is all that.
    """

    @property
    def random(self) -> bool: ...

    def __call__(self, raw: Any) -> Any: ...


class Backbone(Component, nn.Module):
    """A network from a batch of inputs to features of shape `[examples, width]`.

    Args of a subclass are its settings. A subclass sets `width` in its constructor and may be constructed with
    `pretrained=False`-like settings; `rebuild` says which, so that loading a saved model fetches no weights twice.

    Class attributes:
        modality: what it reads, `image`, `text` or `vector`; empty where that is known once it is `resolved`.
        ragged: whether examples differ in length. Then `preprocess` gives whole numbers `[tokens, fields]`, and a batch
            is what `Ragged.batch` makes of them; examples of like length meet in a batch. Otherwise examples are
            tensors of one shape, and a batch is them stacked.
        word_settings: settings that make features `[examples, words, width]`, one for every word and zeros where an
            example has no more words, as tasks that answer every word need them; None where there are none.
    """

    modality: ClassVar[str]
    ragged: ClassVar[bool] = False
    word_settings: ClassVar[Mapping[str, Any] | None] = None
    width: int

    def forward(self, inputs: Any) -> Tensor:
        """Features `[examples, width]` of a collated batch."""
        raise NotImplementedError

    def stages(self) -> Sequence[Sequence[str]]:
        """Names of the parameters in groups, from input to output; every parameter in exactly one group."""
        raise NotImplementedError

    def preprocess(self, train: bool) -> Preprocess:
        """From a raw input (a PIL image, a text, a vector) to one example; with augmentation where `train` is true."""
        raise NotImplementedError

    @classmethod
    def collate(cls, examples: Sequence[Any]) -> Any:
        """A batch from examples."""
        return Ragged.of(examples).batch(torch.arange(len(examples))) if cls.ragged else torch.stack(list(examples))

    def activation(self, output: Any) -> Tensor:
        """The tensor in what one of the network's modules gave; override it where modules give more than a tensor.

        Raises UserError where there is none.
        """
        if not isinstance(output, Tensor):
            raise UserError(f"it gives a {type(output).__name__}, not a tensor", "name a module inside it")
        return output

    def pooled(self, output: Tensor, inputs: Any = None) -> Tensor:
        """`[rows, channels]` of a module's `activation`.

        Maps `[rows, channels, height, width]` and sequences `[rows, tokens, channels]` are averaged, without the
        padding of ragged `inputs`; override it where the network orders dimensions otherwise. Raises UserError for any
        other shape.
        """
        if output.ndim not in (2, 3, 4):
            raise UserError(
                f"it gives {output.ndim} dimensions {list(output.shape)}",
                "expected are [rows, channels], [rows, tokens, channels] or [rows, channels, height, width]",
            )
        if output.ndim == 3 and self.ragged and inputs is not None and output.shape[:2] == inputs["tokens"].shape[:2]:
            lengths = inputs["lengths"].to(output.device, non_blocking=True)[:, None]
            there = torch.arange(output.shape[1], device=output.device) < lengths
            mean: Tensor = (output * there[..., None]).sum(1) / lengths
            return mean
        return output if output.ndim == 2 else output.mean(1 if output.ndim == 3 else (2, 3))

    def resolved(self) -> Backbone:
        """The network to train: this one, unless it only says where another is found."""
        return self

    def origins(self) -> Sequence[Origin]:
        """The pretrained models it began with, pinned."""
        return ()

    def source_head(self) -> nn.Module | None:
        """The classifier that the pretrained weights came with: from features to logits `[examples, source classes]`.

        It belongs to the features as they were before any training, and is on the CPU. None where the weights are
        random or came without a classifier, and where that reads more than the features, or does not choose a class.
        """
        return None

    def rebuild(self) -> Mapping[str, Any]:
        """Settings that build this architecture again without its pretrained weights."""
        return self.settings

    def export(self, model: Model, task: Task, classes: Sequence[str] | None, folder: Path) -> str | None:
        """Write `model` to `folder` in the ecosystem's own format and name that format; None where it has no such form.

        The folder then loads with the ecosystem's own tools and gives the same logits. `load_exported` is the inverse.
        `task` is what the model answers, which some formats say.
        """
        return None

    def load_exported(self, model: Model, folder: Path) -> None:
        """Fill `model` (built with the right backbone, neck and head) from what `export` wrote to `folder`."""
        raise NotImplementedError
