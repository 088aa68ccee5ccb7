"""Immutable files named by their sha256: `blobs/ab/<sha256>`."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from tlhub.errors import ArtifactError
from tlhub_registry.parts import Part, chunks

_PARTIAL = "partial-"


class Blobs:
    """The blobs in a folder. A blob is whole from the moment it has its name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, sha256: str) -> Path:
        """Where a blob is, or would be."""
        return self.folder / sha256[:2] / sha256

    def holds(self, part: Part) -> bool:
        """Whether there is such a blob, of that size; its content is not read."""
        try:
            return self.path(part.sha256).stat().st_size == part.size
        except FileNotFoundError:
            return False

    def write(self, source: Path, part: Part) -> None:
        """Write a part of a file as a blob, in place of what is there. It is on the disk only after `sync`.

        Raises ArtifactError where the part is not as it was when it was hashed.
        """
        from tlhub.checkpoint import sync

        target = self.path(part.sha256)
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync(self.folder)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=_PARTIAL)
        try:
            with source.open("rb") as file, os.fdopen(handle, "wb") as out:
                file.seek(part.offset)
                digest = hashlib.sha256()
                for chunk in chunks(file, part.size):
                    digest.update(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(handle)
            if digest.hexdigest() != part.sha256:
                raise ArtifactError(f"{source} changed while it was read", "try again")
            with suppress(FileNotFoundError):  # a garbage collection took it; whoever needs it looks once more
                Path(name).chmod(0o444)
                Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)

    def sync(self, parts: Iterable[Part]) -> None:
        """Make sure that blobs keep their names when the power fails."""
        from tlhub.checkpoint import sync

        for folder in {self.path(part.sha256).parent for part in parts}:
            sync(folder)

    def found(self) -> Iterator[Path]:
        """Every blob there is."""
        return self.folder.glob("??/*")

    def leftovers(self) -> Iterator[Path]:
        """What is being written now, or was by a process that is no more."""
        return self.folder.glob(f"{_PARTIAL}*")


def sha256_of(path: Path, part: Part) -> str:
    """The sha256 of a stretch of a file as it is now."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(part.offset)
        for chunk in chunks(file, part.size):
            digest.update(chunk)
    return digest.hexdigest()
