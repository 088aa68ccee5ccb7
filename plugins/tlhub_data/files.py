"""Files of data sets: finding them, telling splits apart, and knowing them again by their content."""

from __future__ import annotations

import glob
import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tlhub.errors import DataError
from tlhub.inputs import read_bytes

CONTENT_LIMIT = 256 * 2**20
"""Files of more bytes than this, all together, are known by names, sizes and times of change, not by content."""

_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")
_SHARD = re.compile(r"-\d+-of-\d+$")


def split_names(names: Iterable[str]) -> list[str]:
    """The names, training first, where every one of them is a usual name of a split; else an empty list."""
    found = sorted(set(names), key=lambda name: (_rank(name), name))
    return found if all(name.lower() in _SPLITS for name in found) else []


def table_files(path: Path, suffixes: Sequence[str]) -> dict[str | None, list[Path]]:
    """The files that a path means, by split; under None where they have no splits.

    Raises DataError where there are none, or a folder holds several files that are not named after splits.
    """
    if path.is_file():
        return {None: [path]}
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in suffixes and not file.name.startswith("."))
    elif glob.has_magic(str(path)):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        files = sorted(file for file in map(Path, found) if file.is_file())
    else:
        raise missing(path)
    if not files:
        raise DataError(f"{path} holds no file that ends in {' or '.join(suffixes)}")
    named = [file for file in files if split_names([_split_of(file)])]
    if named and (path.is_dir() or len(named) == len(files)):  # a folder's other files, such as notes, are no data
        names = split_names(map(_split_of, named))
        return {name: [file for file in named if _split_of(file) == name] for name in names}
    if path.is_dir() and len(files) > 1:
        raise DataError(
            f"{path} holds {len(files)} files that are not named after splits: {_listed(file.name for file in files)}",
            f"name one of them, or all of them with `path: {path}/*{files[0].suffix}`",
        )
    return {None: files}


def missing(path: Path) -> DataError:
    """The error for a path where nothing is, with what is there instead."""
    parent = path.absolute().parent
    while not parent.is_dir():
        parent = parent.parent
    there = _listed(sorted(item.name for item in parent.iterdir() if not item.name.startswith("."))) or "nothing"
    return DataError(f"there is no file or folder {path}", f"{parent} holds {there}")


def not_utf8(file: Path) -> DataError:
    """The error for a file that is not UTF-8, with the first line that is not."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                place = f"line {number} holds the byte 0x{line[error.start]:02x}"
                return DataError(f"{file} is not UTF-8: {place}", "save it as UTF-8")
    return DataError(f"{file} is not UTF-8", "save it as UTF-8")


def digests(files: Sequence[Path]) -> list[str]:
    """What each file is known by: its content, or its name, size and time of change beyond `CONTENT_LIMIT`."""
    try:
        stats = [file.stat() for file in files]
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from error
    if sum(stat.st_size for stat in stats) > CONTENT_LIMIT:
        known = zip(files, stats, strict=True)
        return [f"{file.name} {stat.st_size} {stat.st_mtime_ns}" for file, stat in known]
    return [hashlib.sha256(read_bytes(file)).hexdigest() for file in files]


def _split_of(file: Path) -> str:
    return _SHARD.sub("", file.stem)


def _rank(name: str) -> int:
    return _SPLITS.index(name.lower()) if name.lower() in _SPLITS else len(_SPLITS)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
