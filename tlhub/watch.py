"""What a run tells whoever watches it: a program's screen, a notebook, a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Watch:
    """Hears of a run's progress; every method does nothing unless overridden."""

    def composed(self, facts: Mapping[str, Any]) -> None:
        """The run was put together: backbone, parameters, classes, examples per domain."""

    def started(self, title: str, steps: int, done: int) -> None:
        """Training begins, or continues after `done` steps."""

    def step(self, done: int) -> None:
        """`done` steps are done."""

    def progress(self, done: int, rows: int, terms: Mapping[str, float]) -> None:
        """Twice a second: steps done, of `rows` examples each, and the mean of every loss term in this epoch so far."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """An epoch ended; `row` is its line of the history."""

    def stopped(self) -> None:
        """Training ended, or was interrupted."""

    def note(self, text: str) -> None:
        """Something the user should know, in one sentence."""
