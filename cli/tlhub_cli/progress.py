"""How a command shows what is going on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from tlhub.diagnostics import escaped
from tlhub.watch import Watch
from tlhub_cli import output

LINE_SECONDS = 10.0
"""How often training prints a line where there is no terminal to draw a bar on."""

EPOCH_LINES = 10
"""How many epochs of a training get a line there, however short they are."""


def watch(console: Console) -> Watch:
    """What a run tells, on the screen: a bar on a terminal, a line now and then elsewhere."""
    return _Bar(console) if console.is_terminal else _Lines(console)


class _Screen(Watch):
    """What both kinds of screen show, and how fast training goes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.epochs = 1
        self.title = ""
        self.steps = self.done = self.first = 0
        self.began = 0.0
        self.rate = 0.0
        self.terms = ""

    def composed(self, facts: Mapping[str, Any]) -> None:
        self.epochs = facts["epochs"]
        length = f"{output.count(facts['epochs'], 'epoch')}, {output.count(facts['steps'], 'step')}"
        output.fields(
            self.console,
            {
                "backbone": [output.component(facts["backbone"])],
                "parameters": [output.parameters(facts)],
                "classes": [output.classes(facts["classes"])],
                "examples": [", ".join(f"{name} {count:,}" for name, count in facts["examples"].items())],
                "adapters": [output.component(part) for part in facts["adapters"]] or ["none"],
                "training": [f"{length}, on {facts['device']}"],
            },
        )
        self.console.print()

    def note(self, text: str) -> None:
        output.notes([text], self.console)

    def started(self, title: str, steps: int, done: int) -> None:
        self.title, self.steps, self.first, self.done = title, steps, done, done
        self.began, self.rate, self.terms = time.monotonic(), 0.0, ""
        if done:
            self.console.print(f"{title}: continues after step {done:,} of {steps:,}")

    def progress(self, done: int, rows: int, terms: Mapping[str, float]) -> None:
        self.rate = (done - self.first) * rows / max(time.monotonic() - self.began, 1e-9)
        self._advance(done, terms)

    def epoch(self, row: Mapping[str, Any]) -> None:
        per_epoch = row["step"] // (row["epoch"] + 1)
        chosen = {"selection": row["selection"]} if "selection" in row else {}
        self.rate = row["examples_per_second"]
        self._advance((row["round"] * self.epochs + row["epoch"] + 1) * per_epoch, {**row["loss"], **chosen})

    def _advance(self, done: int, terms: Mapping[str, float]) -> None:
        self.done = done
        shown = (f"{name} {value:.3g}" for name, value in terms.items() if name != "gradient")
        self.terms = escaped(" · ".join(shown))


class _Bar(_Screen):
    """One line that changes, on a terminal."""

    bar: Progress | None = None

    def started(self, title: str, steps: int, done: int) -> None:
        super().started(title, steps, done)
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            _Rate(self),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[terms]}", markup=False, table_column=Column(overflow="fold")),
            console=self.console,
            expand=False,
        )
        self.task = self.bar.add_task(title, total=steps, completed=done, terms="")
        self.bar.start()

    def stopped(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _advance(self, done: int, terms: Mapping[str, float]) -> None:
        super()._advance(done, terms)
        if self.bar is not None:
            self.bar.update(self.task, completed=done, terms=self.terms)


class _Rate(ProgressColumn):
    """Examples a second."""

    def __init__(self, screen: _Screen) -> None:
        super().__init__(Column(no_wrap=True))
        self.screen = screen

    def render(self, task: Task) -> Text:
        return Text(f"{self.screen.rate:,.0f}/s" if self.screen.rate else "", "dim")


class _Lines(_Screen):
    """A line every few seconds and at the ends of some epochs, where nothing can be drawn over."""

    def started(self, title: str, steps: int, done: int) -> None:
        super().started(title, steps, done)
        self.told_at = time.monotonic()
        self.told = EPOCH_LINES * done // steps

    def progress(self, done: int, rows: int, terms: Mapping[str, float]) -> None:
        super().progress(done, rows, terms)
        if time.monotonic() - self.told_at >= LINE_SECONDS:
            self._tell()

    def epoch(self, row: Mapping[str, Any]) -> None:
        super().epoch(row)
        if EPOCH_LINES * self.done // self.steps > self.told:
            self._tell()

    def _tell(self) -> None:
        self.told_at = time.monotonic()
        self.told = EPOCH_LINES * self.done // self.steps
        left = (self.steps - self.done) * (self.told_at - self.began) / max(1, self.done - self.first)
        self.console.print(
            f"{self.title}: step {self.done:,} of {self.steps:,}, {self.rate:,.0f} examples/s, "
            f"{int(left) // 60}:{int(left) % 60:02} left · {self.terms}",
            soft_wrap=True,
        )


@contextmanager
def counted(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A line for each of so many things as it is done, and a bar below them where there is a terminal."""
    with Progress(
        TextColumn("runs"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=total)

        def tell(text: str) -> None:
            progress.advance(bar)
            console.print(escaped(text))

        yield tell
