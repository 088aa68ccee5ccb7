"""`tlhub predict`"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tlhub.errors import DataError, UserError
from tlhub_cli import output
from tlhub_cli.options import Device, Folder, Json

CHUNK = 64
"""So many files are read, answered and shown at a time."""

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}


def predict(
    folder: Folder,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Images, or folders of them.", show_default=False)
    ],
    device: Device = None,
    json: Json = False,
) -> None:
    """Ask an adapted model about files: one line for each, with its label and the probability.

    A file that cannot be read is named at the end; the others are answered all the same.
    """
    found = _expanded(files)
    from tlhub import artifact

    record = artifact.read_record(folder)
    if record["modality"] != "image":
        raise UserError(
            f"{folder} reads {record['modality']}, and this command reads image files",
            f"in Python: `tlhub.load({str(folder)!r}).predict([…])`",
        )
    adapted = artifact.load(folder, device)
    answers: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for start in range(0, len(found), CHUNK):
        images, readable = _read(found[start : start + CHUNK], unreadable)
        told = [{"file": str(file), **answer} for file, answer in zip(readable, adapted.predict(images), strict=True)]
        answers += told
        if not json:
            output.answers(told)
    if json:
        output.facts(answers)
    if unreadable:
        raise DataError("\n".join(unreadable), "replace them, or leave them out")


def _expanded(paths: Sequence[Path]) -> list[Path]:
    """The files, and the images in the folders. Raises DataError where there is nothing, naming all such paths."""
    wrong = [f"there is no file {path}" for path in paths if not path.exists()]
    files: list[Path] = []
    for path in paths:
        inside = sorted(_images(path)) if path.is_dir() else [path]
        if not inside:
            wrong.append(f"{path} holds no images")
        files += inside
    if wrong:
        raise DataError("\n".join(wrong))
    return files


def _images(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in _ENDINGS and not hidden and path.is_file():
            yield path


def _read(files: Sequence[Path], unreadable: list[str]) -> tuple[list[Any], list[Path]]:
    """The images that can be read and their files; why the others cannot is added to `unreadable`."""
    from tlhub.inputs import read_file

    images, readable = [], []
    for file in files:
        try:
            images.append(read_file(file))
        except DataError as error:
            unreadable.append(error.message)
        else:
            readable.append(file)
    return images, readable
