"""Tables in JSON Lines files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub_data.table import FileTable, from_values, not_utf8

if TYPE_CHECKING:
    import datasets

_LIKE = 'write one JSON object on each line, like `{"text": "…", "label": "…"}`'


class JsonLines(FileTable):
    """Rows of JSON Lines files: one JSON object on each line, such as `{"text": "…", "label": "positive"}`.

    With `labels: none` no label is kept: a line is parsed, and its input alone is taken.
    """

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".json")

    def _header(self, file: Path) -> Mapping[str, Any]:
        return dict.fromkeys(next(_objects(file), {}))

    def _read(self, file: Path, kind: str, columns: Sequence[str]) -> datasets.Dataset:
        values: list[list[Any]] = [[] for _ in columns]
        for row, item in enumerate(_objects(file), 1):
            _check_kind(item.get(columns[0]), kind, f"{file}, row {row}: `{columns[0]}`")
            for column, name in zip(values, columns, strict=True):
                column.append(item.get(name))
        return from_values(file, kind, columns, values)


def _objects(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8-sig") as lines:
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                item = json.loads(line)
                if not isinstance(item, dict):
                    raise DataError(f"{file}, line {number} is no JSON object", _LIKE)
                yield item
        except UnicodeDecodeError as error:
            raise not_utf8(file) from error
        except (json.JSONDecodeError, RecursionError) as error:
            raise DataError(f"{file}, line {number} is no JSON: {error}", _LIKE) from error


def _check_kind(value: Any, kind: str, what: str) -> None:
    if value is None:
        return
    if kind == "vector":
        numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
        if not numbers:
            raise DataError(f"{what} is {_short(value)}, expected a list of numbers")
    elif not isinstance(value, str):
        raise DataError(f"{what} is {_short(value)}, expected {'a path' if kind == 'image' else 'a text'}")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"
