"""The registry as a store: finished runs are kept by it, and models found by the names it gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tlhub.errors import UserError
from tlhub.store import Store
from tlhub_registry.refs import HUB, parse_hub
from tlhub_registry.registry import Registry

if TYPE_CHECKING:
    from tlhub.artifact import Adapted


class RegistryStore(Store):
    """Keeps every finished run on this disk, and fetches models from the Hugging Face Hub by their name."""

    name = "registry"
    places = "an entry such as `digits:3`, or `hub:OWNER/NAME`"

    def keep(self, folder: Path) -> str:
        entry = Registry().add(folder)
        return f"kept as {entry.ref}; `tlhub publish {entry.ref} OWNER/NAME` shares it"

    def locate(self, place: str) -> Path | None:
        registry = Registry()
        ref = parse_hub(place)
        if ref is not None:
            from tlhub_registry.pull import pull

            return registry.checkout(pull(ref, registry))
        try:
            entry = registry.find(place)
        except UserError:
            if "/" in place or "\\" in place:  # it may as well be a folder that is not there
                return None
            raise
        return registry.checkout(entry)


def pinned(place: str, found: Adapted) -> str:
    """The name that always means the model which was found at a place: of its entry, or of its commit on the Hub.

    A folder that the registry does not know keeps its name.
    """
    from tlhub.artifact import digest

    registry = Registry()
    equal = registry.by_digest(digest(found.record))
    if Path(place).is_dir():
        return equal[0].ref if equal else str(Path(place).resolve())
    ref = parse_hub(place)
    if ref is None:
        return registry.find(place).ref
    return next(entry.source for entry in equal if entry.source.startswith(f"{HUB}{ref.repo}@"))
