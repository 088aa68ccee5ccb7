"""Garbage collection: removing what no entry of the registry needs."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from tlhub.errors import ArtifactError
from tlhub_registry.registry import Registry


@dataclass(frozen=True)
class Garbage:
    """What no entry needs.

    Attributes:
        blobs: those of removed entries, and of processes that were killed while they added one.
        checkouts: folders put together for loading, which nobody asked for in an hour.
        size: of both together, in bytes.
    """

    blobs: tuple[Path, ...]
    checkouts: tuple[Path, ...]
    size: int


def orphans(registry: Registry, db: sqlite3.Connection) -> list[Path]:
    """The blobs that no entry names, and what is left of unfinished ones.

    Some may belong to an entry that another process is adding now.
    """
    named = {blob for (blob,) in db.execute("SELECT DISTINCT blob FROM parts")}
    return sorted([*(path for path in registry.blobs.found() if path.name not in named), *registry.blobs.leftovers()])


def collect(registry: Registry, *, dry_run: bool = False) -> Garbage:
    """Remove blobs and checkouts that no entry needs; with `dry_run`, only find them.

    Other processes may add entries meanwhile: blobs are removed while nobody may write a row, and whoever may write one
    next looks for its blobs once more.

    Raises ArtifactError where there are blobs but no database that could tell what they are.
    """
    if not registry.database.path.exists():
        if any(registry.blobs.found()):
            raise ArtifactError(
                f"{registry.database.path} is gone, so which blobs are needed cannot be told",
                f"put a copy of it from a backup there, or remove {registry.root}",
            )
        return Garbage((), (), 0)
    with registry.database.writing() as db:
        blobs = orphans(registry, db)
        checkouts = list(registry.checkouts.idle())
        size = sum(map(_size, [*blobs, *checkouts]))
        if not dry_run:
            for path in blobs:
                path.unlink(missing_ok=True)  # a writer may have finished or given up its partial one
            for path in checkouts:
                shutil.rmtree(path, ignore_errors=True)
    return Garbage(tuple(blobs), tuple(checkouts), size)


def _size(path: Path) -> int:
    """Of a file, or of the files in a folder, in bytes."""
    try:
        return sum(map(_size, path.iterdir())) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return 0
