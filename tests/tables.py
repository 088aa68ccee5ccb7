"""Small real files for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 6, side: int = 24) -> Path:
    """Class folders of small images; the classes differ in colour."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for image in range(each):
            pixels = generator.integers(0, 120, (side, side, 3))
            pixels[..., number % 3] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{image}.png")
    return folder


def write_table(file: Path) -> Path:
    """A table of labelled texts in the format that the file's ending names."""
    rows = [{"text": f"text number {number}", "label": ("bad", "good")[number % 2]} for number in range(8)]
    if file.suffix == ".csv":
        file.write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    elif file.suffix == ".jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), file)
    return file
