"""Folders with an entry's files, put together from blobs: what loads a model reads these."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tlhub.errors import ArtifactError
from tlhub_registry.blobs import Blobs
from tlhub_registry.entry import Entry
from tlhub_registry.parts import Part, chunks, content

RECORD = "tlhub.json"

IDLE = 3600.0
"""Seconds after which a checkout that nobody asked for may be removed: loading it has ended by then."""


class Checkouts:
    """The checkouts in a folder: a cache, which is checked whenever it is asked."""

    def __init__(self, folder: Path, blobs: Blobs) -> None:
        self.folder, self.blobs = folder, blobs

    def get(self, entry: Entry, record: str, layout: Mapping[str, tuple[Part, ...]]) -> Path:
        """The folder with an entry's files and its record.

        Args:
            record: the text of `tlhub.json`.
            layout: the parts of each file.

        Raises ArtifactError naming the file that is not as it was added.
        """
        place = self.path(hashlib.sha256(record.encode()).hexdigest())
        with suppress(FileNotFoundError):
            os.utime(place)  # it is not idle from now on
        if _is_whole(place, entry, record):
            return place
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=self.folder, prefix="partial-"))
        try:
            for name, parts in layout.items():
                if self._assembled(parts, partial / name) != entry.files[name].sha256:
                    raise ArtifactError(
                        f"`{name}` of {entry.ref} is damaged in the registry",
                        "`tlhub registry fsck --repair` looks for another copy",
                    )
            (partial / RECORD).write_bytes(record.encode())
            for path in partial.iterdir():
                path.chmod(0o444)
            partial.chmod(0o755)
            try:
                partial.rename(place)
            except OSError:
                if not _is_whole(place, entry, record):  # else another process made the same
                    shutil.rmtree(place)
                    partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return place

    def path(self, record_sha256: str) -> Path:
        """Where the checkout of the entry with this record is, or would be."""
        return self.folder / record_sha256

    def idle(self) -> Iterator[Path]:
        """The checkouts, whole or not, that nobody asked for in a while."""
        for path in self.folder.glob("*"):
            with suppress(FileNotFoundError):  # one that was just given its name
                if time.time() - path.stat().st_mtime > IDLE:
                    yield path

    def _assembled(self, parts: tuple[Part, ...], target: Path) -> str | None:
        """Put a file together; its sha256, or None where a blob is missing."""
        digest = hashlib.sha256()
        with target.open("wb") as out:
            for part in parts:
                try:
                    with self.blobs.path(part.sha256).open("rb") as blob:
                        for chunk in chunks(blob, part.size):
                            digest.update(chunk)
                            out.write(chunk)
                except FileNotFoundError:
                    return None
        return digest.hexdigest()


def _is_whole(place: Path, entry: Entry, record: str) -> bool:
    try:
        if (place / RECORD).read_bytes() != record.encode():
            return False
        return all(content(place / name).sha256 == file.sha256 for name, file in entry.files.items())
    except FileNotFoundError:
        return False
