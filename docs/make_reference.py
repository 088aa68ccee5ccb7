"""Writes docs/reference.md: every command, every key of a manifest, and every component that tlhub itself brings.

    python docs/make_reference.py

What it writes comes from the code alone: descriptions of settings, docstrings, and the commands' own help.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel
from typer.main import get_command

from tlhub import hookspecs
from tlhub.catalog import KINDS, Catalog, Entry
from tlhub.manifest import Manifest, Train
from tlhub.parts import DomainPart, EvaluatePart, Part, TargetPart
from tlhub.settings import describe
from tlhub.wording import expected
from tlhub_cli.main import app

FILE = Path(__file__).with_name("reference.md")

KIND_TITLES = {
    "backbones": "Backbones",
    "adapters": "Adapters",
    "datasets": "Data sets",
    "tasks": "Tasks",
    "heads": "Necks and heads",
    "validators": "Validators",
    "scores": "Scores of backbones",
    "symptoms": "Symptoms",
    "stores": "Stores",
}
PLACES = {
    "backbones": "`backbone`",
    "adapters": "`adapters`",
    "datasets": "`source`, `target` and `evaluate`",
    "tasks": "`task`",
    "heads": "no key: adapters and tasks make them, and a saved model is built of them",
    "validators": "`select`",
    "scores": "`tlhub rank --score`, not by a manifest",
    "symptoms": "nothing: `tlhub doctor` looks for every installed one",
    "stores": "nothing: every installed one keeps every finished run, and finds it again by name",
}
COMPOSED = {
    "backbone": "a part",
    "source": "a part, or a list of parts",
    "target": "a part, or a list of parts",
    "evaluate": "a part, or a list of parts",
    "task": "a part or null",
    "adapters": "a part, or a list of parts",
    "select": "a part or null",
    "train": "a mapping",
}


def text() -> str:
    """The whole page."""
    catalog = Catalog.installed()
    own = [entry for entry in catalog.entries() if entry.distribution == "tlhub"]
    parts = [
        "# Reference",
        "Written by `docs/make_reference.py` from the code; do not edit it by hand. `tlhub plugins`, `tlhub describe "
        "NAME` and `tlhub COMMAND --help` say the same for what you have installed, plugins of others included.",
        "- [The manifest](#the-manifest)\n- [Components](#components)\n- [Commands](#commands)\n- [Hooks](#hooks)",
        *_manifest(),
        *_components(own),
        *_commands(),
        *_hooks(),
    ]
    return "\n\n".join(parts) + "\n"


def _manifest() -> Iterable[str]:
    yield "## The manifest"
    yield (
        "A manifest is a YAML file; what each key may hold is said here, how to use it in the [tutorial](tutorial.md) "
        "and the [how-to guides](README.md). A *part* names a component with `use:`; every other key of it is a "
        "setting of that component. A part without settings may be written as a bare name."
    )
    yield _fields(Manifest, COMPOSED)
    yield "### Every part"
    yield _fields(Part)
    yield "### Parts under `source`"
    yield "These keys are read by the core, before the data set's own settings."
    yield _fields(DomainPart, without=Part)
    yield "### Parts under `target`"
    yield f"As under `source`, but `labels` is {_default(TargetPart.model_fields['labels'].default)} unless written."
    yield "### Parts under `evaluate`"
    labels = EvaluatePart.model_fields["labels"]
    yield f"As under `source`, but `labels` can only be {_default(labels.default)}: {labels.description}"
    yield "### `train`"
    yield _fields(Train)


def _components(entries: Sequence[Entry]) -> Iterable[str]:
    yield "## Components"
    rows = [
        (f"[`{e.name}`](#{_anchor(_heading(e))})", _one(e), _cell(describe(e.cls).summary), f"`{e.plugin}`")
        for e in entries
    ]
    yield _table(("name", "is a", "what it is", "plugin"), rows)
    for kind in KINDS:
        yield f"### {KIND_TITLES[kind]}"
        under = "by" if kind in ("heads", "scores", "symptoms", "stores") else "in the manifest under"
        yield f"Named {under} {PLACES[kind]}."
        for entry in entries:
            if entry.kind == kind:
                yield from _component(entry)


def _component(entry: Entry) -> Iterable[str]:
    described = describe(entry.cls)
    yield f"#### {_heading(entry)}"
    for paragraph in described.text.partition("\nArgs:")[0].strip().split("\n\n"):
        yield " ".join(paragraph.split())
    facts = []
    if described.needs:
        facts.append(f"- needs: {', '.join(described.needs)}")
    if described.modalities:
        facts.append(f"- modality: {', '.join(described.modalities)}")
    if described.paper:
        facts.append(f"- paper: {described.paper}")
    if facts:
        yield "\n".join(facts)
    if not described.settings:
        yield "No settings."
        return
    rows = [
        (
            f"`{each.name}`",
            _cell(each.type),
            "*required*" if each.required else _default(each.default),
            _cell(each.description),
        )
        for each in described.settings
    ]
    yield _table(("setting", "type", "default", "meaning"), rows)


def _commands() -> Iterable[str]:
    yield "## Commands"
    yield (
        "Every command also takes `--help`. Exit codes: 0 done, 1 a bug of tlhub or of a plugin, 2 something you can "
        "mend, 130 and 143 interrupted."
    )
    for name, command in _flat(get_command(app)):
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
        yield f"### `tlhub {name}`"
        yield from (" ".join(paragraph.split()) for paragraph in inspect.cleandoc(command.help or "").split("\n\n"))
        rows = [(f"`{each.metavar or each.name.upper()}`", _cell(each.help or "")) for each in arguments]
        for option in options:
            value = "" if option.is_flag else f" {option.metavar or _metavar(option)}"
            default = _said_default(option)
            rows.append((f"`{', '.join(option.opts)}{value}`", _cell(" ".join(filter(None, (option.help, default))))))
        if rows:
            yield _table(("argument", "meaning"), rows)


def _flat(group: Any, before: str = "") -> Iterable[tuple[str, Any]]:
    """The commands of a group and of the groups in it, by all of their words."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _flat(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _metavar(option: Any) -> str:
    return str(option.name).upper()


def _said_default(option: Any) -> str:
    """The default of an option in words, where there is one to tell of."""
    if isinstance(option.show_default, str):
        return f"Default: {option.show_default}."
    return "" if option.is_flag or option.default is None or callable(option.default) else f"Default: {option.default}."


def _hooks() -> Iterable[str]:
    yield "## Hooks"
    yield (
        "A plugin is a module with some of these functions, each marked with `tlhub.hookimpl` and returning a list of "
        "classes. The docstring of each in `tlhub/hookspecs.py` holds a complete plugin."
    )
    rows = []
    for kind in KINDS:
        summary = inspect.cleandoc(getattr(hookspecs, f"tlhub_{kind}").__doc__ or "").partition("\n")[0]
        rows.append((f"`tlhub_{kind}`", _cell(summary)))
    yield _table(("hook", "returns"), rows)


def _fields(model: type[BaseModel], types: dict[str, str] | None = None, without: type[BaseModel] | None = None) -> str:
    rows = []
    for name, field in model.model_fields.items():
        if without is not None and name in without.model_fields:
            continue
        annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
        kind = (types or {}).get(name) or expected(annotation)
        default = "*required*" if field.is_required() else _default(field.default)
        rows.append((f"`{name}`", _cell(kind), default, _cell(field.description or "")))
    return _table(("key", "type", "default", "meaning"), rows)


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return ""
    return f"`{value if isinstance(value, str) else json.dumps(value, default=str)}`"


def _heading(entry: Entry) -> str:
    return f"{entry.name} ({_one(entry)})"


def _one(entry: Entry) -> str:
    return "data set" if entry.kind == "datasets" else entry.kind.removesuffix("s")


def _anchor(heading: str) -> str:
    return "".join(char for char in heading.lower().replace(" ", "-") if char.isalnum() or char in "-_")


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    print(f"wrote {FILE.name}")
