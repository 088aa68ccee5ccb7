"""The picture of which classes a model takes for which."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

_NAMED = 40
"""So many classes have their names on the axes, where they can still be read."""

_COUNTED = 15
"""So many classes have numbers in the cells."""

_LONGEST = 24
"""Characters of a class name."""


def picture(record: Mapping[str, Any]) -> bytes | None:
    """A PNG of the adapted model's confusion matrix over all its evaluations; None where the record has none."""
    rows = (record.get("result") or {}).get("rows", [])
    counts = [row["confusion"] for row in rows if row.get("confusion")]
    return drawn(np.sum(counts, axis=0), record["classes"]) if counts else None


def drawn(counts: Any, classes: list[str]) -> bytes:
    """A PNG of the matrix `[classes, answers]`, shaded by the share of each class; the same for the same numbers."""
    from matplotlib.figure import Figure
    from PIL import Image

    side = min(4 + 0.25 * len(classes), 10)
    figure = Figure((side, side), dpi=80)
    axes = figure.subplots()
    axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("answer")
    axes.set_ylabel("class")
    ticks = range(len(classes)) if len(classes) <= _NAMED else []
    names = [classes[number] for number in ticks]
    shown = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    axes.set_xticks(ticks, shown, rotation=90, parse_math=False)
    axes.set_yticks(ticks, shown, parse_math=False)
    if len(classes) <= _COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            dark = 2 * count > counts[row].sum()
            axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    drawing, out = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font lacks
        figure.tight_layout()
        figure.savefig(drawing, format="png")
    # 48 colours are enough, and a quarter of the bytes: a delta is hardly larger than its picture
    Image.open(drawing).convert("RGB").quantize(48).save(out, "PNG", optimize=True)
    return out.getvalue()
