"""How the commands print what the doctor found."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from tlhub.diagnostics import escaped
from tlhub_cli import output

if TYPE_CHECKING:
    from tlhub.adaptation import Result
    from tlhub.seeds import Seeds
    from tlhub.symptom import Finding

REASONS = 3
"""So many reasons, at most, stand below a verdict: `tlhub doctor` tells them all."""


def verdict(console: Console, result: Result) -> None:
    """Whether adaptation helped, in plain words, and why it may not have."""
    output.outcome(console, result.sentence, None if result.comparison is None else result.comparison.outcome)
    _reasons(console, "Likely reasons:" if result.comparison else "What the doctor found:", result.reasons)


def verdict_of_seeds(console: Console, seeds: Seeds) -> None:
    """The same over several seeds."""
    outcome = None if seeds.comparison is None else seeds.comparison.outcome
    output.outcome(console, seeds.sentence, outcome)
    if outcome != "helped":
        first = {each.symptom: each for result in reversed(seeds.results) for each in result.reasons}
        worst = sorted(first.values(), key=lambda each: each.level != "fault")
        _reasons(console, "Likely reasons, each as the first seed that shows it has it:", worst)


def _reasons(console: Console, title: str, found: Sequence[Finding]) -> None:
    if found:
        console.print()
        console.print(title)
        output.fields(
            console, {each.symptom: [f"{each.measured} {each.meaning}", each.mend] for each in found[:REASONS]}
        )


def diagnosis(console: Console, found: Sequence[Finding]) -> None:
    """Everything that was measured: what is to be mended, the worst first, then what is fine, and how much there is."""
    ill, fine = ([each for each in found if each.ill is wanted] for wanted in (True, False))
    for each in ill:
        console.print()
        style = "bold red" if each.level == "fault" else "bold yellow"
        console.print(Text.assemble((f"{each.level}: ", style), (escaped(each.symptom), "bold")))
        for sentence in filter(None, (each.measured, each.meaning, each.mend)):
            console.print(Padding(Text(escaped(sentence)), (0, 0, 0, 2), expand=False))
    if fine:
        console.print()
        console.print("Measured, and fine:")
        output.fields(console, {each.symptom: [each.measured] for each in fine})
    output.outcome(console, _summary(found), None)


def _summary(found: Sequence[Finding]) -> str:
    counts = {level: sum(each.level == level for each in found) for level in ("fault", "warning")}
    told = ", ".join(output.count(number, level) for level, number in counts.items() if number)
    if told:
        return f"{told}."
    return "The doctor found nothing wrong." if found else "There is nothing that the doctor could measure."
