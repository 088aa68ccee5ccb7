"""What data sets of rows and columns have in common: which column is the input, the classes, the fingerprint."""

from __future__ import annotations

import hashlib
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError, SettingError
from tlhub_data.files import CONTENT_LIMIT, digests, table_files
from tlhub_data.inputs import Column, ImageColumn, Origin, Vectors

if TYPE_CHECKING:
    import datasets

_KINDS = ("image", "text", "vector")
_WHOLE = re.compile(r"-?[0-9]+")


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
        image: the column of images; at most one of `image`, `text` and `vector` is given, and if none is, the column
            of that name (or type) is taken.
        text: the column of texts.
        vector: the column of vectors, which are lists of numbers of one length.
        label: the column of classes, as texts or whole numbers.
    """

    def __init__(self, image: str | None, text: str | None, vector: str | None, label: str) -> None:
        given = {kind: column for kind, column in zip(_KINDS, (image, text, vector), strict=True) if column is not None}
        if len(given) > 1:
            raise SettingError(list(given)[1], f"only one of {listed(given)} can be the input")
        for kind, column in given.items():
            if column == label:
                raise SettingError(kind, f"the column `{column}` cannot be both the input and the label")
        self._given = next(iter(given.items()), None)
        self._label = label

    @property
    def modality(self) -> str:  # type: ignore[override]
        """`image`, `text` or `vector`; the data is looked at only where the settings do not say."""
        return self._input[0]

    def class_names(self) -> tuple[str, ...] | None:
        """The names that the label column declares, as Hugging Face's ClassLabel does."""
        columns = self._columns()
        check_columns(self._what, columns, [self._label])
        return _declared(columns[self._label])

    def open(self, split: str | None, labels: bool) -> Examples:
        kind, column = self._input
        wanted = [column, self._label] if labels else [column]
        rows = self._rows(split, kind, wanted)
        if not len(rows.table):
            raise DataError(f"{rows.origin.names[0]} has no rows")
        for name in wanted:
            _check_filled(rows, name)
        inputs = _inputs(rows, kind, column)
        numbers, names = _classes(rows, self._label) if labels else (None, None)
        known = hashlib.sha256()
        if rows.known_by is None:
            for digest in inputs.digests():
                known.update(len(digest).to_bytes(8) + digest)
            known.update(repr([(names or ())[number] for number in numbers or ()]).encode())
        else:
            known.update(repr([rows.known_by, *wanted]).encode())
        return Examples(inputs, numbers, names, known.hexdigest(), rows.origin)

    @abstractmethod
    def _columns(self) -> Mapping[str, Any]:
        """The columns by name, each with its type in the `datasets` library, or None where it declares none."""

    @abstractmethod
    def _rows(self, split: str | None, kind: str, columns: Sequence[str]) -> Rows:
        """The rows of a split, with these columns only, the input first. Raises DataError where one is missing."""

    @cached_property
    def _input(self) -> tuple[str, str]:
        """Kind and name of the input column."""
        if self._given is not None:
            return self._given
        columns = {name: feature for name, feature in self._columns().items() if name != self._label}
        images = [name for name, feature in columns.items() if type(feature).__name__ == "Image"]
        if len(images) == 1:
            return "image", images[0]
        for kind in _KINDS:
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

    def __init__(
        self,
        path: str,
        image: str | None = None,
        text: str | None = None,
        vector: str | None = None,
        label: str = "label",
    ) -> None:
        super().__init__(image, text, vector, label)
        self.path = Path(path).expanduser()

    def splits(self) -> Sequence[str]:
        return [name for name in table_files(self.path, self.suffixes) if name is not None]

    @abstractmethod
    def _header(self, file: Path) -> Mapping[str, Any]:
        """The columns of one file, as `_columns` gives them."""

    @abstractmethod
    def _read(self, file: Path, kind: str, columns: Sequence[str]) -> datasets.Dataset:
        """These columns of one file; the first is the input."""

    def _columns(self) -> Mapping[str, Any]:
        return self._header(next(iter(table_files(self.path, self.suffixes).values()))[0])

    def _rows(self, split: str | None, kind: str, columns: Sequence[str]) -> Rows:
        files = table_files(self.path, self.suffixes)[split]
        tables: list[datasets.Dataset] = []
        for file in files:
            check_columns(str(file), self._header(file), columns)
            tables.append(self._read(file, kind, columns))
            for name in columns:
                first, here = tables[0].features[name], tables[-1].features[name]
                if first != here:
                    raise DataError(f"the column `{name}` differs: in {files[0]} it is {first}, in {file} it is {here}")
        ends = tuple(sum(len(table) for table in tables[: number + 1]) for number in range(len(tables)))
        known_by = None
        if sum(file.stat().st_size for file in files) > CONTENT_LIMIT:
            known_by = " ".join(digests(files))
        return Rows(joined(tables), Origin(tuple(map(str, files)), ends), known_by)


def joined(tables: Sequence[datasets.Dataset]) -> datasets.Dataset:
    """Tables of the same columns, one after the other."""
    import datasets

    return tables[0] if len(tables) == 1 else datasets.concatenate_datasets(list(tables))


def from_values(file: Path, kind: str, columns: Sequence[str], values: Sequence[Sequence[Any]]) -> datasets.Dataset:
    """A table in memory from the values of text formats, column by column: the input, then perhaps the label."""
    import datasets

    number = datasets.List(datasets.Value("float32"))
    types = [number if kind == "vector" else datasets.Value("large_string"), datasets.Value("large_string")]
    texts = [_class_texts(values[1], lambda row: f"{file}, row {row + 1}")] if len(values) > 1 else []
    try:
        return datasets.Dataset.from_dict(
            dict(zip(columns, [values[0], *texts], strict=True)),
            features=datasets.Features(dict(zip(columns, types, strict=False))),
        )
    except (ValueError, OverflowError) as error:  # text that is no Unicode, numbers beyond 32 bits
        raise DataError(f"{file}: the column `{columns[0]}` cannot be held in memory: {error}") from error


def check_columns(where: str, there: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Raise a DataError that lists the columns where one is missing."""
    for name in wanted:
        if name not in there:
            hint = "name the column of classes with `label:`, or write `labels: none`" if name == "label" else None
            raise DataError(f"{where} has no column `{name}`; it has {listed(there)}", hint)


def listed(columns: Iterable[str]) -> str:
    """Column names for a message."""
    return ", ".join(f"`{name}`" for name in columns) or "no columns"


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


def _check_filled(rows: Rows, name: str) -> None:
    """Raise a DataError that names the first row without a value."""
    import pyarrow.compute as pc

    column = rows.table.data.column(name)
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        more = f" (and {column.null_count - 1} more rows)" if column.null_count > 1 else ""
        raise DataError(f"{rows.origin(row)} has no `{name}`{more}", "fill it in, or remove the row")


def _inputs(rows: Rows, kind: str, name: str) -> Column | Vectors:
    """The input column. Raises DataError where its type does not fit."""
    import pyarrow as pa

    type_ = rows.table.data.column(name).type
    text = pa.types.is_string(type_) or pa.types.is_large_string(type_)
    encoded = pa.types.is_binary(type_) or pa.types.is_large_binary(type_)
    pair = pa.types.is_struct(type_) and {"bytes", "path"} <= {field.name for field in type_}
    if kind == "text" and text:
        return Column(rows.table, name, rows.origin)
    if kind == "image" and (text or encoded or pair):
        return ImageColumn(rows.table, name, rows.origin)
    numbers = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    if kind == "vector" and numbers:
        return _vectors(rows, name)
    expected = {"text": "texts", "image": "encoded images or paths", "vector": "lists of numbers"}[kind]
    raise DataError(f"{rows.origin.names[0]}: the column `{name}` holds {type_}, expected {expected}")


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


def _classes(rows: Rows, name: str) -> tuple[list[int], tuple[str, ...]]:
    """The number of every row's class, and the class names."""
    values = rows.table.data.column(name).to_pylist()
    declared = _declared(rows.table.features[name])
    if declared is not None:
        for row, value in enumerate(values):
            if not 0 <= value < len(declared):
                raise DataError(
                    f"{rows.origin(row)}: `{name}` is {value}, which counts through {len(declared)} classes",
                    "write `labels: none` where the labels are unknown (-1)",
                )
        return values, declared
    texts = _class_texts(values, rows.origin)
    whole = all(_WHOLE.fullmatch(text) for text in set(texts))
    names = tuple(sorted(set(texts), key=lambda text: (int(text) if whole else 0, text)))
    number = {text: index for index, text in enumerate(names)}
    return [number[text] for text in texts], names


def _class_texts(values: Sequence[Any], where: Any) -> list[Any]:
    """Class names as texts; None stays what it is."""
    for row, value in enumerate(values):
        if not (value is None or isinstance(value, (str, int)) or (isinstance(value, float) and value.is_integer())):
            raise DataError(f"{where(row)}: the label is {value!r}, expected the name of a class or a whole number")
    return [str(int(value)) if isinstance(value, float) else value if value is None else str(value) for value in values]


def _declared(feature: Any) -> tuple[str, ...] | None:
    return tuple(feature.names) if type(feature).__name__ == "ClassLabel" else None
