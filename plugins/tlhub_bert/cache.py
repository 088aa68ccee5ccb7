"""Tokenised texts on the disk, by their content, in the folder of `tlhub.home`."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tlhub.home import home
from tlhub.ragged import Ragged

LIMIT = 2 * 2**30
"""Bytes of all files together; those that were not used for longest are removed."""


def cached(key: str, make: Callable[[], Ragged]) -> Ragged:
    """What `make` gives, from the file of this key where there is a whole one; else made, and written there.

    A disk that refuses is no error: what is kept here can be made again.
    """
    file = home() / "tokens" / f"{key}.safetensors"
    found = _read(file)
    if found is None:
        found = make()
        with contextlib.suppress(OSError):
            _write(file, found)
            _remove_oldest(file.parent)
    return found


def _read(file: Path) -> Ragged | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as content:
            values, lengths = content.get_tensor("values"), content.get_tensor("lengths")
            facts = content.metadata()
        if facts["sha256"] != _digest(values, lengths):
            return None
        file.touch()
    except (SafetensorError, OSError, KeyError, TypeError):
        return None
    return Ragged(values, lengths, facts.get("remark"))


def _write(file: Path, tokens: Ragged) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    facts = {"sha256": _digest(tokens.values, tokens.lengths)}
    if tokens.remark is not None:
        facts["remark"] = tokens.remark
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        save_file({"values": tokens.values, "lengths": tokens.lengths}, partial, metadata=facts)
        partial.replace(file)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def _remove_oldest(folder: Path) -> None:
    files = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda entry: -entry[0].st_mtime)
    total = 0
    for facts, path in files:
        total += facts.st_size
        if total > LIMIT:
            path.unlink(missing_ok=True)


def _digest(*tensors: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
