"""The pretrained model on the Hub that another one began with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlhub.errors import UserError
from tlhub_registry.delta import WHOLE
from tlhub_registry.hub import Hub
from tlhub_registry.refs import HubRef, parse_hub

README = "README.md"


@dataclass(frozen=True)
class Base:
    """A pretrained model at a commit.

    Attributes:
        files: those of its files that are on this disk, by name.
        card: the metadata of its card.
    """

    ref: HubRef
    files: Mapping[str, Path]
    card: Mapping[str, Any]


def places(lineage: Sequence[Mapping[str, Any]], role: str) -> list[HubRef]:
    """Where on the Hub the models of a role are, of those that are pinned there."""
    found = (_place(origin) for origin in lineage if origin["role"] == role)
    return [ref for ref in found if ref is not None and ref.pinned]


def _place(origin: Mapping[str, Any]) -> HubRef | None:
    if "hub" in origin:
        return parse_hub(origin["hub"])
    return HubRef(origin["name"], origin["revision"])


def find(hub: Hub, ref: HubRef, names: Collection[str], fetch: bool) -> Base:
    """The base with those of the named files that it has: fetched, or without `fetch` as far as they are cached.

    Raises UserError where `fetch` is asked for and fails, or the base has no `model.safetensors`.
    """
    try:
        card = read_card(hub.download(ref.repo, str(ref.revision), README))
    except UserError:  # then nothing is known of it
        card = {}
    if fetch:
        return Base(ref, _fetched(hub, ref, names), card)
    cached = {name: hub.cached(ref.repo, str(ref.revision), name) for name in names}
    return Base(ref, {name: path for name, path in cached.items() if path is not None}, card)


def _fetched(hub: Hub, ref: HubRef, names: Collection[str]) -> dict[str, Path]:
    there = hub.files(ref.repo, str(ref.revision))
    if WHOLE not in there:
        raise UserError(f"`{ref}` has no {WHOLE}, of which a delta could be made", "publish without --delta")
    found = {name: hub.download(ref.repo, str(ref.revision), name) for name in names if name in there}
    damaged = next((path for name, path in found.items() if not there[name].holds(path)), None)
    if damaged is not None:
        raise UserError(f"{damaged} is damaged: it is not what `{ref}` holds", "remove it from the client's cache")
    return found


def read_card(path: Path) -> dict[str, Any]:
    """The metadata of a README.md; nothing where it is none that the client reads."""
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        data: Any = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True).data
        return dict(data.to_dict())
    except (ValueError, YAMLError):  # somebody else's card, with metadata that is none
        return {}
