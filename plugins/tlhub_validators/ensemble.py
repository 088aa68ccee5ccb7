"""Several validators as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tlhub.adapter import Need
from tlhub.errors import SettingError
from tlhub.task import Task
from tlhub.validator import Evidence, Validator
from tlhub_validators.bnm import Bnm
from tlhub_validators.circular import Circular
from tlhub_validators.class_ami import ClassAmi
from tlhub_validators.entropy import Entropy
from tlhub_validators.information_maximization import InformationMaximization
from tlhub_validators.mixval import MixVal
from tlhub_validators.sample import ROWS
from tlhub_validators.silhouette import Silhouette
from tlhub_validators.snd import Snd
from tlhub_validators.source_score import SourceScore

Member = Literal[
    "source_score",
    "circular",
    "entropy",
    "information_maximization",
    "bnm",
    "snd",
    "class_ami",
    "silhouette",
    "mixval",
]

_KINDS: dict[str, type[Validator]] = {
    kind.name: kind
    for kind in (SourceScore, Circular, Entropy, InformationMaximization, Bnm, Snd, ClassAmi, Silhouette, MixVal)
}

_BOUNDS: dict[str, Callable[[int, int], tuple[float, float]]] = {
    "entropy": lambda rows, classes: (-math.log(classes), 0.0),
    "information_maximization": lambda rows, classes: (0.0, math.log(classes)),
    "bnm": lambda rows, classes: ((rows * classes) ** -0.5, (min(rows, classes) / rows) ** 0.5),
    "snd": lambda rows, classes: (0.0, math.log(max(2, min(rows, ROWS) - 1))),
    "silhouette": lambda rows, classes: (-1.0, 1.0),
}
"""The worst and the best score there is, for so many target examples and classes; of the others 0 and 1."""


def scaled(name: str, score: float, rows: int, classes: int) -> float:
    """A member's score on a scale from 0, the worst there is, to 1, the best."""
    worst, best = _BOUNDS[name](rows, classes) if name in _BOUNDS else (0.0, 1.0)
    return (score - worst) / (best - worst)


def mean_scaled(scores: Mapping[str, float], rows: int, classes: int) -> float:
    """The mean of the members' scores, given by name, each on that scale."""
    return sum(scaled(name, score, rows, classes) for name, score in scores.items()) / len(scores)


class Ensemble(Validator):
    """The mean of several validators' scores, each on a scale from the worst score there is (0) to the best (1).

    The rule looks at one epoch alone, since only the best so far is kept. The scales follow from the validators'
    formulas, the number of classes and of target examples, and from no other epoch: (m + log K) / log K of `entropy`,
    m / log K of `information_maximization`, m / log(n - 1) of `snd`, (m + 1) / 2 of `silhouette`, of `bnm` from
    1 / sqrt(n K) to sqrt(K / n); those of the others are shares or indices up to 1 already.

    Use it when no validator is known to suit: members fail in different ways. The default asks for a model that has
    not forgotten the source, answers the target surely and with many classes, and whose features keep these classes
    apart: `auto` says why.
    Cost: that of the members; the passes over the data are shared.
    Known to fail: where most members do. Members whose scores hardly differ between epochs have hardly a say.

    Args:
        members: validators by name, two or more.
    """

    name = "ensemble"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET})
    one_class = True

    def __init__(
        self,
        members: Annotated[Sequence[Member], Field(min_length=2)] = (
            "source_score",
            "information_maximization",
            "silhouette",
        ),
    ) -> None:
        if len(set(members)) < len(members):
            raise SettingError("members", "a validator is listed twice", "list each once")
        self.members = [_KINDS[name]() for name in members]

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        rows, classes = seen.target.logits.shape
        return mean_scaled({each.name: each.score(task, seen) for each in self.members}, rows, classes)
