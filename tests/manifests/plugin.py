"""A plugin with one small component of every sort that a manifest can name; none of them can train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tlhub.adapter import Adapter, Need
from tlhub.backbone import Backbone
from tlhub.data import Dataset
from tlhub.errors import SettingError
from tlhub.hookspecs import hookimpl
from tlhub.task import Task
from tlhub.validator import Validator


class Net(Backbone):
    """A network over images.

    Args:
        depth: how many layers it has.
        weights: a file with its weights.
    """

    name = "net"
    modality = "image"

    def __init__(self, depth: Annotated[int, Field(gt=0)] = 18, weights: Path | None = None) -> None:
        super().__init__()
        raise AssertionError("a backbone is too heavy to be made for a check")


class Reader(Backbone):
    """A network over texts."""

    name = "reader"
    modality = "text"


class Align(Adapter):
    """Aligns two domains. It says no more.

    Args:
        strength: factor of the term in the loss.
        hidden: width of the
            discriminator.
        mode: which mean it takes.
        layers: numbers of the layers.
        soft: whether it is soft.
        copy: how often it copies.
    """

    name = "align"
    needs = frozenset({Need.SOURCE, Need.TARGET})
    paper = "Somebody 2016"

    def __init__(
        self,
        strength: Annotated[float, Field(gt=0)] = 1.0,
        hidden: int = 64,
        mode: Literal["biased", "unbiased"] = "biased",
        layers: tuple[int, ...] = (1,),
        soft: bool = False,
        copy: int = 1,
    ) -> None:
        super().__init__()
        if mode == "unbiased" and soft:
            raise SettingError("soft", "a soft mean is always biased", "leave `soft` out")


class Freeze(Adapter):
    """Freezes some stages.

    Args:
        stages: how many.
    """

    name = "freeze"

    def __init__(self, stages: int) -> None:
        super().__init__()
        if stages < 0:
            raise ValueError("fewer than no stages")


class Boost(Adapter):
    """Trains once per learner, and needs the target's labels."""

    name = "boost"
    needs = frozenset({Need.TARGET_LABELS})

    def __init__(self, rounds: int = 5) -> None:
        super().__init__()
        self.rounds = rounds


class Words(Adapter):
    """Masks words."""

    name = "words"
    modalities = frozenset({"text"})


class _Data(Dataset):
    def splits(self) -> list[str]:
        return []

    def open(self, split: str | None, labels: bool) -> None:  # type: ignore[override]
        raise AssertionError("a check reads no data")


class Folder(_Data):
    """Images in a folder.

    Args:
        path: the folder.
    """

    name = "folder"
    modality = "image"

    def __init__(self, path: Path) -> None:
        pass


class Table(_Data):
    """Rows of a table.

    Args:
        text: the column with texts; images otherwise.
    """

    name = "table"

    def __init__(self, text: str | None = None) -> None:
        self.modality = "text" if text else "image"


class Classes(Task):
    """Which class."""

    name = "classes"
    metric = "accuracy"
    head = loss = score = answer = None  # type: ignore[assignment]


class Entropy(Validator):
    """How sure the model is."""

    name = "entropy"
    score = None  # type: ignore[assignment]


@hookimpl
def tlhub_backbones() -> list[type[Backbone]]:
    return [Net, Reader]


@hookimpl
def tlhub_adapters() -> list[type[Adapter]]:
    return [Align, Freeze, Boost, Words]


@hookimpl
def tlhub_datasets() -> list[type[Dataset]]:
    return [Folder, Table]


@hookimpl
def tlhub_tasks() -> list[type[Task]]:
    return [Classes]


@hookimpl
def tlhub_validators() -> list[type[Validator]]:
    return [Entropy]
