"""Where adapted models are kept, and found again by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tlhub.component import Component
from tlhub.errors import ArtifactError

if TYPE_CHECKING:
    from tlhub.catalog import Catalog


class Store(Component, ABC):
    """A place that keeps adapted models. Every installed one keeps every finished run; it has no settings.

    Class attributes:
        places: how its models are named, for messages, such as "an entry like `digits:3`".
    """

    places: ClassVar[str]

    @abstractmethod
    def keep(self, folder: Path) -> str:
        """Keep the finished run in `folder`, and say where, in one sentence; a run kept already is not kept twice.

        Raises UserError or OSError where it cannot; the run itself is not harmed by that.
        """

    @abstractmethod
    def locate(self, place: str) -> Path | None:
        """A folder with the files of the model of that name; None where the name is none of this store's.

        Raises UserError where the name is one of this store's, and there is no such model, or it cannot be had.
        """


def locate(place: str | Path, catalog: Catalog) -> Path:
    """The folder of an adapted model: the folder itself, or what a store knows by that name.

    Raises UserError where there is none.
    """
    if Path(place).is_dir():
        return Path(place)
    stores: list[Store] = [catalog.create("stores", entry.name, {}) for entry in catalog.entries("stores")]
    for store in stores:
        found = store.locate(str(place))
        if found is not None:
            return found
    known = "".join(f", {store.places}" for store in stores)
    raise ArtifactError(f"there is no adapted model `{place}`", f"name a folder that `tlhub adapt` left{known}")
