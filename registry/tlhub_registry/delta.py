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
from pathlib import Path
from typing import Any, BinaryIO

from tlhub.errors import ArtifactError
from tlhub_registry.header import LONGEST, Tensor, read_header, tensors_of
from tlhub_registry.parts import chunks

WHOLE = "model.safetensors"
DELTA = "delta.safetensors"


def shrink(whole: Path, base: Path, out: Path) -> int:
    """Write to `out` the tensors of `whole` that are not in `base`; how many bytes of tensors that saves."""
    with whole.open("rb") as file, base.open("rb") as other:
        header, tensors = read_header(file)
        _, known = read_header(other)
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
            _, changed = read_header(file)
            _, known = read_header(other)
            header = _unpacked(_metadata(file)["header"])
            names = json.loads(_unpacked(_metadata(file)["base"]))
            tensors = tensors_of(header, 0)
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


def _metadata(file: BinaryIO) -> Mapping[str, str]:
    header, _ = read_header(file)
    found: Mapping[str, str] = json.loads(header)["__metadata__"]
    return found


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)


def _key(file: BinaryIO, tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    """What equal tensors have in common."""
    digest = hashlib.sha256()
    for chunk in _chunks(file, tensor):
        digest.update(chunk)
    return tensor.kind, tensor.shape, digest.digest()


def _copy(file: BinaryIO, tensor: Tensor, to: BinaryIO) -> None:
    for chunk in _chunks(file, tensor):
        to.write(chunk)


def _chunks(file: BinaryIO, tensor: Tensor) -> Iterator[bytes]:
    file.seek(tensor.begin)
    yield from chunks(file, tensor.size)
    if file.tell() < tensor.end:
        raise ValueError("a file that ends too early")


def _packed(content: bytes) -> str:
    return base64.b64encode(zlib.compress(content, 9)).decode()


def _unpacked(text: str) -> bytes:
    unpack = zlib.decompressobj()
    found = unpack.decompress(base64.b64decode(text), LONGEST)
    if not unpack.eof:
        raise ValueError("a header too long")
    return found
