"""Problems with their place in a file, rendered so that a reader sees what to change."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

_SHOWN = 100  # characters of a source line that are shown around the problem
_QUOTED = 60  # characters of a user's text that a message repeats


@dataclass(frozen=True)
class Position:
    """A stretch of one line. Lines and columns count from 1; line 0 means the whole of `file`."""

    file: str
    line: int = 0
    column: int = 0
    width: int = 1
    source_line: str = ""


@dataclass(frozen=True)
class Problem:
    """Something wrong in a file, and how to mend it. `str()` renders it with the line it is in.

    Attributes:
        file: the file, or whatever else the text came from, such as `--set train.lr=x`.
        line: counts from 1; 0 where the problem is the whole of `file`.
        column: counts characters from 1.
        width: how many characters the problem is wide.
        hint: how to mend it.
        source_line: the text of that line.
    """

    message: str
    file: str
    line: int = 0
    column: int = 0
    width: int = 1
    hint: str | None = None
    source_line: str = ""

    @classmethod
    def at(cls, position: Position, message: str, hint: str | None = None) -> Self:
        """A problem at a position."""
        return cls(message, position.file, position.line, position.column, position.width, hint, position.source_line)

    def __str__(self) -> str:
        place = escaped(self.file) + (f":{self.line}:{self.column}" if self.line else "")
        lines = [f"{place}: error: " + "\n  ".join(escaped(line) for line in self.message.split("\n"))]
        margin = " " * len(str(self.line))
        if self.line:
            text, carets = _excerpt(self.source_line, self.column - 1, self.width)
            lines += [f"{margin} |", f"{self.line} | {text}".rstrip(), f"{margin} | {carets}"]
        if self.hint is not None:
            lines.append(f"{margin} = help: {escaped(self.hint)}" if self.line else f"  help: {escaped(self.hint)}")
        return "\n".join(lines)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """The problems as a reader meets them in the file, each once."""
    return sorted(dict.fromkeys(problems), key=lambda problem: (problem.file, problem.line, problem.column))


def render(problems: Iterable[Problem]) -> str:
    """All problems as plain text, in the order of the file, an empty line between two."""
    return "\n\n".join(str(problem) for problem in in_order(problems))


def escaped(text: str) -> str:
    """The text with every character that a terminal would act upon written as an escape, such as `\\x1b`."""
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def quoted(text: str) -> str:
    """A user's text in backquotes: on one line, shortened where it is long."""
    return f"`{escaped(text if len(text) <= _QUOTED else text[: _QUOTED - 1] + '…')}`"


def listed(names: Iterable[str], last: str = "and") -> str:
    """Names in backquotes as one phrase: `a`, `b` and `c`."""
    *most, final = [quoted(name) for name in names]
    return f"{', '.join(most)} {last} {final}" if most else final


def closest(word: str, options: Iterable[str]) -> str | None:
    """The option that a misspelt word most likely means, if any is near enough."""
    spelling = {option.lower(): option for option in options}
    near = difflib.get_close_matches(word[:_QUOTED].lower(), spelling, n=1)
    return spelling[near[0]] if near else None


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def _excerpt(line: str, start: int, width: int) -> tuple[str, str]:
    """The part of a line around a problem, and the carets that go under it."""
    first = max(0, min(start - _SHOWN // 2, len(line) - _SHOWN))
    end = min(len(line), first + _SHOWN)
    before = ("…" if first else "") + escaped(line[first:start])
    marked = escaped(line[start : max(start, min(start + width, end))])
    after = escaped(line[max(start, min(start + width, end)) : end]) + ("…" if end < len(line) else "")
    return before + marked + after, " " * _cells(before) + "^" * max(1, _cells(marked))


def _cells(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)
