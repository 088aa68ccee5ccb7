"""Tables in JSON Lines files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError
from tlhub_data.files import not_utf8
from tlhub_data.table import FileTable, Kind, Kinds, from_values

if TYPE_CHECKING:
    import datasets

_LIKE = 'write one JSON object on each line, like `{"text": "…", "label": "…"}`'

_EXPECTED = {"vector": "a list of numbers", "words": "a list of words", "image": "a path", "text": "a text"}


class JsonLines(FileTable):
    """Rows of JSON Lines files: one JSON object on each line, such as `{"text": "…", "label": "positive"}`.

    With `labels: none` no label is kept: a line is parsed, and its input alone is taken.
    """

    name = "jsonl"
    suffixes = (".jsonl", ".ndjson", ".json")

    def _header(self, file: Path) -> Mapping[str, Any]:
        return dict.fromkeys(next(_objects(file), {}))

    def _read(self, file: Path, columns: Kinds) -> datasets.Dataset:
        values: list[list[Any]] = [[] for _ in columns]
        for row, item in enumerate(_objects(file), 1):
            for column, (name, kind) in zip(values, columns.items(), strict=True):
                value = item.get(name)
                if not (value is None or _fits(value, kind)):
                    what = f"{file}, row {row}: `{name}` is {_short(value)}"
                    raise DataError(f"{what}, expected {_EXPECTED[kind]}")
                column.append(value)
        return from_values(file, columns, values)


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


def _fits(value: Any, kind: Kind) -> bool:
    if kind == "vector":
        return isinstance(value, list) and all(type(number) in (int, float) for number in value)
    if kind == "words":
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
    return kind == "label" or isinstance(value, str)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"
