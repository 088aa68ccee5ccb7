"""Where the commands print, and what many of them print.

Names that come from users, files and plugins are shown as they are: nothing in them is taken for markup, and control
characters are escaped.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tlhub.diagnostics import escaped

_UNBOUNDED = 10_000  # columns where there is no terminal: a line is what a program such as grep wants


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stderr: bool) -> _Console:
    console = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUNDED
    return console


OUT, ERR = _console(stderr=False), _console(stderr=True)


def screen(as_json: bool) -> Console:
    """Where people read: the standard output, unless that is for JSON."""
    return ERR if as_json else OUT


def facts(value: Any) -> None:
    """JSON on the standard output; numbers that are not finite, which JSON lacks, are null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fine(name: str, summary: str) -> None:
    """A manifest without a problem."""
    OUT.print(Text.assemble((escaped(name), "bold"), " is fine: ", escaped(summary)))


def fields(console: Console, named: Mapping[str, Sequence[str]]) -> None:
    """Lines under a name each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, lines in named.items():
        for number, line in enumerate(lines):
            grid.add_row("" if number else name, escaped(line))
    show(console, grid)


def component(part: Mapping[str, Any]) -> str:
    """A part of a manifest in one line: its name, and the settings that have a value."""
    settings = [f"{key}: {as_yaml(value)}" for key, value in part.items() if key != "use" and value is not None]
    if "use" not in part:
        return ", ".join(settings)
    return str(part["use"]) + (f" ({', '.join(settings)})" if settings else "")


def count(number: int, noun: str) -> str:
    """Such as `1 epoch` or `1,200 steps`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def parameters(composed: Mapping[str, Any]) -> str:
    """How many parameters there are, and how many are trained."""
    total, trained = composed["parameters"], composed["trainable"]
    return f"{total:,}, {'all' if trained == total else f'{trained:,} of them'} trained"


def classes(names: Sequence[str]) -> str:
    """How many classes there are, and the first of them."""
    more = f" and {len(names) - 12:,} more" if len(names) > 12 else ""
    return f"{len(names):,}: {', '.join(names[:12])}{more}" if names else "none"


def outcome(console: Console, sentence: str, verdict: str | None) -> None:
    """The result in plain words."""
    console.print()
    console.print(escaped(sentence), style=_VERDICTS.get(verdict or "", ""))


_VERDICTS = {"helped": "bold green", "no evidence": "bold yellow", "hurt": "bold red"}


def written(console: Console, path: object) -> None:
    """Where the command's work is."""
    console.print(Text.assemble("Written to ", (escaped(str(path)), "bold")), soft_wrap=True)


def size(number: int) -> str:
    """Bytes, such as `12.3 MB`."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if number >= 1000**power:
            return f"{number / 1000**power:.1f} {unit}"
    return count(number, "byte")


def confirmed(question: str) -> bool:
    """What the user answers; no answer is no."""
    OUT.print(escaped(question), "[y/N]", end=" ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def files(console: Console, sizes: Mapping[str, int]) -> None:
    """The files of a folder."""
    table = columns("file", "bytes")
    for name, size in sizes.items():
        table.add_row(escaped(name), f"{size:,}")
    console.print()
    show(console, table)


def snippet(console: Console, title: str, text: str) -> None:
    """Lines to copy."""
    console.print()
    console.print(title)
    for line in text.splitlines():
        console.print(Text(f"  {escaped(line)}", "cyan"), soft_wrap=True)


def next_steps(console: Console, commands: Mapping[str, str]) -> None:
    """What to do next."""
    console.print()
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", overflow="fold")
    grid.add_column(style="dim")
    for command, what in commands.items():
        grid.add_row(f"  {escaped(command)}", what)
    console.print("Next:")
    show(console, grid)


def notes(texts: Sequence[str], console: Console = OUT) -> None:
    """What the user should know."""
    for text in texts:
        console.print(Text.assemble(("note: ", "bold yellow"), escaped(text)))


def show(console: Console, table: Table) -> None:
    """Print a table, without the spaces that fill its last column where there is no terminal."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def columns(*headers: str) -> Table:
    """A table with such columns, and no row yet."""
    return Table(
        *(Column(header, overflow="fold") for header in headers), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )


def as_yaml(value: Any) -> str:
    """A setting's value as one would write it in a manifest."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def percent(share: float) -> str:
    """Such as `91.3 %`."""
    return f"{100 * share:.1f} %"


def indented(text: str) -> str:
    """Lines that stand under the first."""
    return "\n  ".join(escaped(line) for line in text.splitlines())
