"""Everything the commands print.

Names that come from users, files and plugins are shown as they are: nothing in them is taken for markup, and control
characters are escaped.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from tlhub.diagnostics import escaped, render
from tlhub.watch import Watch

if TYPE_CHECKING:
    from tlhub.adaptation import Row
    from tlhub.bench_table import Table as BenchTable
    from tlhub.catalog import Entry
    from tlhub.diagnostics import Problem
    from tlhub.measure import Comparison
    from tlhub.rank import Estimate, Ranking
    from tlhub.recommend import Recommendation
    from tlhub.seeds import Mean
    from tlhub.settings import Description
    from tlhub_registry.fsck import Damage
    from tlhub_registry.reproduce import Measured

LINE_SECONDS = 10.0
"""How often training prints a line where there is no terminal to draw a bar on."""

EPOCH_LINES = 10
"""How many epochs of a training get a line there, however short they are."""

EXCERPT = 60
"""So much of a text, in characters, names it."""

_UNBOUNDED = 10_000  # columns where there is no terminal: a line is what a program such as grep wants


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def _console(stderr: bool) -> _Console:
    console = _Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBOUNDED
    return console


_OUT, _ERR = _console(stderr=False), _console(stderr=True)


def screen(as_json: bool) -> Console:
    """Where people read: the standard output, unless that is for JSON."""
    return _ERR if as_json else _OUT


def facts(value: Any) -> None:
    """JSON on the standard output; numbers that are not finite, which JSON lacks, are null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(child) for child in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Errors


def error(message: str, hint: str | None = None) -> None:
    """Something the user can mend."""
    _fault("error: " + _indented(message) + ("" if hint is None else f"\n  help: {_indented(hint)}"))


def problems(found: Sequence[Problem]) -> None:
    """Everything that is wrong with a file, each at its place."""
    _fault(render(found) + (f"\n\n{len(found)} problems" if len(found) > 1 else ""))


def interrupted(again: str | None) -> None:
    """The user stopped the command; `again` continues it."""
    _fault("interrupted" if again is None else f"interrupted; continue with: {escaped(again)}")


def bug(what: str, where: str, version: str) -> None:
    """A mistake of ours, or of a plugin."""
    _fault(
        f"error: this is a bug in tlhub or in a plugin: {_indented(what)}\n  raised in {escaped(where)}\n"
        f"  help: please report it with the command, tlhub's version ({version}), and what it says with --debug"
    )


def _fault(message: str) -> None:
    text = Text(message)
    text.highlight_regex(r"\berror:", "bold red")
    text.highlight_regex(r"(?m)^ *=? *help:", "bold cyan")
    text.highlight_regex(r"(?m)^ *\| *\^+$", "bold red")
    _ERR.print(text, soft_wrap=True)


def _indented(text: str) -> str:
    return "\n  ".join(escaped(line) for line in text.splitlines())


# Facts


def fine(name: str, summary: str) -> None:
    """A manifest without a problem."""
    _OUT.print(Text.assemble((escaped(name), "bold"), " is fine: ", escaped(summary)))


def fields(console: Console, named: Mapping[str, Sequence[str]]) -> None:
    """Lines under a name each."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="cyan", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, lines in named.items():
        for number, line in enumerate(lines):
            grid.add_row("" if number else name, escaped(line))
    _show(console, grid)


def component(part: Mapping[str, Any]) -> str:
    """A part of a manifest in one line: its name, and the settings that have a value."""
    settings = [f"{key}: {_yaml(value)}" for key, value in part.items() if key != "use" and value is not None]
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


def results(console: Console, metric: str, rows: Sequence[Row]) -> None:
    """Every model's score on every data set in percent, and further metrics as they are: they may have a unit."""
    if not rows:
        return
    further = list(dict.fromkeys(name for row in rows for name in row.metrics))
    table = _table("scored on", "examples", "model", metric, "95 % interval", *further)
    domains = list(dict.fromkeys(row.domain for row in rows))
    for row in sorted(rows, key=lambda row: domains.index(row.domain)):
        score = row.score
        spread = f"{_percent(score.low)} – {_percent(score.high)}"
        others = [f"{row.metrics[name]:,.3f}" if name in row.metrics else "" for name in further]
        cells = [row.domain, f"{score.examples:,}", row.model, _percent(score.value), spread, *others]
        table.add_row(*map(escaped, cells), style="bold" if row.model == "adapted" else "")
    console.print()
    _show(console, table)


def compared(console: Console, model: str, first: str, metric: str, comparison: Comparison) -> None:
    """What a model is against the first one."""
    said = {"helped": "better than", "hurt": "worse than", "no evidence": "not known to differ from"}
    spread = f"{100 * comparison.low:+.1f} to {100 * comparison.high:+.1f}"
    points = f"{metric} {100 * comparison.difference:+.1f} points, 95 % interval {spread}"
    console.print()
    console.print(Text(escaped(f"{model} is {said[comparison.outcome]} {first}: {points}.")), soft_wrap=True)


def means(console: Console, metric: str, found: Sequence[Mean]) -> None:
    """Every model's mean score over the seeds on every data set."""
    table = _table("scored on", "model", metric, "standard deviation over seeds")
    for mean in sorted(found, key=lambda mean: mean.domain):
        deviation = "–" if mean.deviation is None else _percent(mean.deviation)
        cells = (mean.domain, mean.model, _percent(mean.value), deviation)
        table.add_row(*map(escaped, cells), style="bold" if mean.model == "adapted" else "")
    console.print()
    _show(console, table)


def bench(console: Console, table: BenchTable) -> None:
    """Methods by tasks, what each gains over the first, and what looks wrong."""
    with_mean = len(table.tasks) > 1
    _grid(console, f"{table.metric}, per cent, last or selected epoch", table, table.scores, table.means, with_mean)
    _grid(console, "the oracle's epoch (not selectable)", table, table.oracles, table.oracle_means, with_mean)
    gains = _table("method", f"gain over {escaped(table.methods[0])}", "95 % interval", "p", "pairs")
    for method, gain in table.gains.items():
        if gain is None:
            gains.add_row(escaped(method), "–", "–", "–", "0")
            continue
        known = gain.low is not None and gain.high is not None and gain.p is not None
        interval = f"{gain.low:+.1f} to {gain.high:+.1f}" if known else "–"
        gains.add_row(
            escaped(method), f"{gain.difference:+.1f}", interval, f"{gain.p:.3f}" if known else "–", str(gain.pairs)
        )
    if table.gains:
        console.print()
        _show(console, gains)
    for warning in table.warnings:
        _note(console, warning)


def _grid(
    console: Console,
    title: str,
    table: BenchTable,
    cells: Mapping[str, Mapping[str, object]],
    means: Mapping[str, object],
    with_mean: bool,
) -> None:
    console.print()
    console.print(title)
    drawn = _table("method", *map(escaped, table.tasks), *(["mean"] if with_mean else []))
    for method in table.methods:
        row = [*(cells[method][task] for task in table.tasks), *([means[method]] if with_mean else [])]
        drawn.add_row(escaped(method), *("–" if value is None else str(value) for value in row))
    _show(console, drawn)


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


def reproduction(console: Console, metric: str, measured: Sequence[Measured]) -> None:
    """The scores of a run that was made again, beside those of then."""
    if not measured:
        return
    table = _table("scored on", f"{metric} there", "95 % interval", "here", "")
    for each in measured:
        spread = f"{_percent(each.low)} – {_percent(each.high)}"
        verdict = "within" if each.within else "outside"
        table.add_row(*map(escaped, (each.domain, _percent(each.there), spread, _percent(each.here), verdict)))
    console.print()
    _show(console, table)


def estimates(console: Console, found: Sequence[Estimate], examples: int) -> None:
    """What every backbone will take to see all examples."""
    table = _table("backbone", "parameters", "width", "seconds", "MB")
    for each in found:
        figures = _millions(each.parameters), f"{each.width:,}", f"{each.seconds:,.1f}", f"{each.bytes / 1e6:,.0f}"
        table.add_row(escaped(each.backbone), *figures)
    console.print(f"Estimated for {count(examples, 'example')}: time for features, memory for them and for weights.")
    console.print()
    _show(console, table)
    console.print()
    console.print(f"In all some {sum(each.seconds for each in found):,.0f} s, and then the scores.")


def ranking(console: Console, found: Ranking) -> None:
    """Backbones with their scores, the best first, and how the scores agree."""
    names = list(found.rows[0].scores)
    table = _table("backbone", *names, "parameters", "width", "seconds")
    for row in found.rows:
        scores = ["–" if row.scores[name] is None else f"{row.scores[name]:.4g}" for name in names]
        figures = _millions(row.parameters), f"{row.width:,}", f"{row.seconds:,.1f}"
        table.add_row(escaped(row.backbone), *scores, *figures)
    console.print()
    _show(console, table)
    if found.agreement:
        console.print()
        console.print("How far two scores agree on the order (Spearman's rank correlation):")
        both = {**found.agreement, **{(second, first): value for (first, second), value in found.agreement.items()}}
        alike = _table("", *names)
        for first in names:
            cells = [f"{both[first, second]:+.2f}" if (first, second) in both else "" for second in names]
            alike.add_row(escaped(first), *cells)
        _show(console, alike)
    if found.notes:
        console.print()
        notes(found.notes)


def _millions(number: int) -> str:
    return f"{number / 1e6:,.1f} M"


def recommendation(console: Console, found: Recommendation) -> None:
    """The evidence, then every rule that holds with its proposal."""
    console.print()
    console.print("Evidence:")
    for said in found.evidence.sentences():
        console.print(f"  {escaped(said)}")
    console.print()
    if not found.proposals:
        console.print("No rule holds for this evidence: train on the source, and measure.")
    for each in found.proposals:
        console.print(escaped(each.says))
        console.print(Text(f"  {', '.join(each.adapters) or 'no adapter'}", "bold"))


def outcome(console: Console, sentence: str, verdict: str | None) -> None:
    """The result in plain words."""
    console.print()
    console.print(escaped(sentence), style=_VERDICTS.get(verdict or "", ""))


def written(console: Console, path: object) -> None:
    """Where the command's work is."""
    console.print(Text.assemble("Written to ", (escaped(str(path)), "bold")), soft_wrap=True)


def excerpt(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"


def answers(told: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """One line for every input: its name, and what the model says of it."""
    width = max((len(escaped(name)) for name, _ in told), default=0)
    for name, answer in told:
        said = [_said(key, value) for key, value in answer.items() if key not in _FOR_PROGRAMS]
        _OUT.print(f"{escaped(name):<{width}}  {'  '.join(map(escaped, said))}", soft_wrap=True)


_FOR_PROGRAMS = ("tags",)
"""Parts of an answer that only JSON has: the entities say the same to people."""


def _said(key: str, value: Any) -> str:
    """A part of an answer in words."""
    if key == "probability":
        return _percent(value)
    if key == "probabilities":
        return ", ".join(f"{name} {_percent(probability)}" for name, probability in value.items())
    if key == "labels":
        return ", ".join(value) or "none"
    if key == "entities":
        parts = (f"{each['text']} ({each['type']} {_percent(each['probability'])})" for each in value)
        return ", ".join(parts) or "no entities"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def models(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Adapted models that were found."""
    if not rows:
        console.print("No adapted model was found.")
        return
    table = _table("model", "task", "made from", "data", "adapters", "score", "source-only", "downloads")
    for row in rows:
        table.add_row(*map(escaped, row))
    _show(console, table)


def entries(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """What the registry keeps."""
    table = _table("entry", "tags", "added", "task", "adapters", "result", "size")
    for each in found:
        names = (", ".join(each[key]) for key in ("task", "adapter"))
        row = (each["ref"], ", ".join(each["tags"]), each["created"][:10], *names, each["score"] or "")
        table.add_row(*map(escaped, row), size(each["size"]))
    _show(console, table)


def lineage(console: Console, model: Mapping[str, Any]) -> None:
    """A model as a tree, with what it was made from below it."""

    def label(each: Mapping[str, Any]) -> Text:
        entry = "" if each["entry"] in (None, each["name"]) else f", here {each['entry']}"
        place = f", {each['hub']}" if each.get("hub") else ""
        pinned = escaped(f" @ {each['revision'] or 'not pinned'}{place}{entry}")
        return Text.assemble(f"{each['role']}: ", (escaped(each["name"]), "bold"), (pinned, "dim"))

    def grow(tree: Tree, below: Sequence[Mapping[str, Any]]) -> Tree:
        for each in below:
            grow(tree.add(label(each)), each["lineage"])
        return tree

    console.print(grow(Tree(label(model)), model["lineage"]))


def damages(console: Console, found: Sequence[Damage]) -> None:
    """Files that are not as they were written."""
    if not found:
        return
    table = _table("entry", "file", "what", "mended from")
    for each in found:
        table.add_row(*map(escaped, (each.entry, each.file, each.what, each.mended or "not mended")))
    _show(console, table)


def orphans(console: Console, paths: Sequence[str]) -> None:
    """Files that nothing needs."""
    if not paths:
        return
    console.print(f"{count(len(paths), 'file')} that no model needs:")
    for path in paths:
        console.print(f"  {escaped(path)}", soft_wrap=True)


def size(number: int) -> str:
    """Bytes, such as `12.3 MB`."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "kB")):
        if number >= 1000**power:
            return f"{number / 1000**power:.1f} {unit}"
    return count(number, "byte")


def confirmed(question: str) -> bool:
    """What the user answers; no answer is no."""
    _OUT.print(escaped(question), "[y/N]", end=" ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def files(console: Console, sizes: Mapping[str, int]) -> None:
    """The files of a folder."""
    table = _table("file", "bytes")
    for name, size in sizes.items():
        table.add_row(escaped(name), f"{size:,}")
    console.print()
    _show(console, table)


def components(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Every component and who offers it."""
    table = _table("kind", "name", "what it is", "plugin", "from")
    for each in found:
        provider = " ".join(filter(None, (each["distribution"], each["version"])))
        table.add_row(*map(escaped, (each["kind"], each["name"], each["summary"], each["plugin"], provider)))
    _show(console, table)


def broken(console: Console, plugins: Sequence[Mapping[str, Any]]) -> None:
    """The plugins that are set aside."""
    console.print()
    console.print("These plugins were set aside; everything else works without them:", style="yellow")
    for each in plugins:
        provider = " ".join(filter(None, (each["distribution"], each["version"])))
        console.print(Text(f"  {escaped(each['name'])} ({escaped(provider)}): {_indented(each['reason'])}"))


def described(console: Console, entry: Entry, description: Description) -> None:
    """A component: what its author says, and its settings."""
    kind = "data set" if entry.kind == "datasets" else entry.kind.removesuffix("s")
    provider = " ".join(filter(None, (entry.distribution, entry.version)))
    of = f"a {kind}" if kind[0] not in "aeiou" else f"an {kind}"
    console.print(
        Text.assemble((escaped(entry.name), "bold"), f", {of} of the plugin {escaped(entry.plugin)} ({provider})")
    )
    console.print()
    for paragraph in description.text.partition("\nArgs:")[0].strip().split("\n\n"):
        console.print(escaped(" ".join(paragraph.split())))
        console.print()
    known = {
        "paper": [description.paper] if description.paper else [],
        "needs": [", ".join(description.needs)] if description.needs else [],
        "for": [", ".join(description.modalities)] if description.modalities else [],
    }
    if any(known.values()):
        fields(console, known)
        console.print()
    if not description.settings:
        console.print("It has no settings.")
        return
    table = _table("setting", "type", "default", "meaning")
    for each in description.settings:
        default = "required" if each.required else _yaml(each.default)
        table.add_row(*map(escaped, (each.name, each.type, default, each.description)))
    _show(console, table)


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
    _show(console, grid)


def notes(texts: Sequence[str], console: Console = _OUT) -> None:
    """What the user should know."""
    for text in texts:
        _note(console, text)


def _note(console: Console, text: str) -> None:
    console.print(Text.assemble(("note: ", "bold yellow"), escaped(text)))


def _show(console: Console, table: Table) -> None:
    """Print a table, without the spaces that fill its last column where there is no terminal."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _table(*headers: str) -> Table:
    return Table(
        *(Column(header, overflow="fold") for header in headers), box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False
    )


def _yaml(value: Any) -> str:
    """A setting's value as one would write it in a manifest."""
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


_VERDICTS = {"helped": "bold green", "no evidence": "bold yellow", "hurt": "bold red"}


# Training


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
        fields(
            self.console,
            {
                "backbone": [component(facts["backbone"])],
                "parameters": [parameters(facts)],
                "classes": [classes(facts["classes"])],
                "examples": [", ".join(f"{name} {count:,}" for name, count in facts["examples"].items())],
                "adapters": [component(part) for part in facts["adapters"]] or ["none"],
                "training": [
                    f"{count(facts['epochs'], 'epoch')}, {count(facts['steps'], 'step')}, on {facts['device']}"
                ],
            },
        )
        self.console.print()

    def note(self, text: str) -> None:
        _note(self.console, text)

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
