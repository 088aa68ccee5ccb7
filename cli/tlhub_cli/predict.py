"""`tlhub predict`"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from tlhub.diagnostics import escaped
from tlhub.errors import DataError, UserError
from tlhub_cli import output
from tlhub_cli.options import Device, Json, Place, located

CHUNK = 64
"""So many inputs are read, answered and shown at a time."""

LONGEST_TEXT = 1_000_000
"""Characters; a longer one is a table or a whole corpus, and would be cut to its first sentences."""

EXCERPT = 60
"""So much of a text, in characters, names it."""

_FOR_PROGRAMS = ("tags",)
"""Parts of an answer that only JSON has: the entities say the same to people."""

_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
_TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet")


def predict(
    model: Place,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Image files, or folders of them. For a model of texts: texts in quotes, text files, folders of them, "
            "or - for the lines of the standard input.",
            show_default=False,
        ),
    ],
    pair: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The second text, for a model of pairs.", show_default=False)
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Ask an adapted model: one line for each input, with the answer and how probable it is.

    An input that cannot be read is named at the end; the others are answered all the same.
    """
    from tlhub import artifact

    folder = located(model)
    record = artifact.read_record(folder)
    asked = _asked(record["modality"], inputs, model)
    if pair is not None:
        if record["modality"] != "text":
            raise UserError(f"{model} does not read texts, which `--pair` is for", "leave it out")
        _checked(pair, "the text of `--pair`")
    adapted = artifact.load(folder, device)
    answers: list[dict[str, Any]] = []
    unreadable: list[str] = []
    for start in range(0, len(asked), CHUNK):
        raws, readable = _read(asked[start : start + CHUNK], unreadable)
        if pair is not None:
            raws = [(raw, pair) for raw in raws]
        told = list(zip(readable, adapted.predict(raws), strict=True))
        if json:
            answers += [{**each.known, **answer} for each, answer in told]
        else:
            _print_answers([(each.name, answer) for each, answer in told])
    if json:
        output.facts(answers)
    if unreadable:
        raise DataError("\n".join(unreadable), "replace them, or leave them out")


@dataclass(frozen=True)
class _Asked:
    """One input: what JSON knows it by, its name on a line, and what reads it."""

    known: Mapping[str, str]
    name: str
    read: Callable[[], Any]


def _asked(modality: str, inputs: Sequence[str], model: str) -> list[_Asked]:
    """What the arguments name. Raises DataError where there is nothing, naming all such arguments."""
    if modality not in _KINDS:
        raise UserError(
            f"{model} reads {modality}, and this command reads images and texts",
            f"in Python: `tlhub.load({model!r}).predict([…])`",
        )
    wrong: list[str] = []
    found = [each for argument in inputs for each in _KINDS[modality](argument, wrong)]
    if wrong:
        raise DataError("\n".join(wrong))
    return found


def _images(argument: str, wrong: list[str]) -> Iterator[_Asked]:
    """The image file that an argument names, or the images in a folder."""
    for file in _files(Path(argument), _IMAGES, "images", wrong):
        yield _Asked({"file": str(file)}, str(file), partial(_image, file))


def _texts(argument: str, wrong: list[str]) -> Iterator[_Asked]:
    """An argument that is a text, or the texts in the file, the folder or the standard input that it names."""
    if argument == "-":
        for number, line in enumerate(_lines(), 1):
            yield _text(line, f"line {number} of the standard input")
    elif os.path.exists(argument) or _is_file_name(argument):  # noqa: PTH110 (Path's raises where a text is long)
        if argument.lower().endswith(_TABLES):
            wrong.append(f"{argument} is a table: hand over its texts, one a line, to `tlhub predict MODEL -`")
            return
        for file in _files(Path(argument), (".txt",), "text files", wrong):
            yield _Asked({"file": str(file)}, str(file), partial(_text_in, file))
    else:
        yield _text(argument, "one of the texts")


_KINDS = {"image": _images, "text": _texts}


def _is_file_name(argument: str) -> bool:
    """Whether somebody who writes this means a file, though there is none."""
    return argument.lower().endswith((".txt", *_TABLES)) and len(argument.split()) == 1


def _files(path: Path, endings: tuple[str, ...], what: str, wrong: list[str]) -> list[Path]:
    """The file, or those in the folder; what is not there is added to `wrong`."""
    if not path.exists():
        wrong.append(f"there is no file {path}")
        return []
    if not path.is_dir():
        return [path]
    inside = sorted(file for file in path.rglob("*") if _is_one(file, path, endings))
    if not inside:
        wrong.append(f"{path} holds no {what}")
    return inside


def _is_one(file: Path, folder: Path, endings: tuple[str, ...]) -> bool:
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in endings and not hidden and file.is_file()


def _lines() -> list[str]:
    """The lines of the standard input. Raises DataError where it is no text."""
    try:
        return [line.rstrip("\n") for line in io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig")]
    except UnicodeDecodeError as error:
        raise DataError(f"the standard input is not UTF-8: {error.reason}") from None


def _text(text: str, where: str) -> _Asked:
    return _Asked({"text": text}, _excerpt(text), partial(_checked, text, where))


def _text_in(file: Path) -> str:
    """The text of a file. Raises DataError naming a file that holds none."""
    try:
        return _checked(file.read_text(encoding="utf-8-sig"), str(file))
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8") from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from None


def _checked(text: str, where: str) -> str:
    if not text.strip():
        raise DataError(f"{where} is empty")
    if len(text) > LONGEST_TEXT:
        raise DataError(f"{where} has {len(text):,} characters, more than the {LONGEST_TEXT:,} that a text may have")
    return text


def _image(file: Path) -> Any:
    from tlhub.inputs import read_file

    return read_file(file)


def _read(asked: Sequence[_Asked], unreadable: list[str]) -> tuple[list[Any], list[_Asked]]:
    """The inputs that can be read, raw and as they are known; why the others cannot is added to `unreadable`."""
    raws, readable = [], []
    for each in asked:
        try:
            raws.append(each.read())
        except DataError as error:
            unreadable.append(error.message)
        else:
            readable.append(each)
    return raws, readable


def _print_answers(told: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """One line for every input: its name, and what the model says of it."""
    width = max((len(escaped(name)) for name, _ in told), default=0)
    for name, answer in told:
        said = [_said(key, value) for key, value in answer.items() if key not in _FOR_PROGRAMS]
        output.OUT.print(f"{escaped(name):<{width}}  {'  '.join(map(escaped, said))}", soft_wrap=True)


def _said(key: str, value: Any) -> str:
    """A part of an answer in words."""
    if key == "probability":
        return output.percent(value)
    if key == "probabilities":
        return ", ".join(f"{name} {output.percent(probability)}" for name, probability in value.items())
    if key == "labels":
        return ", ".join(value) or "none"
    if key == "entities":
        parts = (f"{each['text']} ({each['type']} {output.percent(each['probability'])})" for each in value)
        return ", ".join(parts) or "no entities"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"
