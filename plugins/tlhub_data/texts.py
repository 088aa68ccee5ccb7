"""What is looked at in texts before anybody tokenises them: that each is one, and which are there twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tlhub.errors import DataError

LIMIT = 1_000_000
"""Characters that a text may have; who has more in one has mistaken a file for a text."""

Where = Callable[[int], str]


def check_texts(texts: Iterable[Any], noun: str, where: Where) -> None:
    """Raise a DataError that names the rows where a text, or a list of words, is missing, blank or beyond `LIMIT`."""
    empty = []
    for row, value in enumerate(texts):
        text = _in_one_piece(value)
        if not text or text.isspace():
            empty.append(row)
        elif len(text) > LIMIT:
            raise DataError(
                f"{where(row)}: {noun} has {len(text):,} characters, more than {LIMIT:,}",
                "are these many texts in one? Give each its own row or file",
            )
    if empty:
        raise lacking(empty, noun, where)


def lacking(rows: Sequence[int], noun: str, where: Where) -> DataError:
    """The error for rows without a value."""
    second = f", nor has {where(rows[1])}" if len(rows) > 1 else ""
    more = f" (and {len(rows) - 2:,} more)" if len(rows) > 2 else ""
    return DataError(f"{where(rows[0])} has no {noun}{second}{more}", "fill it in, or remove it")


def repeats(texts: Iterable[Any], labels: Sequence[Any] | None, where: Where) -> tuple[str, ...]:
    """Sentences that tell how many texts are there a second time, and how many of those with another label."""
    first: dict[int, int] = {}  # by hash: the texts may be larger than memory
    twice: list[tuple[int, int]] = []
    for row, text in enumerate(texts):
        earlier = first.setdefault(hash(tuple(text) if isinstance(text, list) else text), row)
        if earlier != row:
            twice.append((earlier, row))
    unlike = [(earlier, row) for earlier, row in twice if labels is not None and labels[earlier] != labels[row]]
    return tuple(
        f"{what}: {len(pairs):,}, such as {where(pairs[0][0])} and {where(pairs[0][1])}"
        for what, pairs in (("repeated texts", twice), ("repeated texts with another label", unlike))
        if pairs
    )


def _in_one_piece(value: Any) -> str:
    """A text, or words as one; empty where it is missing, or a word is."""
    if isinstance(value, list):
        return "" if None in value else " ".join(value)
    return value or ""
