"""Fetching an adapted model from the Hub: pinned, looked at before it is believed, and checked byte by byte."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlhub.artifact import RECORD
from tlhub.checkpoint import sha256
from tlhub.errors import ArtifactError, UserError
from tlhub_registry import vetting
from tlhub_registry.delta import DELTA, WHOLE, assemble
from tlhub_registry.entry import Entry
from tlhub_registry.hub import Hub, RemoteFile
from tlhub_registry.refs import HubRef
from tlhub_registry.registry import Registry

ATTEMPTS = 2
"""How often a file is fetched that arrives damaged."""

_PARTIAL = "pull-"
_ABANDONED = 24 * 3600
"""Seconds after which a folder that a killed process left is removed."""


def pull(ref: HubRef, registry: Registry) -> Entry:
    """The entry of a model on the Hub, at the commit that its revision means now; fetched if it is not here yet.

    It is found by the repository's name, and by `hub:OWNER/NAME@COMMIT`, without a connection.

    Raises UserError where it cannot be fetched, is none that tlhub wrote, or holds what tlhub does not read: then
    nothing is kept.
    """
    hub = Hub()
    pulled = [entry for entry in registry.entries(ref.repo) if entry.source.startswith(f"{HubRef(ref.repo)}@")]
    try:
        commit = ref.revision if ref.revision and ref.pinned else hub.resolve(ref.repo, ref.revision)
    except UserError as error:
        if pulled:
            error.hint = f"{error.hint or ''}\nhere is what was pulled before: `{pulled[0].ref}`".strip()
        raise
    pinned = HubRef(ref.repo, commit)
    for entry in pulled:
        if entry.source == str(pinned):
            return entry
    with _folder(registry.root) as folder:
        _fetch(hub, pinned, folder)
        return registry.add(folder, name=ref.repo, source=str(pinned))


@contextmanager
def _folder(root: Path) -> Iterator[Path]:
    """A folder on the registry's disk, which is removed at the end. Raises UserError where the disk refuses."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        for old in root.glob(f"{_PARTIAL}*"):
            if time.time() - old.stat().st_mtime > _ABANDONED:
                shutil.rmtree(old, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=_PARTIAL) as folder:
            yield Path(folder)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"the model cannot be written to {root}: {reason}", "make room there") from None


def _fetch(hub: Hub, ref: HubRef, folder: Path) -> None:
    """Fill a folder with the model at a commit. Raises UserError where it is refused."""
    place = str(ref)
    there = hub.files(ref.repo, ref.revision or "main")
    vetting.check_names(place, there)
    vetting.check_record_is_there(place, there)
    _fetch_file(hub, ref, RECORD, there, folder)
    record = vetting.read_record(place, folder / RECORD)
    delta = record.get("delta")
    elsewhere = {WHOLE, *delta["same"]} if delta else set()
    for name in [*(record["files"].keys() - elsewhere), *([DELTA] if delta else [])]:
        _fetch_file(hub, ref, name, there, folder)
    if delta:
        _complete(hub, delta, folder)
    _check_files(place, folder, record)
    vetting.check_content(place, folder, record)


def _fetch_file(hub: Hub, ref: HubRef, name: str, there: Mapping[str, RemoteFile], folder: Path) -> None:
    """Fetch one file, and see that it is the one that the Hub has."""
    if name not in there:
        raise ArtifactError(f"`{ref}` is not whole: it has no `{name}`", "its owner has to publish it again")
    vetting.check_size(str(ref), name, there[name].size)
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory(dir=folder) as cache:
            found = hub.download(ref.repo, ref.revision or "main", name, Path(cache)).resolve()
            if there[name].holds(found):
                found.replace(folder / name)
                return
    raise ArtifactError(
        f"`{name}` of `{ref}` arrived damaged, {ATTEMPTS} times: its content is not what the Hub says it sent",
        "pull it again; if that does not help, ask whoever runs the network or the mirror between",
    )


def _complete(hub: Hub, delta: Mapping[str, Any], folder: Path) -> None:
    """Put the model together from its changes and the base, which is fetched once into the client's own cache."""
    base = delta["base"]
    weights = hub.download(base["repo"], base["revision"], base["file"])
    if sha256(weights) != base["sha256"]:
        raise ArtifactError(
            f"{weights} is not the base that the model was made from: its sha256 differs",
            "remove the file and pull again: it is fetched anew",
        )
    assemble(folder, weights)
    (folder / DELTA).unlink()
    for name in delta["same"]:
        shutil.copyfile(hub.download(base["repo"], base["revision"], name), folder / name)


def _check_files(place: str, folder: Path, record: Mapping[str, Any]) -> None:
    for name, digest in record["files"].items():
        if sha256(folder / name) != digest:
            raise ArtifactError(
                f"`{name}` of `{place}` is not the one that its {RECORD} names: the sha256 differs",
                "somebody changed it after it was published; its owner has to publish it again",
            )
