"""The findings as one HTML file that needs nothing but itself."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from tlhub.yaml_tree import dump
from tlhub_report.findings import ADAPTED, BASELINE, Findings, Mistake

MATRIX = 40
"""So many classes have a whole confusion matrix; of more, the pairs that are confused most are told."""

PAIRS = 20
"""So many of them."""

CLASSES = 40
"""So many classes are in the table of changes: of more, those that gained and lost most."""

TEXT = 200
"""Characters of a text that are shown."""

SIDE = 96
"""Pixels: the longest side of an image that is shown."""

_SMALL = 32  # pixels; such an image is stored as it is, so that none of its few is blurred


def page(found: Findings, place: str) -> str:
    """The report as HTML; `place` is what the user calls the model."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {
        "percent": lambda share: f"{100 * share:.1f} %",
        "name": _short,
        "python": repr,
        "code": _code,
    }
    template = environment.from_string(Path(__file__).with_name("page.html.j2").read_text(encoding="utf-8"))
    record, result = found.record, found.result
    classes = record["classes"] or []
    rows = [] if result is None else result.rows
    text = template.render(
        title=record["name"],
        place=place,
        record=record,
        result=result,
        rows=rows,
        further=list(dict.fromkeys(name for row in rows for name in row.metrics)),
        notes=found.notes,
        ill=[each for each in found.diagnosis if each.ill],
        fine=[each for each in found.diagnosis if not each.ill],
        unlooked=found.unlooked,
        changes=_changes(found, classes),
        shown_classes=CLASSES,
        matrices=_matrices(found) if len(classes) <= MATRIX else {},
        pairs=_pairs(found, classes) if len(classes) > MATRIX else [],
        classes=classes,
        curves=list(_curves(found)),
        baseline=found.baseline is not None,
        compared=BASELINE in found.confusions,
        planes=list(_planes(found)),
        samples=found.samples,
        mistakes=[_shown(each) for each in found.mistakes],
        one_class=ADAPTED in found.confusions,
        manifest=dump(record["manifest"]),
        asked={"image": "photo.jpg", "text": "some text"}.get(record["modality"]),
    )
    return text.strip().encode(errors="backslashreplace").decode() + "\n"  # names of files need not be Unicode


def _short(text: object, most: int = 40) -> str:
    """A text on one line, cut where it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


def _code(text: str) -> Markup:
    """A sentence whose names in backquotes are shown as code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(_short(text, 600)))))


def _changes(found: Findings, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The share of every class that is answered right, before and after; the greatest gain first."""
    right: dict[str, Any] = {}
    for model, counts in found.confusions.items():
        with np.errstate(invalid="ignore"):
            right[model] = np.diag(counts) / counts.sum(1)
    if not right:
        return []
    there = found.confusions[ADAPTED].sum(1)
    changes: list[dict[str, Any]] = [
        {
            "name": classes[number],
            "examples": int(there[number]),
            "before": float(right[BASELINE][number]) if BASELINE in right else None,
            "after": float(right[ADAPTED][number]),
            "change": float(right[ADAPTED][number] - right[BASELINE][number]) if BASELINE in right else None,
        }
        for number in np.flatnonzero(there).tolist()
    ]
    key = "change" if BASELINE in right else "after"
    changes.sort(key=lambda each: -each[key])
    half = CLASSES // 2
    return changes if len(changes) <= CLASSES else changes[:half] + changes[-half:]


def _matrices(found: Findings) -> dict[str, list[list[tuple[int, float]]]]:
    """By model, every cell's count and its share of its class."""
    return {
        model: [[(int(count), count / max(1, row.sum())) for count in row] for row in counts]
        for model, counts in found.confusions.items()
    }


def _pairs(found: Findings, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The classes that the adapted model takes for another most often."""
    if ADAPTED not in found.confusions:
        return []
    wrong = found.confusions[ADAPTED].copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    places = [np.unravel_index(place, wrong.shape) for place in order if wrong.flat[place]]
    before = found.confusions.get(BASELINE)
    return [
        {
            "class": classes[row],
            "answer": classes[column],
            "before": None if before is None else int(before[row, column]),
            "after": int(wrong[row, column]),
        }
        for row, column in places
    ]


# Pictures: their coordinates; the template draws them


def _curves(found: Findings) -> Iterator[dict[str, Any]]:
    """Every loss term, and the score that chose the epoch, over the epochs of the training."""
    adapted = found.record["history"]
    baseline = found.baseline["history"] if found.baseline else []
    for name in [*dict.fromkeys(name for row in adapted for name in row["loss"]), "selection"]:
        lines = {ADAPTED: _line(adapted, name), BASELINE: _line(baseline, name) if name != "selection" else []}
        values = [value for line in lines.values() for _, value in line]
        if not values:
            continue
        low, high = min(values), max(values)
        last = max(epoch for line in lines.values() for epoch, _ in line)
        height, width = high - low or 1.0, max(1, last - 1)
        drawn = {
            model: [
                (round(64 + 240 * (epoch - 1) / width, 1), round(120 - 108 * (value - low) / height, 1))
                for epoch, value in line
            ]
            for model, line in lines.items()
            if line
        }
        yield {"name": name, "lines": drawn, "low": f"{low:.4g}", "high": f"{high:.4g}", "last": last}


def _line(history: Sequence[Mapping[str, Any]], name: str) -> list[tuple[int, float]]:
    """Epochs, counted from 1 through all rounds, and a term's value in those that have it."""
    told = [{**row["loss"], "selection": row.get("selection")} for row in history]
    values = ((number, row.get(name)) for number, row in enumerate(told, 1))
    return [(number, value) for number, value in values if value is not None]


def _planes(found: Findings) -> Iterator[dict[str, Any]]:
    """Points of every domain in a square of 300 by 300."""
    for plane in found.planes:
        placed = plane.points * (1, -1)  # pictures count downwards
        low, high = placed.min(0), placed.max(0)
        scale = 280 / (float((high - low).max()) or 1.0)  # the same for both axes: distances keep their meaning
        points = (10 + (280 - scale * (high - low)) / 2 + scale * (placed - low)).round(1).tolist()
        groups, start = [], 0
        for sample in found.samples:
            own = points[start : start + len(sample.names)]
            groups.append((sample, list(zip(own, sample.names, strict=True))))
            start += len(sample.names)
        yield {"model": plane.model, "explained": plane.explained, "groups": groups}


def _shown(mistake: Mistake) -> dict[str, Any]:
    """A mistake as the page shows it: an image as `data:`, a text cut where it is long, or nothing of other inputs."""
    from PIL.Image import Image

    raw = mistake.raw
    facts: dict[str, Any] = {
        "where": mistake.where,
        "truth": mistake.truth,
        "answer": mistake.answer,
        "image": None,
        "text": None,
    }
    if isinstance(raw, Image):
        facts |= {"image": _thumbnail(raw), "pixels": max(raw.size) <= _SMALL}
    elif isinstance(raw, str):
        facts["text"] = raw
    elif isinstance(raw, list | tuple) and all(isinstance(each, str) for each in raw):
        facts["text"] = (" | " if isinstance(raw, tuple) else " ").join(raw)
    return {**facts, "probability": mistake.probability}


def _thumbnail(image: Any) -> str:
    out, small = io.BytesIO(), max(image.size) <= _SMALL
    shown = image.convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    shown.save(out, "PNG" if small else "JPEG", quality=80)
    return f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(out.getvalue()).decode()}"
