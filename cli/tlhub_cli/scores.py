"""How the commands print what models scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tlhub.diagnostics import escaped
from tlhub_cli import output

if TYPE_CHECKING:
    from tlhub.adaptation import Row
    from tlhub.bench_table import Table
    from tlhub.measure import Comparison
    from tlhub.seeds import Mean
    from tlhub_registry.reproduce import Measured


def results(console: Console, metric: str, rows: Sequence[Row]) -> None:
    """Every model's score on every data set in percent, and further metrics as they are: they may have a unit."""
    if not rows:
        return
    further = list(dict.fromkeys(name for row in rows for name in row.metrics))
    table = output.columns("scored on", "examples", "model", metric, "95 % interval", *further)
    domains = list(dict.fromkeys(row.domain for row in rows))
    for row in sorted(rows, key=lambda row: domains.index(row.domain)):
        score = row.score
        spread = f"{output.percent(score.low)} – {output.percent(score.high)}"
        others = [f"{row.metrics[name]:,.3f}" if name in row.metrics else "" for name in further]
        cells = [row.domain, f"{score.examples:,}", row.model, output.percent(score.value), spread, *others]
        table.add_row(*map(escaped, cells), style="bold" if row.model == "adapted" else "")
    console.print()
    output.show(console, table)


def compared(console: Console, model: str, first: str, metric: str, comparison: Comparison) -> None:
    """What a model is against the first one."""
    said = {"helped": "better than", "hurt": "worse than", "no evidence": "not known to differ from"}
    spread = f"{100 * comparison.low:+.1f} to {100 * comparison.high:+.1f}"
    points = f"{metric} {100 * comparison.difference:+.1f} points, 95 % interval {spread}"
    console.print()
    console.print(Text(escaped(f"{model} is {said[comparison.outcome]} {first}: {points}.")), soft_wrap=True)


def means(console: Console, metric: str, found: Sequence[Mean]) -> None:
    """Every model's mean score over the seeds on every data set."""
    table = output.columns("scored on", "model", metric, "standard deviation over seeds")
    for mean in sorted(found, key=lambda mean: mean.domain):
        deviation = "–" if mean.deviation is None else output.percent(mean.deviation)
        cells = (mean.domain, mean.model, output.percent(mean.value), deviation)
        table.add_row(*map(escaped, cells), style="bold" if mean.model == "adapted" else "")
    console.print()
    output.show(console, table)


def reproduction(console: Console, metric: str, measured: Sequence[Measured]) -> None:
    """The scores of a run that was made again, beside those of then."""
    if not measured:
        return
    table = output.columns("scored on", f"{metric} there", "95 % interval", "here", "")
    for each in measured:
        spread = f"{output.percent(each.low)} – {output.percent(each.high)}"
        verdict = "within" if each.within else "outside"
        cells = (each.domain, output.percent(each.there), spread, output.percent(each.here), verdict)
        table.add_row(*map(escaped, cells))
    console.print()
    output.show(console, table)


def bench(console: Console, table: Table) -> None:
    """Methods by tasks, what each gains over the first, and what looks wrong."""
    with_mean = len(table.tasks) > 1
    _grid(console, f"{table.metric}, per cent, last or selected epoch", table, table.scores, table.means, with_mean)
    _grid(console, "the oracle's epoch (not selectable)", table, table.oracles, table.oracle_means, with_mean)
    gains = output.columns("method", f"gain over {escaped(table.methods[0])}", "95 % interval", "p", "pairs")
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
        output.show(console, gains)
    output.notes(table.warnings, console)


def _grid(
    console: Console,
    title: str,
    table: Table,
    cells: Mapping[str, Mapping[str, object]],
    means: Mapping[str, object],
    with_mean: bool,
) -> None:
    console.print()
    console.print(title)
    drawn = output.columns("method", *map(escaped, table.tasks), *(["mean"] if with_mean else []))
    for method in table.methods:
        row = [*(cells[method][task] for task in table.tasks), *([means[method]] if with_mean else [])]
        drawn.add_row(escaped(method), *("–" if value is None else str(value) for value in row))
    output.show(console, drawn)
