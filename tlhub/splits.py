"""The little language of splits: `train`, `test[:100]`, `train[:10%]`, `train+validation`."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_PIECE = re.compile(
    r"(?P<name>[\w.-]+)(?P<slice>\[(?P<start>-?[0-9]{1,15}%?)?:(?P<stop>-?[0-9]{1,15}%?)?\])?", re.ASCII
)
_EXAMPLES = "write it like `train`, `test[:100]`, `train[:10%]` or `train+validation`"


class Piece(NamedTuple):
    """A split, or a slice of it; `start` and `stop` are as in Python, counted in examples or in percent."""

    name: str
    start: int | None
    stop: int | None
    unit: Literal["", "%"]


def parse_split(text: str) -> list[Piece]:
    """The pieces that a split is put together from. Raises ValueError where the text is not a split."""
    return [_piece(part.strip()) for part in text.split("+")]


def select_rows(piece: Piece, length: int) -> slice:
    """The rows that the piece takes of a split of this length.

    Percentages are rounded to the nearest row, so that `[:10%]` and `[10%:]` have no row in common and leave none out.
    """
    bounds = (piece.start, piece.stop)
    if piece.unit == "%":
        bounds = (_share(piece.start, length), _share(piece.stop, length))
    start, stop, _ = slice(*bounds).indices(length)
    return slice(start, max(start, stop))


def _piece(text: str) -> Piece:
    match = _PIECE.fullmatch(text)
    if match is None:
        raise ValueError(f"`{text}` is not a split; {_EXAMPLES}")
    bounds = [match["start"], match["stop"]]
    units = {"%" if bound.endswith("%") else "" for bound in bounds if bound}
    if len(units) > 1:
        raise ValueError(f"`{text}` counts one end in examples and the other in percent; use the same for both")
    start, stop = (int(bound.rstrip("%")) if bound else None for bound in bounds)
    if "%" in units and any(abs(bound) > 100 for bound in (start, stop) if bound is not None):
        raise ValueError(f"`{text}` asks for more than 100 %")
    return Piece(match["name"], start, stop, "%" if "%" in units else "")


def _share(percent: int | None, length: int) -> int | None:
    return None if percent is None else (percent * length + 50) // 100
