"""The shares of the classes in the source, and in the target as far as its labels or those of `evaluate` are known."""

from __future__ import annotations

from torch import Tensor

from tlhub.case import Case
from tlhub.data import Role


def source_labels(case: Case) -> Tensor | None:
    """`[examples]`; None where an example is not of one class, or where no target was looked at."""
    source, target = case.seen("after", "source"), case.seen("after", "target")
    return None if source is None or target is None or not case.one_class else source.labels


def known_labels(case: Case) -> tuple[str, Tensor] | None:
    """The target's labels where they are shown, or else those of `evaluate`, and what they are called; None of none."""
    called: dict[Role, str] = {"target": "the labels of the target", "evaluate": "the labels under `evaluate`"}
    for role, name in called.items():
        seen = case.seen("after", role)
        if seen is not None and seen.labels is not None:
            return name, seen.labels
    return None


def shares(labels: Tensor, classes: int) -> Tensor:
    """`[classes]`, which sum to 1."""
    counts: Tensor = labels.bincount(minlength=classes).double()
    return counts / counts.sum()
