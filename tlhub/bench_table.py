"""What a bench came to: a table of methods by tasks, and whether a method's gain over the first is more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

from tlhub.bench import Outcome

Which = Literal["score", "oracle"]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds, in per cent; the deviation of one seed is None."""

    mean: float
    deviation: float | None
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


@dataclass(frozen=True)
class Gain:
    """The mean difference to the first method over all pairs of the same task and seed, in points.

    The interval is Student's, 95 %; `p` is that of the paired t-test. None of both from fewer than two pairs.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    pairs: int


@dataclass(frozen=True)
class Table:
    """Methods by tasks.

    Attributes:
        scores, oracles: by method and task. The oracle's epoch is the best on the very examples that are scored: it
            cannot be selected, and says how much was lost by the choice of the epoch. None where no cell finished.
        means: by method, over the tasks; None where a task is missing.
        gains: by method, but the first.
        warnings: what looks wrong, such as two methods with the same numbers.
    """

    metric: str
    tasks: list[str]
    methods: list[str]
    scores: dict[str, dict[str, Spread | None]]
    oracles: dict[str, dict[str, Spread | None]]
    means: dict[str, Spread | None]
    oracle_means: dict[str, Spread | None]
    gains: dict[str, Gain | None]
    warnings: list[str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def table(outcomes: Sequence[Outcome]) -> Table:
    """The table of a bench's outcomes."""
    tasks = list(dict.fromkeys(outcome.cell.task for outcome in outcomes))
    methods = list(dict.fromkeys(outcome.cell.method for outcome in outcomes))
    honest, oracle = _by_seed(outcomes, "score"), _by_seed(outcomes, "oracle")
    return Table(
        metric=next((outcome.metric for outcome in outcomes if outcome.metric), ""),
        tasks=tasks,
        methods=methods,
        scores={method: {task: _spread(honest.get((method, task), {})) for task in tasks} for method in methods},
        oracles={method: {task: _spread(oracle.get((method, task), {})) for task in tasks} for method in methods},
        means={method: _spread(_mean_of_tasks(honest, method, tasks)) for method in methods},
        oracle_means={method: _spread(_mean_of_tasks(oracle, method, tasks)) for method in methods},
        gains={method: _gain(honest, methods[0], method, tasks) for method in methods[1:]},
        warnings=_failures(outcomes) + _identical(honest, methods, tasks),
    )


Scores = dict[tuple[str, str], dict[int, float]]
"""By method and task, the score of each seed."""


def _by_seed(outcomes: Sequence[Outcome], which: Which) -> Scores:
    found: Scores = {}
    for outcome in outcomes:
        value = getattr(outcome, which)
        if value is not None:
            found.setdefault((outcome.cell.method, outcome.cell.task), {})[outcome.cell.seed] = value
    return found


def _spread(by_seed: dict[int, float]) -> Spread | None:
    values = list(by_seed.values())
    if not values:
        return None
    return Spread(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


def _mean_of_tasks(scores: Scores, method: str, tasks: Sequence[str]) -> dict[int, float]:
    """By seed, the mean of the tasks; of the seeds that have them all."""
    each = [scores.get((method, task), {}) for task in tasks]
    seeds = [seed for seed in each[0] if all(seed in of_task for of_task in each)]
    return {seed: statistics.mean(of_task[seed] for of_task in each) for seed in seeds}


def _gain(scores: Scores, first: str, method: str, tasks: Sequence[str]) -> Gain | None:
    before = {(task, seed): value for task in tasks for seed, value in scores.get((first, task), {}).items()}
    after = {(task, seed): value for task in tasks for seed, value in scores.get((method, task), {}).items()}
    gains = [after[pair] - before[pair] for pair in after if pair in before]
    if not gains:
        return None
    mean = statistics.mean(gains)
    if len(gains) < 2:
        return Gain(mean, None, None, None, len(gains))
    from scipy import stats

    error = statistics.stdev(gains) / math.sqrt(len(gains))
    if error == 0:
        return Gain(mean, mean, mean, float(mean == 0), len(gains))
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, len(gains) - 1))
    return Gain(mean, mean - half, mean + half, p, len(gains))


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    return [f"{o.cell.task}, {o.cell.method}, seed {o.cell.seed}: {o.failure}" for o in outcomes if o.failure]


def _identical(scores: Scores, methods: Sequence[str], tasks: Sequence[str]) -> list[str]:
    """Rows, or columns, that are the same to the last digit: a setting that does nothing, or data named twice."""
    found = []
    for axis, names, others in (("methods", methods, tasks), ("tasks", tasks, methods)):
        for one, two in combinations(names, 2):
            pairs = [
                (scores.get((one, other)), scores.get((two, other)))
                if axis == "methods"
                else (scores.get((other, one)), scores.get((other, two)))
                for other in others
            ]
            if any(pair[0] for pair in pairs) and all(before == after for before, after in pairs):
                found.append(f"the {axis} {one} and {two} have the same numbers everywhere: are they the same?")
    return found
