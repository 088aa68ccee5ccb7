"""Sentences with a tag for every word, in CoNLL files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tlhub.errors import DataError, SettingError
from tlhub_data.files import not_utf8
from tlhub_data.table import FileTable, Kinds, from_values

if TYPE_CHECKING:
    import datasets


class Conll(FileTable):
    """Sentences in CoNLL files: on each line a word and its tag, such as `Ada B-PER`; an empty line ends a sentence.

    Files are in UTF-8. The columns of a line are divided by tabs, where it has one, else by spaces. Passed over are
    lines that begin with `-DOCSTART-`, and comments, which begin with `# ` and stand before the first word of a
    sentence. With `labels: none` no tag is kept: a line is divided, and its word alone is taken.

    Args:
        word: the column of the word, counted from 0; a negative one is counted from the last, which is -1.
        tag: the column of its tag, counted likewise.
    """

    name = "conll"
    modality = "text"
    suffixes = (".conll", ".iob", ".bio", ".tsv", ".txt")
    unit = "sentence"

    def __init__(self, path: str, word: int = 0, tag: int = -1) -> None:
        if word == tag:
            raise SettingError("tag", "the word and its tag cannot be in the same column")
        super().__init__(path, words="word", label="tag")
        self._places = {"word": word, "tag": tag}

    def _header(self, file: Path) -> Mapping[str, Any]:
        return dict.fromkeys(self._places)

    def _read(self, file: Path, columns: Kinds) -> datasets.Dataset:
        places = {name: self._places[name] for name in columns}
        values: list[list[list[str]]] = [[] for _ in columns]
        for sentence in _sentences(file, places):
            for column, fields in zip(values, zip(*sentence, strict=True), strict=True):
                column.append(list(fields))
        return from_values(file, columns, values)


def _sentences(file: Path, places: Mapping[str, int]) -> Iterator[list[list[str]]]:
    """For every sentence, the wanted fields of each of its lines."""
    sentence: list[list[str]] = []
    with file.open(encoding="utf-8-sig") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    if not (line.startswith("-DOCSTART-") or (line.startswith("# ") and not sentence)):
                        sentence.append(_fields(line.rstrip("\n"), places, file, number))
                elif sentence:
                    yield sentence
                    sentence = []
        except UnicodeDecodeError as error:
            raise not_utf8(file) from error
    if sentence:
        yield sentence


def _fields(line: str, places: Mapping[str, int], file: Path, number: int) -> list[str]:
    fields = line.split("\t") if "\t" in line else [field for field in line.split(" ") if field]
    found: dict[int, str] = {}
    for name, place in places.items():
        index = place if place >= 0 else len(fields) + place
        if index in found or not (0 <= index < len(fields) and fields[index].strip()):
            raise DataError(
                f"{file}, line {number} has no {name} in column {place}: {line!r}",
                "say with `word:` and `tag:` which columns they are in; write `labels: none` where there are no tags",
            )
        found[index] = fields[index]
    return list(found.values())
