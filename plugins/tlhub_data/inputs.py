"""Inputs of examples as sequences that decode an example when it is asked for.

All of them can be pickled and read by several processes at once: none keeps a file open.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub.inputs import decode, read_bytes
from tlhub_data.files import digests, not_utf8

if TYPE_CHECKING:
    from datasets import Dataset as Rows
    from torch import Tensor


_ROWS = 256
"""How many rows of a table are in memory while all of them are gone through."""


@dataclass(frozen=True)
class Origin:
    """Where rows come from: the names of files, the number of rows up to the end of each, and what a row is called."""

    names: tuple[str, ...]
    ends: tuple[int, ...]
    unit: str = "row"

    def __call__(self, row: int) -> str:
        """Names a row for the user."""
        part = bisect_right(self.ends, row)
        return f"{self.names[part]}, {self.unit} {row - (self.ends[part - 1] if part else 0) + 1}"

    def folder(self, row: int) -> Path:
        """The folder of the row's file."""
        return Path(self.names[bisect_right(self.ends, row)]).parent


class Files(Sequence[Any]):
    """Files as inputs; a subclass reads them."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def where(self, index: int) -> str:
        """Names a file for the user."""
        return str(self.files[index])


class ImageFiles(Files):
    """Image files, decoded when they are asked for."""

    def __getitem__(self, index: Any) -> Any:
        return decode(read_bytes(self.files[index]), self.where(index))


class TextFiles(Files):
    """Text files in UTF-8, kept in memory."""

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(files)
        self._texts = [_text(file) for file in self.files]

    def __getitem__(self, index: Any) -> Any:
        return self._texts[index]


class Column(Sequence[Any]):
    """A column of a table that may be larger than memory, read from the disk row by row."""

    def __init__(self, rows: Rows, name: str, origin: Origin) -> None:
        self.rows, self.name, self.where = rows, name, origin
        self._values = rows.data.column(name)  # rows[index] takes twenty times as long

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index].as_py()

    def __reduce__(self) -> Any:
        return type(self), (self.rows, self.name, self.where)  # rows on the disk travel as the name of their file

    def digests(self) -> Iterator[bytes]:
        """What each row is known by."""
        return map(_digest, self.each())

    def each(self) -> Iterator[Any]:
        """Every value, as the table holds it. Raises DataError that names the row where a text is not UTF-8."""
        for start in range(0, len(self), _ROWS):
            try:
                values = self._values.slice(start, _ROWS).to_pylist()
            except UnicodeDecodeError:
                values = [self._value(row) for row in range(start, min(start + _ROWS, len(self)))]
            yield from values

    def _value(self, row: int) -> Any:
        try:
            return self._values[row].as_py()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.where(row)}: `{self.name}` is not UTF-8", "save it as UTF-8") from error


class Pairs(Sequence[Any]):
    """Two columns of texts; an example is a tuple of two."""

    def __init__(self, first: Column, second: Column) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: Any) -> Any:
        return self.first[index], self.second[index]

    def digests(self) -> Iterator[bytes]:
        """What each pair is known by."""
        return map(_digest, self.each())

    def each(self) -> Iterator[Any]:
        """Every pair."""
        return zip(self.first.each(), self.second.each(), strict=True)


class ImageColumn(Column):
    """A column of images, as encoded bytes or as paths relative to the table's file."""

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        content = _content(value)
        return decode(read_bytes(self._file(value, index)) if content is None else content, self.where(index))

    def digests(self) -> Iterator[bytes]:
        files = [self._file(value, row) for row, value in enumerate(self.each()) if _content(value) is None]
        of_file = iter(digests(files))
        for value in self.each():
            content = _content(value)
            yield next(of_file).encode() if content is None else content

    def _file(self, value: Any, row: int) -> Path:
        path = value["path"] if isinstance(value, dict) else value
        if not path:
            raise DataError(f"{self.where(row)} has no `{self.name}`", "fill it in, or remove the row")
        file = self.where.folder(row) / Path(path).expanduser()
        if not file.is_file():
            message = f"{self.where(row)}: there is no file {file}"
            raise DataError(message, "paths count from the folder of the table's file")
        return file


class Vectors(Sequence[Any]):
    """Vectors of one length, kept in memory: `[examples, length]`."""

    def __init__(self, vectors: Tensor, where: Callable[[int], str]) -> None:
        self.vectors, self.where = vectors, where

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: Any) -> Any:
        return self.vectors[index]

    def digests(self) -> Iterator[bytes]:
        """What each vector is known by."""
        return (vector.tobytes() for vector in self.vectors.numpy())


def _text(file: Path) -> str:
    try:
        return read_bytes(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(file) from error


def _digest(value: Any) -> bytes:
    return (value if isinstance(value, str) else repr(value)).encode()


def _content(value: Any) -> bytes | None:
    content = value.get("bytes") if isinstance(value, dict) else value
    return content if isinstance(content, bytes) else None
