"""What data sets of rows and columns have in common: which column is the input, the classes, the fingerprint."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError, SettingError
from tlhub_data.files import CONTENT_LIMIT, digests, table_files
from tlhub_data.inputs import Column, ImageColumn, Origin, Pairs, Vectors
from tlhub_data.labels import as_texts, declared, read_labels
from tlhub_data.texts import check_texts, lacking, repeats

if TYPE_CHECKING:
    import datasets

Kind = Literal["image", "text", "words", "vector", "label"]
Kinds = Mapping[str, Kind]
"""Columns by name, each with what it is read as."""
Label = str | Annotated[list[str], Field(min_length=1)]

_FOUND_BY_NAME: tuple[Kind, ...] = ("image", "text", "vector")


@dataclass(frozen=True)
class Rows:
    """The columns that were asked for, of one split.

    Attributes:
        known_by: identifies the rows where their content is too large to be read for that, or is pinned already.
    """

    table: datasets.Dataset
    origin: Origin
    known_by: str | None = None


class Table(Dataset):
    """A data set of rows and columns. A subclass finds the columns, and reads those it is asked for.

    Args:
        image: the column of images; one of `image`, `text`, `words` and `vector` is the input, and if none is given,
            the column named `image`, `text` or `vector` is (or that of the type of an image).
        text: the column of texts.
        text_pair: the column of second texts, where an example is a pair of texts, such as a premise and a hypothesis.
        words: the column of lists of words, for labels that say the class of every word.
        vector: the column of vectors, which are lists of numbers of one length.
        label: the column of labels. Names and whole numbers are classes; lists of them are several classes at once, or
            with `words` the class of every word; numbers are to be predicted as such where one is not whole, or the
            column is of a floating type. A list of columns of 0 and 1 is several classes at once too, called as the
            columns are.
    """

    def __init__(
        self,
        image: str | None,
        text: str | None,
        text_pair: str | None,
        words: str | None,
        vector: str | None,
        label: Label,
    ) -> None:
        possible: dict[Kind, str | None] = {"image": image, "text": text, "words": words, "vector": vector}
        given: dict[Kind, str] = {kind: column for kind, column in possible.items() if column is not None}
        if len(given) > 1:
            raise SettingError(list(given)[1], f"only one of {listed(given)} can be the input")
        if text_pair is not None and text in (None, text_pair):
            raise SettingError("text_pair", "a pair needs a first text too", "name its column with `text`")
        self._labels = [label] if isinstance(label, str) else label
        for number, name in enumerate(self._labels):
            if name in (*given.values(), text_pair):
                raise SettingError("label", f"the column `{name}` cannot be both the input and the label")
            if name in self._labels[:number]:
                raise SettingError("label", f"the column `{name}` is named twice")
        self._given = next(iter(given.items()), None)
        self._pair, self._label = text_pair, label

    @property
    def modality(self) -> str:  # type: ignore[override]
        """`image`, `text` or `vector`; the data is looked at only where the settings do not say."""
        kind = self._input[0]
        return "text" if kind == "words" else kind

    def class_names(self) -> tuple[str, ...] | None:
        """The names that the label column's type declares, as Hugging Face's ClassLabel does, or the label columns'."""
        columns = self._columns()
        check_columns(self._what, columns, self._labels)
        if not isinstance(self._label, str):
            return tuple(self._label)
        return declared(columns[self._label], words=self._input[0] == "words")

    def open(self, split: str | None, labels: bool) -> Examples:
        kind, column = self._input
        wanted: dict[str, Kind] = {column: kind}
        if self._pair is not None:
            wanted[self._pair] = "text"
        if labels:
            wanted |= dict.fromkeys(self._labels, "label")
        rows = self._rows(split, wanted)
        if not len(rows.table):
            raise DataError(f"{rows.origin.names[0]} has no rows")
        for name, used_as in wanted.items():
            if used_as not in ("text", "words"):
                _check_filled(rows, name)
        inputs = _inputs(rows, wanted)
        found = said = None
        if labels:
            found = read_labels(rows.table, self._label, rows.origin, inputs if kind == "words" else None)
            said = found.said
        known = hashlib.sha256()
        if rows.known_by is None:
            for digest in inputs.digests():
                known.update(len(digest).to_bytes(8) + digest)
            known.update(repr(said or []).encode())
        else:
            known.update(repr([rows.known_by, *wanted]).encode())
        return Examples(
            inputs=inputs,
            labels=None if found is None else found.values,
            classes=None if found is None else found.classes,
            fingerprint=known.hexdigest(),
            where=rows.origin,
            task="classification" if found is None else found.task,
            notes=() if isinstance(inputs, (ImageColumn, Vectors)) else repeats(inputs.each(), said, rows.origin),
        )

    @abstractmethod
    def _columns(self) -> Mapping[str, Any]:
        """The columns by name, each with its type in the `datasets` library, or None where it declares none."""

    @abstractmethod
    def _rows(self, split: str | None, columns: Kinds) -> Rows:
        """The rows of a split, with these columns only. Raises DataError where one is missing."""

    @cached_property
    def _input(self) -> tuple[Kind, str]:
        """Kind and name of the input column."""
        if self._given is not None:
            return self._given
        columns = {name: feature for name, feature in self._columns().items() if name not in self._labels}
        images = [name for name, feature in columns.items() if type(feature).__name__ == "Image"]
        if len(images) == 1:
            return "image", images[0]
        for kind in _FOUND_BY_NAME:
            if kind in columns:
                return kind, kind
        if not columns:
            raise DataError(f"{self._what} has no columns")
        raise DataError(
            f"{self._what} has no column named `image`, `text` or `vector`; it has {listed(columns)}",
            "say which column is the input, such as `text: " + next(iter(columns), "review") + "`",
        )

    @property
    def _what(self) -> str:
        """Names the data set for the user."""
        return f"`{self.settings.get('path') or self.settings.get('repo')}`"


class FileTable(Table):
    """A table in files; a subclass knows their format.

    Args:
        path: a file, a pattern such as `reviews/*.csv`, or a folder. Files of a folder that are named after splits,
            such as `train.csv` or `test-00000-of-00002.parquet`, are the splits; its other files are then passed over.
    """

    suffixes: tuple[str, ...]
    unit: ClassVar[str] = "row"
    """What messages call an example."""

    def __init__(
        self,
        path: str,
        image: str | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        words: str | None = None,
        vector: str | None = None,
        label: Label = "label",
    ) -> None:
        super().__init__(image, text, text_pair, words, vector, label)
        self.path = Path(path).expanduser()

    def splits(self) -> Sequence[str]:
        return [name for name in table_files(self.path, self.suffixes) if name is not None]

    @abstractmethod
    def _header(self, file: Path) -> Mapping[str, Any]:
        """The columns of one file, as `_columns` gives them."""

    @abstractmethod
    def _read(self, file: Path, columns: Kinds) -> datasets.Dataset:
        """These columns of one file."""

    def _columns(self) -> Mapping[str, Any]:
        return self._header(next(iter(table_files(self.path, self.suffixes).values()))[0])

    def _rows(self, split: str | None, columns: Kinds) -> Rows:
        files = table_files(self.path, self.suffixes)[split]
        tables: list[datasets.Dataset] = []
        for file in files:
            check_columns(str(file), self._header(file), columns)
            tables.append(self._read(file, columns))
            for name in columns:
                first, here = tables[0].features[name], tables[-1].features[name]
                if first != here:
                    raise DataError(f"the column `{name}` differs: in {files[0]} it is {first}, in {file} it is {here}")
        ends = tuple(sum(len(table) for table in tables[: number + 1]) for number in range(len(tables)))
        known_by = None
        if sum(file.stat().st_size for file in files) > CONTENT_LIMIT:
            known_by = " ".join(digests(files))
        return Rows(joined(tables), Origin(tuple(map(str, files)), ends, self.unit), known_by)


def joined(tables: Sequence[datasets.Dataset]) -> datasets.Dataset:
    """Tables of the same columns, one after the other."""
    import datasets

    return tables[0] if len(tables) == 1 else datasets.concatenate_datasets(list(tables))


def from_values(file: Path, columns: Kinds, values: Sequence[list[Any]]) -> datasets.Dataset:
    """A table in memory from the values of text formats, column by column."""
    import datasets

    text = datasets.Value("large_string")
    held, types = {}, {}
    for (name, kind), column in zip(columns.items(), values, strict=True):
        held[name] = as_texts(column, lambda row: f"{file}, row {row + 1}") if kind == "label" else column
        lists = kind == "words" or (kind == "label" and any(isinstance(value, list) for value in column))
        types[name] = datasets.List(text) if lists else text
        if kind == "vector":
            types[name] = datasets.List(datasets.Value("float32"))
    try:
        return datasets.Dataset.from_dict(held, features=datasets.Features(types))
    except UnicodeEncodeError as error:
        row = next(
            row for column in held.values() for row, value in enumerate(column, 1) if error.object in (value or "")
        )
        raise DataError(f"{file}, row {row} holds what is no Unicode: {error.object!r}", "write it anew") from error
    except OverflowError as error:
        raise DataError(f"{file}: {listed(columns)} cannot be held in memory: {error}") from error


def check_columns(where: str, there: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Raise a DataError that lists the columns where one is missing."""
    for name in wanted:
        if name not in there:
            hint = "name the column of classes with `label:`, or write `labels: none`" if name == "label" else None
            raise DataError(f"{where} has no column `{name}`; it has {listed(there)}", hint)


def listed(columns: Iterable[str]) -> str:
    """Column names for a message."""
    return ", ".join(f"`{name}`" for name in columns) or "no columns"


def _check_filled(rows: Rows, name: str) -> None:
    """Raise a DataError that names the rows without a value."""
    column = rows.table.data.column(name)
    if column.null_count:
        raise lacking(column.is_null().to_numpy().nonzero()[0].tolist(), f"`{name}`", rows.origin)


def _inputs(rows: Rows, columns: Kinds) -> Column | Pairs | Vectors:
    """The inputs, from one column, or the two of pairs. Raises DataError where a value or a type does not fit."""
    found = [_input(rows, kind, name) for name, kind in columns.items() if kind != "label"]
    return Pairs(*found) if len(found) == 2 else found[0]


def _input(rows: Rows, kind: Kind, name: str) -> Any:
    import pyarrow as pa

    type_ = rows.table.data.column(name).type
    text = _is_text(type_)
    encoded = pa.types.is_binary(type_) or pa.types.is_large_binary(type_)
    stored = pa.types.is_struct(type_) and {"bytes", "path"} <= {field.name for field in type_}
    lists = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    if (kind == "text" and text) or (kind == "words" and lists and _is_text(type_.value_type)):
        column = Column(rows.table, name, rows.origin)
        check_texts(column.each(), f"`{name}`", rows.origin)
        return column
    if kind == "image" and (text or encoded or stored):
        return ImageColumn(rows.table, name, rows.origin)
    if kind == "vector" and lists:
        return _vectors(rows, name)
    expected = {
        "text": "texts",
        "words": "lists of words",
        "image": "encoded images or paths",
        "vector": "lists of numbers",
    }
    raise DataError(f"{rows.origin.names[0]}: the column `{name}` holds {type_}, expected {expected[kind]}")


def _is_text(type_: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _vectors(rows: Rows, name: str) -> Vectors:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc
    import torch

    column = rows.table.data.column(name)
    lengths = pc.list_value_length(column).to_numpy()
    odd = np.flatnonzero(lengths != lengths[0])
    if len(odd):
        row = int(odd[0])
        raise DataError(f"{rows.origin(row)}: `{name}` has {lengths[row]} numbers, the first row has {lengths[0]}")
    try:
        flat = pc.cast(pc.list_flatten(column), pa.float32(), safe=False).to_numpy()
    except pa.ArrowException as error:
        raise DataError(f"{rows.origin.names[0]}: the column `{name}` holds {column.type}, expected numbers") from error
    vectors = flat.reshape(len(column), -1)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise DataError(f"{rows.origin(int(broken[0]))}: `{name}` holds a number that is missing or not finite")
    return Vectors(torch.from_numpy(vectors.copy()), rows.origin)
