"""A model as what it changed of a pretrained one: `delta.safetensors` holds the tensors that are not in the base.

Tensors are told equal by their type, shape and bytes, whatever they are called. The metadata of the file keeps the
original header and the base's names, so that the original is put together again byte for byte.

`tlhub.json` then says under `delta` which file that is, `base: {repo, revision, file, sha256}`, and which files of the
model are the base's own, `same: [tokenizer.json]`. What it says under `files` is of the model put together.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tlhub.errors import ArtifactError

WHOLE = "model.safetensors"
DELTA = "delta.safetensors"

_CHUNK = 1 << 20
_LONGEST_HEADER = 50_000_000
"""Bytes: that of ten times as many tensors as the largest networks have."""


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor is in its file, and what its bytes mean."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def size(self) -> int:
        return self.end - self.begin


def shrink(whole: Path, base: Path, out: Path) -> int:
    """Write to `out` the tensors of `whole` that are not in `base`; how many bytes of tensors that saves."""
    with whole.open("rb") as file, base.open("rb") as other:
        header, tensors = _header(file)
        _, known = _header(other)
        sizes = {(each.kind, each.shape) for each in tensors.values()}
        names = {_key(other, each): name for name, each in known.items() if (each.kind, each.shape) in sizes}
        shared = {name: names[key] for name, each in tensors.items() if (key := _key(file, each)) in names}
        changed = {name: each for name, each in tensors.items() if name not in shared}
        renamed = {name: at for name, at in shared.items() if name != at}
        metadata = {"header": _packed(header), "base": _packed(json.dumps(renamed).encode())}
        layout: dict[str, Any] = {"__metadata__": metadata}
        position = 0
        for name, each in changed.items():
            offsets = [position, position + each.size]
            layout[name] = {"dtype": each.kind, "shape": each.shape, "data_offsets": offsets}
            position += each.size
        text = json.dumps(layout).encode()
        text += b" " * (-len(text) % 8)
        with out.open("wb") as to:
            to.write(len(text).to_bytes(8, "little") + text)
            for each in changed.values():
                _copy(file, each, to)
    return sum(tensors[name].size for name in shared)


def assemble(folder: Path, base: Path) -> Path:
    """The whole `model.safetensors`, put together in `folder` from its `delta.safetensors` and the base's file.

    It is byte by byte what the delta was made of; whoever calls compares its sha256 with the record's.

    Raises ArtifactError where the two do not fit together.
    """
    whole = folder / WHOLE
    try:
        with (folder / DELTA).open("rb") as file, base.open("rb") as other, whole.open("wb") as to:
            _, changed = _header(file)
            _, known = _header(other)
            header = _unpacked(_metadata(file)["header"])
            names = json.loads(_unpacked(_metadata(file)["base"]))
            tensors = _tensors(header, 0)
            if sum(each.size for each in tensors.values()) > 2 * (_size(file) + _size(other)):
                raise ValueError("more than its parts hold")
            to.write(len(header).to_bytes(8, "little") + header)
            position = 0
            for name, each in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
                here, source = (changed[name], file) if name in changed else (known[names.get(name, name)], other)
                if each.begin != position or here.size != each.size:
                    raise ValueError(f"`{name}` has another size")
                _copy(source, here, to)
                position = each.end
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, zlib.error) as error:
        whole.unlink(missing_ok=True)
        told = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(
            f"`{DELTA}` and the base do not fit together: {told}", "ask whoever published it to publish it whole"
        ) from None
    return whole


def _header(file: BinaryIO) -> tuple[bytes, dict[str, _Tensor]]:
    """A safetensors file's header as it is, and its tensors by name. Raises ValueError where it is none."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_HEADER:
        raise ValueError("a header too long")
    header = file.read(length)
    return header, _tensors(header, 8 + length)


def _tensors(header: bytes, begin: int) -> dict[str, _Tensor]:
    found = {}
    for name, told in json.loads(header).items():
        if name != "__metadata__":
            first, last = told["data_offsets"]
            if not 0 <= first <= last:
                raise ValueError(f"`{name}` has no place")
            found[name] = _Tensor(told["dtype"], tuple(told["shape"]), begin + first, begin + last)
    return found


def _metadata(file: BinaryIO) -> Mapping[str, str]:
    header, _ = _header(file)
    found: Mapping[str, str] = json.loads(header)["__metadata__"]
    return found


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def _key(file: BinaryIO, tensor: _Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """What equal tensors have in common."""
    digest = hashlib.sha256()
    for chunk in _chunks(file, tensor):
        digest.update(chunk)
    return tensor.kind, tensor.shape, digest.digest()


def _copy(file: BinaryIO, tensor: _Tensor, to: BinaryIO) -> None:
    for chunk in _chunks(file, tensor):
        to.write(chunk)


def _chunks(file: BinaryIO, tensor: _Tensor) -> Iterator[bytes]:
    file.seek(tensor.begin)
    left = tensor.size
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            raise ValueError("a file that ends too early")
        left -= len(chunk)
        yield chunk


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> bytes:
    unpack = zlib.decompressobj()
    found = unpack.decompress(base64.b64decode(text), _LONGEST_HEADER)
    if not unpack.eof:
        raise ValueError("a header too long")
    return found
