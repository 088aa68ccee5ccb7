"""What a safetensors file says of its tensors, before any of them is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import BinaryIO

LONGEST = 10_000_000
"""Bytes of a header that is read: that of more tensors than the largest networks have."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is in its file, and what its bytes mean."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.begin


def read_header(file: BinaryIO) -> tuple[bytes, dict[str, Tensor]]:
    """A file's header as it is, and its tensors by name; the file then stands behind the header.

    Raises ValueError, KeyError, TypeError, AttributeError or RecursionError where it is none.
    """
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST:
        raise ValueError("a header too long")
    header = file.read(length)
    if len(header) < length:
        raise ValueError("a header longer than the file")
    return header, tensors_of(header, 8 + length)


def tensors_of(header: bytes, begin: int) -> dict[str, Tensor]:
    """The tensors that a header names, of which the first byte is at `begin`. Raises as `read_header` does."""
    found = {}
    for name, told in json.loads(header).items():
        if name != "__metadata__":
            first, last = told["data_offsets"]
            shape = tuple(told["shape"])
            if not all(isinstance(number, int) for number in (first, last, *shape)) or not 0 <= first <= last:
                raise ValueError(f"`{name}` has no place")
            found[name] = Tensor(told["dtype"], shape, begin + first, begin + last)
    return found
