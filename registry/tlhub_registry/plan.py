"""What a published model consists of: which files, and what is in each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlhub.artifact import RECORD
from tlhub.checkpoint import sha256
from tlhub.diagnostics import quoted
from tlhub.errors import UserError
from tlhub.yaml_tree import dump
from tlhub_registry.base import README, Base, find, places
from tlhub_registry.card import card, licence
from tlhub_registry.confusion import picture
from tlhub_registry.delta import DELTA, WHOLE, shrink
from tlhub_registry.entry import Entry
from tlhub_registry.hub import Hub
from tlhub_registry.refs import HUB, HubRef
from tlhub_registry.registry import Registry
from tlhub_registry.scrub import scrubbed, scrubbed_file

MANIFEST, CONFUSION = "manifest.yaml", "confusion.png"

OURS = {README, RECORD, MANIFEST, CONFUSION, DELTA}
"""Files that are made when a model is published."""

TEXTS = {
    "config.json",
    "adapter_config.json",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
}
"""Files of a model besides safetensors. Nothing else is ever sent."""


@dataclass(frozen=True)
class Plan:
    """A repository as it is to be.

    Attributes:
        files: all files, by name: what is in them, or the file that is sent as it is.
        record: what `tlhub.json` says.
        unsent: names of what lies beside the model, and stays here.
        notes: what the user should know.
        costs: bytes of the repository in each form; None where that cannot be told without fetching the base.
    """

    files: Mapping[str, bytes | Path]
    record: Mapping[str, Any]
    unsent: Sequence[str]
    notes: Sequence[str]
    costs: Mapping[str, int | None]

    def size(self, name: str) -> int:
        """Of a file, in bytes."""
        return _size(self.files[name])


def allowed(name: str) -> bool:
    """Whether a file of that name may be in a repository of ours."""
    return name in TEXTS | OURS or (name.endswith(".safetensors") and "/" not in name)


def plan(
    entry: Entry, folder: Path, repo: str, hub: Hub, registry: Registry, work: Path, delta: bool, license: str | None
) -> Plan:
    """How an entry is published.

    Args:
        folder: its files.
        work: a folder for files that are made.
        delta: whether to send what changed of the base only.
        license: what the user says; by default the base's.

    Raises UserError where it cannot be published like that.
    """
    record: dict[str, Any] = {key: scrubbed(value) for key, value in entry.record.items() if key != "delta"}
    record["lineage"] = [_placed(origin, registry) for origin in record["lineage"]]
    _refuse_local_base(entry, record)
    whole = {name: _content(entry, folder, name) for name in entry.files}
    record["files"] = {name: _sha256(whole[name], digest) for name, digest in record["files"].items()}

    ref = next(iter(places(record["lineage"], "backbone")), None)
    if delta:
        _refuse_delta(entry, ref)
    base = None if ref is None else find(hub, ref, entry.files, fetch=delta)
    forms: dict[str, Mapping[str, bytes | Path] | None] = {"whole": whole}
    if base is not None and WHOLE in whole:
        known = WHOLE in base.files
        small = _changed(whole, base, work) if known else None
        if small is not None or not known:
            forms["delta"] = small
        if delta:
            record["delta"] = _told(base, whole, small or {})
    named, note = licence(license, base)
    image = picture(record)
    made: dict[str, bytes | Path] = {
        README: card(record, repo, base, named, image is not None).encode(),
        MANIFEST: dump(record["manifest"]).encode(),
        RECORD: json.dumps(record, ensure_ascii=False).encode() + b"\n",
    }
    if image is not None:
        made[CONFUSION] = image
    costs = {form: None if files is None else _total(files) + _total(made) for form, files in forms.items()}
    files = forms["delta" if delta else "whole"] or {}
    return Plan({**files, **made}, record, _unsent(entry), [note] if note else [], costs)


def _placed(origin: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """An origin, with its place on the Hub where this disk knows one."""
    known = registry.by_digest(origin["revision"]) if str(origin["revision"]).startswith("sha256:") else []
    found = [place for entry in known for place in (*entry.published, entry.source) if place.startswith(HUB)]
    hub = {"hub": found[0]} if found else {}
    return {**origin, **hub, "lineage": [_placed(each, registry) for each in origin["lineage"]]}


def _refuse_local_base(entry: Entry, record: Mapping[str, Any]) -> None:
    """Raise UserError where every load of the model needs a base that only this disk has."""
    local = record["backbone"] != entry.record["backbone"] or record["backbone"]["use"] == "artifact"
    if record.get("exporter") and local:
        raise UserError(
            f"`{entry.ref}` holds what it changed of a network that only this disk has: others could not load it",
            "publish that network first and adapt it by its name on the Hub, or adapt with `save: merged`",
        )


def _refuse_delta(entry: Entry, ref: HubRef | None) -> None:
    """Raise UserError where there is nothing a delta could be of."""
    if WHOLE not in entry.files:
        raise UserError(f"`{entry.ref}` holds what it changed of its base already", "publish it without --delta")
    if ref is None:
        raise UserError(
            f"`{entry.ref}` began with no model of the Hub whose commit is known, so there is no base for a delta",
            "publish it without --delta",
        )


def _content(entry: Entry, folder: Path, name: str) -> bytes | Path:
    """What is sent of a file of the model: the file, or its text without paths. Raises UserError for other kinds."""
    if name in OURS or not allowed(name):
        raise UserError(
            f"`{entry.ref}` is made of {quoted(name)}, which is no kind of file that is sent",
            "models are published as safetensors, with the configuration of their library",
        )
    file = folder / name
    if not name.endswith("config.json"):
        return file
    text = file.read_bytes()
    plain = scrubbed_file(text)
    return file if plain == text else plain


def _changed(whole: Mapping[str, bytes | Path], base: Base, work: Path) -> dict[str, bytes | Path] | None:
    """The files of a delta; None where the base has no tensor of the model."""
    weights = whole[WHOLE]
    assert isinstance(weights, Path)
    if not shrink(weights, base.files[WHOLE], work / DELTA):
        return None
    theirs = {name: path for name, path in base.files.items() if name != WHOLE}
    equal = [name for name, path in theirs.items() if _read(whole[name]) == path.read_bytes()]
    return {**{name: each for name, each in whole.items() if name not in (*equal, WHOLE)}, DELTA: work / DELTA}


def _told(base: Base, whole: Mapping[str, bytes | Path], sent: Mapping[str, bytes | Path]) -> dict[str, Any]:
    """What `tlhub.json` says of a delta: the base's file, and the files that are taken from it as they are."""
    if not sent:
        raise UserError(
            f"no tensor of the model is as in its base `{base.ref}`, so a delta would save nothing",
            "publish it without --delta; only what is frozen stays as it was",
        )
    file = {"repo": base.ref.repo, "revision": base.ref.revision, "file": WHOLE, "sha256": sha256(base.files[WHOLE])}
    return {"base": file, "same": sorted(whole.keys() - sent.keys() - {WHOLE})}


def _read(content: bytes | Path) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _sha256(content: bytes | Path, known: str) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else known


def _size(content: bytes | Path) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _total(files: Mapping[str, bytes | Path]) -> int:
    return sum(map(_size, files.values()))


def _unsent(entry: Entry) -> list[str]:
    """What lies in the run's folder, and is no part of the model."""
    folder = Path(entry.run) if entry.run else None
    if folder is None or not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if path.name not in {*entry.files, RECORD})
