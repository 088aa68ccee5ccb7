"""What label columns say: classes, classes of words, several classes at once, or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlhub.data import NO_LABEL
from tlhub.errors import DataError
from tlhub_data.texts import Where

if TYPE_CHECKING:
    import datasets
    from torch import Tensor

OUTSIDE = "O"
"""The class of a word that belongs to no name, in the tagging schemes IOB, BIO and BIOES."""

_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_FLAGS = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0, "false": 0.0, "true": 1.0}


@dataclass(frozen=True)
class Labels:
    """The labels of a split.

    Attributes:
        values: in one of the forms that `tlhub.data.Examples` describes.
        said: for every row, what its label says in names or numbers; equal where the labels are.
    """

    values: list[int] | Tensor
    classes: tuple[str, ...] | None
    task: str
    said: list[Any]


def read_labels(
    table: datasets.Dataset, label: str | list[str], where: Where, words: Iterable[Any] | None = None
) -> Labels:
    """The labels in a column, or in several columns of 0 and 1; of the `words` of each row, where those are given.

    Raises DataError that names the row where they are no labels.
    """
    if not isinstance(label, str):
        return _flags(table, label, where)
    values = table.data.column(label).to_pylist()
    feature = table.features[label]
    item = _item(feature)
    if words is not None:
        if item is feature:
            raise DataError(f"{where(0)}: `{label}` is {values[0]!r}, expected a list with a tag for every word")
        return _tags(values, label, item, where, words)
    if item is not feature:
        return _sets(values, label, item, where)
    numbers = _numbers(values, label, feature, where)
    if numbers is not None:
        return numbers
    names, classes = _names(values, label, feature, where)
    number = {name: index for index, name in enumerate(classes)}
    return Labels([number[name] for name in names], classes, "classification", names)


def declared(feature: Any, words: bool) -> tuple[str, ...] | None:
    """The class names that a column's type declares, as Hugging Face's ClassLabel does, alone or in a list."""
    names = getattr(_item(feature), "names", None)
    if names is None:
        return None
    return _outside_first(names) if words else tuple(names)


def as_texts(values: Sequence[Any], where: Where) -> list[Any]:
    """Labels of a text format as texts, or as lists of texts where they are lists; None stays what it is.

    Raises DataError that names the row of what is no label.
    """
    if not any(isinstance(value, list) for value in values):
        return [value if value is None else _text(value, row, where) for row, value in enumerate(values)]
    for row, value in enumerate(values):
        if not (value is None or isinstance(value, list)):
            raise DataError(
                f"{where(row)}: the label is {value!r}, but a list in other rows", "write a list everywhere"
            )
    return [value if value is None else [_text(item, row, where) for item in value] for row, value in enumerate(values)]


def _text(value: Any, row: int, where: Where) -> str:
    if isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return str(value)
    raise DataError(f"{where(row)}: the label is {value!r}, expected the name of a class or a number")


def _item(feature: Any) -> Any:
    """The type of what a column of lists holds; of another column, its own."""
    return getattr(feature, "feature", feature)


def _names(values: Sequence[Any], label: str, feature: Any, where: Where) -> tuple[list[str], tuple[str, ...]]:
    """The name of every value's class, and all classes: as declared, else sorted, whole numbers as numbers."""
    classes = declared(feature, words=False)
    if classes is not None:
        for place, value in enumerate(values):
            if value is None or not 0 <= value < len(classes):
                raise DataError(
                    f"{where(place)}: `{label}` is {value}, which counts through {len(classes)} classes",
                    "write `labels: none` where the labels are unknown (-1)",
                )
        return [classes[value] for value in values], classes
    names = [_text(value, place, where) for place, value in enumerate(values)]
    whole = all(_WHOLE.fullmatch(name) for name in set(names))
    return names, tuple(sorted(set(names), key=lambda name: (int(name) if whole else 0, name)))


def _numbers(values: Sequence[Any], label: str, feature: Any, where: Where) -> Labels | None:
    """The labels as numbers to predict, where they are: of a floating type, or written so in at least one row."""
    floating = str(getattr(feature, "dtype", "")).startswith("float")
    if not floating:
        distinct = {value for value in values if isinstance(value, str)}
        written = bool(distinct) and all(_NUMBER.fullmatch(text) for text in distinct)
        if not written or all(_WHOLE.fullmatch(text) for text in distinct):
            return None
    import torch

    numbers = [float(value) for value in values]
    for row, value in enumerate(numbers):
        if not math.isfinite(value):
            raise DataError(f"{where(row)}: `{label}` is {value}, expected a finite number")
    return Labels(torch.tensor(numbers), None, "regression", numbers)


def _flags(table: datasets.Dataset, columns: Sequence[str], where: Where) -> Labels:
    """Several columns, one for each class, that say which rows are of it."""
    import torch

    rows: list[list[float]] = [[] for _ in range(len(table))]
    for name in columns:
        for row, value in enumerate(table.data.column(name).to_pylist()):
            flag = _FLAGS.get(str(value).lower())
            if flag is None:
                raise DataError(f"{where(row)}: `{name}` is {value!r}, expected 0 or 1, or true or false")
            rows[row].append(flag)
    return Labels(torch.tensor(rows), tuple(columns), "multilabel", rows)


def _sets(values: Sequence[Sequence[Any]], label: str, item: Any, where: Where) -> Labels:
    """A list of the classes each row is of, which may be empty."""
    import torch

    owner, flat = _flat(values)
    names, classes = _names(flat, label, item, lambda place: where(owner[place]))
    if not classes:
        raise DataError(f"{where(0)}: `{label}` is empty, and so it is in all other rows")
    number = {name: index for index, name in enumerate(classes)}
    of_class = torch.zeros(len(values), len(classes))
    of_class[owner, [number[name] for name in names]] = 1
    said: list[set[str]] = [set() for _ in values]
    for row, name in zip(owner, names, strict=True):
        said[row].add(name)
    return Labels(of_class, classes, "multilabel", [sorted(each) for each in said])


def _tags(values: Sequence[Sequence[Any]], label: str, item: Any, where: Where, words: Iterable[Any]) -> Labels:
    """A class for every word: `[rows, longest]`, `NO_LABEL` beyond a row's words."""
    import torch

    for row, (tags, sentence) in enumerate(zip(values, words, strict=True)):
        if len(tags) != len(sentence):
            raise DataError(
                f"{where(row)}: {len(sentence)} words, but {len(tags)} tags in `{label}`", "give every word one tag"
            )
    owner, flat = _flat(values)
    names, classes = _names(flat, label, item, lambda place: where(owner[place]))
    classes = _outside_first(classes)
    number = {name: index for index, name in enumerate(classes)}
    lengths = torch.tensor([len(tags) for tags in values])
    places = torch.arange(int(lengths.max())) < lengths[:, None]
    numbers = torch.full(places.shape, NO_LABEL)
    numbers[places] = torch.tensor([number[name] for name in names])
    rest = iter(names)
    return Labels(numbers, classes, "token_classification", [[next(rest) for _ in tags] for tags in values])


def _flat(values: Sequence[Sequence[Any]]) -> tuple[list[int], list[Any]]:
    """The items of all rows one after the other: whose each is, and what it is."""
    owner = [row for row, items in enumerate(values) for _ in items]
    return owner, [item for items in values for item in items]


def _outside_first(classes: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(classes, key=lambda name: name != OUTSIDE))
