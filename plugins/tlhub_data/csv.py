"""Tables in CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub_data.files import not_utf8
from tlhub_data.table import FileTable, Kinds, Label, from_values, listed

if TYPE_CHECKING:
    import datasets


class Csv(FileTable):
    """Rows of CSV files in UTF-8, whose first line names the columns.

    Every value is taken as the text it is written as; an empty one counts as missing. A vector is written as numbers
    with spaces or commas between them, in brackets or not. With `labels: none` no label is kept: finding where the next
    value begins is all that is done with a label's text.

    Args:
        delimiter: what stands between two values; `"\\t"` for a tab.
    """

    name = "csv"
    suffixes = (".csv", ".tsv")

    def __init__(
        self,
        path: str,
        image: str | None = None,
        text: str | None = None,
        text_pair: str | None = None,
        vector: str | None = None,
        label: Label = "label",
        delimiter: str = ",",
    ) -> None:
        super().__init__(path, image, text, text_pair, None, vector, label)
        self._delimiter = delimiter

    def _header(self, file: Path) -> Mapping[str, Any]:
        with self._lines(file) as lines:
            names = next(lines, [])
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{file} has {names.count(name)} columns named `{name}`", "give each a name of its own")
        return dict.fromkeys(names)

    def _read(self, file: Path, columns: Kinds) -> datasets.Dataset:
        values: list[list[Any]] = [[] for _ in columns]
        with self._lines(file) as lines:
            header = next(lines)
            places = [header.index(name) for name in columns]
            for row, line in enumerate((line for line in lines if line), 1):
                if len(line) != len(header):
                    raise DataError(
                        f"{file}, row {row} has {len(line)} values for {len(header)} columns: {listed(header)}",
                        "put a value that holds the delimiter in double quotes",
                    )
                for column, place in zip(values, places, strict=True):
                    column.append(line[place] or None)
        for place, kind in enumerate(columns.values()):
            if kind == "vector":
                values[place] = [_numbers(value, f"{file}, row {row}") for row, value in enumerate(values[place], 1)]
        return from_values(file, columns, values)

    @contextmanager
    def _lines(self, file: Path) -> Iterator[Iterator[list[str]]]:
        """The rows of a file, whose errors name it."""
        csv.field_size_limit(2**31 - 1)  # a long text is no mistake
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, delimiter=self._delimiter, strict=True)
            try:
                yield reader
            except UnicodeDecodeError as error:
                raise not_utf8(file) from error
            except csv.Error as error:
                message = f"{file} is no CSV: line {reader.line_num}: {error}"
                raise DataError(message, "look for an unclosed quote") from error


def _numbers(value: str | None, where: str) -> list[float] | None:
    if value is None:
        return None
    try:
        return [float(number) for number in value.strip("[]() ").replace(",", " ").split()]
    except ValueError as error:
        raise DataError(f"{where}: {error}", "a vector is written like `0.5 1 -2`") from error
