"""Errors that are the user's to mend: a command shows them without a traceback and exits with status 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tlhub.diagnostics import Problem


class UserError(Exception):
    """Something the user can mend: what is wrong in `message`, how to mend it in `hint`."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhelp: {self.hint}"


class DataError(UserError):
    """A data set that cannot be used as it is: names the file, folder or row."""


class ArtifactError(UserError):
    """A folder that is no adapted model, or one that was damaged: names the file."""


class SettingError(UserError):
    """A setting whose value does not fit the others; raised by a component's constructor."""

    def __init__(self, setting: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.setting = setting


class ManifestError(UserError):
    """Everything that is wrong with a manifest, each problem with its place in the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n\n".join(str(problem) for problem in problems))
        self.problems = list(problems)


class TrainingError(UserError):
    """Training that cannot go on, such as a loss term that is not finite; the last checkpoint is kept."""
