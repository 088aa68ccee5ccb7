"""What a folder or a table of the user's seems to hold: which data set reads it, and with which settings."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tlhub.errors import DataError, UserError

SAMPLE = 200
"""Rows that are looked at."""

_FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_LABELS = ("label", "labels", "class", "category", "target", "y")
_IMAGES = ("image", "img", "file_name", "filename", "file", "path", "image_path")
_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")


def guess(path: Path, like: Mapping[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    """Modality and part of a manifest for what lies at a path; with the columns of another table, where that is given.

    Raises UserError where there is nothing, or nothing of a kind that is known.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {path}")
    file = _table(path)
    if file is None:
        if not path.is_dir():
            raise UserError(f"{path} is no table that is known", f"a table's name ends in {', '.join(_FORMATS)}")
        if _holds_texts(path):
            return "text", {"use": "textfolder", "path": str(path)}
        return "image", {"use": "imagefolder", "path": str(path)}
    part: dict[str, Any] = {"use": _FORMATS[file.suffix.lower()], "path": str(path)}
    if part["use"] == "csv" and (delimiter := _delimiter(file)) != ",":
        part["delimiter"] = delimiter
    columns = {key: like[key] for key in ("image", "text", "label") if key in like} if like else {}
    if not columns:
        columns = _columns(file, part)
    return "image" if "image" in columns else "text", {**part, **columns}


def _table(path: Path) -> Path | None:
    """The file, or the first table of a folder that holds no folders; None where there is none."""
    if path.is_file():
        return path if path.suffix.lower() in _FORMATS else None
    if any(item.is_dir() for item in path.iterdir()):
        return None
    found = sorted(item for item in path.iterdir() if item.suffix.lower() in _FORMATS)
    return found[0] if found else None


def _holds_texts(folder: Path) -> bool:
    """Whether its folders hold text files rather than images, by those that are found first."""
    files = (item.suffix.lower() for item in folder.rglob("*") if item.is_file() and not item.name.startswith("."))
    endings = list(itertools.islice(files, SAMPLE))
    return endings.count(".txt") > sum(endings.count(ending) for ending in _ENDINGS)


def _columns(file: Path, part: Mapping[str, Any]) -> dict[str, str]:
    """Which column is the input, and which the label."""
    try:
        rows = _READERS[part["use"]](file, part)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{file} cannot be read: {error}") from error
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(names) < 2:
        found = ", ".join(names) or "none"
        raise DataError(f"{file} needs a column of texts or images and one of labels; it has {found}")
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
    label = _named(names, _LABELS) or min(names, key=lambda name: len({str(value) for value in values[name]}))
    rest = [name for name in names if name != label]
    images = [name for name in rest if _are_images(values[name])]
    if images:
        return {"image": _named(images, _IMAGES) or images[0], "label": label}
    longest = max(rest, key=lambda name: sum(len(str(value)) for value in values[name]))
    return {"text": longest, "label": label}


def _named(names: Iterable[str], usual: Iterable[str]) -> str | None:
    spelling = {name.lower(): name for name in names}
    return next((spelling[name] for name in usual if name in spelling), None)


def _are_images(values: list[Any]) -> bool:
    """Whether these are names of image files, or images as Hugging Face stores them."""
    return bool(values) and all(
        isinstance(value, bytes)
        or (isinstance(value, dict) and "bytes" in value)
        or str(value).lower().endswith(_ENDINGS)
        for value in values
    )


def _delimiter(file: Path) -> str:
    if file.suffix.lower() == ".tsv":
        return "\t"
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        header = lines.readline()
    return max(",;\t|", key=header.count)  # the comma where none occurs


def _csv_rows(file: Path, part: Mapping[str, Any]) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, delimiter=part.get("delimiter", ","), restval=None)
        return [
            {name: value or None for name, value in row.items() if name is not None}
            for row in itertools.islice(rows, SAMPLE)
        ]


def _json_rows(file: Path, part: Mapping[str, Any]) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8-sig") as lines:
        rows = [json.loads(line) for line in itertools.islice(lines, SAMPLE) if line.strip()]
    return [row for row in rows if isinstance(row, dict)]


def _parquet_rows(file: Path, part: Mapping[str, Any]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    batch = next(pq.ParquetFile(file).iter_batches(SAMPLE), None)
    return [] if batch is None else list(batch.to_pylist())


_READERS: dict[str, Callable[[Path, Mapping[str, Any]], list[dict[str, Any]]]] = {
    "csv": _csv_rows,
    "jsonl": _json_rows,
    "parquet": _parquet_rows,
}
