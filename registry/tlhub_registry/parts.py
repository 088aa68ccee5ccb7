"""How a file is cut into parts, each stored by itself, so that equal tensors of different models are stored once.

A safetensors file is cut into its header, every tensor of at least `LARGE` bytes, and the runs of smaller ones between
them. Any other file is one part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from tlhub_registry.header import read_header

LARGE = 64 * 1024
"""Bytes from which on a tensor is a part of its own: a smaller one would cost more as a file than it can save."""

CHUNK = 1 << 20
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Part:
    """A stretch of a file: where it begins, how many bytes it has, and their sha256."""

    offset: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Content:
    """What a file holds: the sha256 of all, and its parts in order."""

    sha256: str
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(part.size for part in self.parts)


def content(path: Path) -> Content:
    """Read a file once, for the sha256 of it and of its parts."""
    with path.open("rb") as file:
        whole = hashlib.sha256()
        parts = []
        for size in _sizes(file):
            offset, part = file.tell(), hashlib.sha256()
            for chunk in chunks(file, size):
                whole.update(chunk)
                part.update(chunk)
            parts.append(Part(offset, file.tell() - offset, part.hexdigest()))
    return Content(whole.hexdigest(), tuple(parts))


def chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The next `size` bytes of a file, `CHUNK` at a time; fewer where it ends."""
    while chunk := file.read(min(CHUNK, size)):
        size -= len(chunk)
        yield chunk


def _sizes(file: BinaryIO) -> list[int]:
    """The sizes of the parts; the file is at its beginning before and afterwards."""
    size = file.seek(0, 2)
    file.seek(0)
    try:
        cuts = _cuts(file, size) if file.name.endswith(".safetensors") else []
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        cuts = []  # it is not what its name says, and stored as it is
    file.seek(0)
    edges = [0, *cuts, size]
    return [end - start for start, end in pairwise(edges) if end > start] or [0]


def _cuts(file: BinaryIO, size: int) -> list[int]:
    """Where a safetensors file is cut. Raises ValueError and such where its header makes no sense."""
    _, tensors = read_header(file)
    large = sorted((each.begin, each.end) for each in tensors.values() if each.size >= LARGE)
    cuts = [file.tell()] if large else []
    for begin, end in large:
        if not cuts[-1] <= begin <= end <= size:
            raise ValueError("tensors that overlap")
        cuts += [begin, end]
    return cuts
