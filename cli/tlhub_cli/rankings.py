"""How the commands print what to choose before training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from tlhub.diagnostics import escaped
from tlhub_cli import output

if TYPE_CHECKING:
    from tlhub.rank import Estimate, Ranking
    from tlhub.recommend import Recommendation


def estimates(console: Console, found: Sequence[Estimate], examples: int) -> None:
    """What every backbone will take to see all examples."""
    table = output.columns("backbone", "parameters", "width", "seconds", "MB")
    for each in found:
        figures = _millions(each.parameters), f"{each.width:,}", f"{each.seconds:,.1f}", f"{each.bytes / 1e6:,.0f}"
        table.add_row(escaped(each.backbone), *figures)
    seen = output.count(examples, "example")
    console.print(f"Estimated for {seen}: time for features, memory for them and for weights.")
    console.print()
    output.show(console, table)
    console.print()
    console.print(f"In all some {sum(each.seconds for each in found):,.0f} s, and then the scores.")


def ranking(console: Console, found: Ranking) -> None:
    """Backbones with their scores, the best first, and how the scores agree."""
    names = list(found.rows[0].scores)
    table = output.columns("backbone", *names, "parameters", "width", "seconds")
    for row in found.rows:
        scores = ["–" if row.scores[name] is None else f"{row.scores[name]:.4g}" for name in names]
        figures = _millions(row.parameters), f"{row.width:,}", f"{row.seconds:,.1f}"
        table.add_row(escaped(row.backbone), *scores, *figures)
    console.print()
    output.show(console, table)
    if found.agreement:
        console.print()
        console.print("How far two scores agree on the order (Spearman's rank correlation):")
        both = {**found.agreement, **{(second, first): value for (first, second), value in found.agreement.items()}}
        alike = output.columns("", *names)
        for first in names:
            cells = [f"{both[first, second]:+.2f}" if (first, second) in both else "" for second in names]
            alike.add_row(escaped(first), *cells)
        output.show(console, alike)
    if found.notes:
        console.print()
        output.notes(found.notes)


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
