"""Where training stands, on disk: written whole or not at all, and read only if every byte is as it was written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import TrainingError, UserError

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 2
"""How many checkpoints are kept: a damaged newest one leaves one to fall back to."""


@dataclass(frozen=True)
class State:
    """Tensors by name, and JSON-ready facts."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one training, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, number: int, state: State) -> None:
        """Write checkpoint `number`, and remove all but the newest. Raises TrainingError where the disk refuses."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        final = self.folder / f"{number:010d}"
        partial = self.folder / f"{number:010d}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            save_file(dict(state.tensors), partial / "state.safetensors")
            digest = sha256(partial / "state.safetensors")
            facts = json.dumps(dict(state.facts))
            body = {"tensors": digest, "facts_sha256": hashlib.sha256(facts.encode()).hexdigest(), "facts": facts}
            (partial / "state.json").write_text(json.dumps(body))
            for name in ("state.safetensors", "state.json"):
                sync(partial / name)
            sync(partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            sync(self.folder)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise TrainingError(
                f"the checkpoint {final} cannot be written: {error}", "the one before it is kept"
            ) from None
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> tuple[State | None, list[str]]:
        """The newest checkpoint that is whole, and a sentence for every damaged one passed over."""
        damaged: list[str] = []
        for folder in reversed(self._all()):
            try:
                return _read(folder), damaged
            except _DamageError as damage:
                damaged.append(f"the checkpoint file {damage} is damaged; an older checkpoint is used")
        return None, damaged

    def remove(self) -> None:
        """Remove all checkpoints."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _all(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.name.isdigit())


class _DamageError(Exception):
    """The file that is not as it was written."""


def _read(folder: Path) -> State:
    from safetensors.torch import load_file

    try:
        body = json.loads((folder / "state.json").read_text())
        facts = body["facts"]
        if hashlib.sha256(facts.encode()).hexdigest() != body["facts_sha256"]:
            raise _DamageError(folder / "state.json")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _DamageError(folder / "state.json") from None
    tensors = folder / "state.safetensors"
    if not tensors.is_file() or sha256(tensors) != body["tensors"]:
        raise _DamageError(tensors)
    return State(load_file(tensors), json.loads(facts))


def sha256(path: Path) -> str:
    """The file's sha256, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Raise UserError where nothing can be written to a folder, whether it is there already or not."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{folder} cannot be written: {there} is a file", "choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written: {there} is not yours to write to", "choose another folder")


def sync(path: Path) -> None:
    """Make sure that a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    sync(partial)
    partial.replace(path)
    sync(path.parent)
