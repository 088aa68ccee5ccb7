"""YAML as a tree that knows where every key and value stands.

Less of YAML than the standard has, so that a manifest means what it looks like: no anchors, aliases or tags, one
document, text as keys. Scalars follow YAML 1.2: `1e-3` is a number; `yes`, `no` and dates are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.error import Mark, MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)
from yaml.reader import ReaderError

from tlhub.diagnostics import Position, Problem, quoted
from tlhub.errors import ManifestError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000

_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((sign + word for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


@dataclass
class Node:
    """A value and where it stands: a scalar, a list of nodes, or a mapping from text to nodes."""

    value: Any
    position: Position
    keys: dict[str, Position] = field(default_factory=dict)  # where each key of a mapping stands

    def plain(self) -> Any:
        """The value without positions."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def place(self, location: Sequence[str | int], key: bool = False) -> Position:
        """Where the value of a location stands, or its key; where the location ends early, what is there."""
        node, position = self, self.position
        for step in location:
            if isinstance(node.value, dict) and step in node.value:
                position = node.keys[str(step)] if key else node.value[step].position
                node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                position = node.position
            elif isinstance(step, str):
                break
        return position


def read_file(path: Path) -> Node:
    """The tree of a YAML file. Raises ManifestError where the file cannot be read or is not YAML of this kind."""
    whole = Position(str(path))
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
            size = max(path.stat().st_size, len(data))
    except FileNotFoundError:
        raise error_at(whole, "there is no such file") from None
    except IsADirectoryError:
        raise error_at(whole, "this is a folder", "name the YAML file in it") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise error_at(whole, f"the file cannot be read: {reason}") from None
    if len(data) > MAX_BYTES:
        raise _too_large(whole, size)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = _BREAK.split(data[: error.start].decode("utf-8"))
        position = Position(str(path), len(lines), len(lines[-1]) + 1, 1, lines[-1] + "\ufffd")
        message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} is no character"
        raise error_at(position, message, "save it with the encoding UTF-8") from None
    return read_text(text, str(path))


def read_text(text: str, file: str) -> Node:
    """The tree of a YAML text; `file` is what problems name. An empty text is null. Raises ManifestError."""
    return _Reader(text.removeprefix("\ufeff"), file).read()


def dump(value: object) -> str:
    """YAML that `read_text` reads as the same value of mappings, lists and scalars. Raises ValueError for others."""
    try:
        return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    except yaml.YAMLError as error:
        raise ValueError(f"not something YAML can hold: {error}") from None


def scalar(text: str) -> bool | int | float | str | None:
    """What an unquoted scalar means by YAML 1.2. Raises ValueError for a number of thousands of digits."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    """Reads one text, without recursion: the text may be hostile."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.lines = _BREAK.split(text)

    def read(self) -> Node:
        size = len(self.text.encode("utf-8", "surrogatepass"))
        if size > MAX_BYTES:
            raise _too_large(Position(self.file), size)
        root: Node | None = None
        values = 0
        open_nodes: list[tuple[Node, Any]] = []  # with the key that waits for its value
        for event in self.events():
            if isinstance(event, DocumentStartEvent) and root is not None:
                raise error_at(self.at(event), "a second document begins here", "keep one document: remove the `---`")
            if not isinstance(event, NodeEvent):
                if isinstance(event, yaml.CollectionEndEvent):
                    open_nodes.pop()
                continue
            if open_nodes and isinstance(open_nodes[-1][0].value, dict) and open_nodes[-1][1] is None:
                self.check_key(event, open_nodes[-1][0])
                open_nodes[-1] = (open_nodes[-1][0], event)
                continue
            node = self.node(event)
            values += 1
            if values > MAX_VALUES:
                raise error_at(node.position, f"more than {MAX_VALUES:,} values")
            if not open_nodes:
                root = node
            else:
                parent, key = open_nodes[-1]
                if key is None:
                    parent.value.append(node)
                else:
                    parent.value[key.value] = node
                    parent.keys[key.value] = self.at(key)
                    open_nodes[-1] = (parent, None)
            if isinstance(node.value, (list, dict)):
                if len(open_nodes) == MAX_DEPTH:
                    raise error_at(node.position, f"nested deeper than {MAX_DEPTH} levels")
                open_nodes.append((node, None))
        return root or Node(None, self.place(1, 1))

    def events(self) -> Iterator[Any]:
        """PyYAML's events, its errors turned into ours."""
        try:
            yield from yaml.parse(self.text, Loader=yaml.SafeLoader)
        except ReaderError as error:
            lines = _BREAK.split(self.text[: error.position])
            message = f"the character {quoted(self.text[error.position])} cannot stand in a manifest"
            raise error_at(self.place(len(lines), len(lines[-1]) + 1), message, "remove it") from None
        except MarkedYAMLError as error:
            raise self.syntax_error(error) from None
        except (ValueError, OverflowError):  # PyYAML lets these out for `"\UFFFFFFFF"` and a version of 5,000 digits
            message = "the file is not YAML: a number or an escape in it is too large"
            raise error_at(Position(self.file), message) from None

    def node(self, event: Any) -> Node:
        """The node that an event begins."""
        position = self.at(event)
        if isinstance(event, AliasEvent):
            message = f"the alias {quoted(f'*{event.anchor}')} is not allowed"
            raise error_at(position, message, "write the value out again")
        if event.anchor is not None:
            message = f"the anchor {quoted(f'&{event.anchor}')} is not allowed"
            raise error_at(position, message, "write the value out where it is used")
        if event.tag is not None:
            message = f"the tag {quoted(event.tag.replace('tag:yaml.org,2002:', '!!'))} is not allowed"
            raise error_at(position, message, "remove it: settings know their types")
        if isinstance(event, MappingStartEvent):
            return Node({}, position)
        if isinstance(event, SequenceStartEvent):
            return Node([], position)
        try:
            return Node(scalar(event.value) if event.style is None else _joined_surrogates(event.value), position)
        except UnicodeDecodeError:
            raise error_at(position, "this text holds half a character", "remove the escape `\\ud…`") from None
        except ValueError:
            raise error_at(position, "this number has too many digits") from None

    def check_key(self, event: Any, mapping: Node) -> None:
        """Raise where a key is not text, or there twice."""
        node = self.node(event)
        if not isinstance(event, ScalarEvent):
            raise error_at(node.position, "a list or a mapping cannot be a key")
        if not event.value:
            raise error_at(node.position, "a key is missing before the `:`")
        if event.value in mapping.keys:
            first = mapping.keys[event.value].line
            message = f"{quoted(event.value)} is given twice: in line {first} and in line {node.position.line}"
            raise error_at(node.position, message, "keep one of the two")

    def at(self, event: Any) -> Position:
        """Where the event's text stands; of a collection, its first character."""
        start, end = event.start_mark, event.end_mark
        width = 1
        if isinstance(event, (ScalarEvent, AliasEvent)):
            width = (end.column if end.line == start.line else len(self.lines[start.line])) - start.column
        return self.place(start.line + 1, start.column + 1, width)

    def place(self, line: int, column: int, width: int = 1) -> Position:
        return Position(self.file, line, column, max(1, width), self.lines[line - 1] if line <= len(self.lines) else "")

    def syntax_error(self, error: MarkedYAMLError) -> ManifestError:
        """PyYAML's complaint in the words of somebody who writes a manifest."""
        problem, context = error.problem or "", error.context or ""
        mark = error.problem_mark or error.context_mark
        opening = error.context_mark
        if not isinstance(mark, Mark):
            return error_at(Position(self.file), f"the file is not YAML: {problem}")
        here = self.place(mark.line + 1, mark.column + 1)
        if "found character '\\t'" in problem:
            return error_at(here, "a tab stands where YAML wants spaces", "replace it with spaces")
        if "that cannot start any token" in problem:
            return error_at(here, f"a value cannot begin with {quoted(self.char(here))}", "put the value in quotes")
        if opening is not None and "flow" in context:
            bracket = self.place(opening.line + 1, opening.column + 1)
            if mark.line > opening.line:
                return error_at(bracket, f"this {quoted(self.char(bracket))} is never closed")
            hint = "text that contains brackets, braces or `: ` goes in quotes here"
            return error_at(here, f"expected a comma or the end of the {quoted(self.char(bracket))}", hint)
        if opening is not None and "quoted scalar" in context and "unexpected" in problem:
            return error_at(self.place(opening.line + 1, opening.column + 1), "this quote is never closed")
        if "could not find expected ':'" in problem and opening is not None:
            return error_at(self.rest_of_line(opening.line, opening.column), "this line has no `:` after its key")
        if "mapping values are not allowed" in problem:
            return self.misplaced_colon(here)
        if "but found '<scalar>'" in problem:
            return error_at(here, "there is text after the end of the value", "put the whole value in quotes")
        if "but found ':'" in problem:
            return error_at(here, "a key is missing before the `:`")
        if "found ']'" in problem or "found '}'" in problem:
            return error_at(here, f"this {quoted(self.char(here))} closes nothing")
        if any(
            words in problem for words in ("but found '<block", "but found '-'", "but found '?'", "entries are not")
        ):
            hint = "lines that belong together begin in the same column"
            return error_at(
                self.rest_of_line(mark.line, mark.column), "this line does not fit the lines above it", hint
            )
        return error_at(here, f"the file is not YAML: {problem}")

    def misplaced_colon(self, here: Position) -> ManifestError:
        """A `: ` inside of a value: there is an earlier one in the line, or the line continues the one before."""
        before = here.source_line[: here.column - 1]
        if ": " in before or before.lstrip().startswith("- "):
            return error_at(here, "a second `:` in one line", "put the value in quotes if the `:` belongs to it")
        start = len(before) - len(before.lstrip())
        hint = "check the indentation, and that the line above has a `: ` after its key"
        place = self.rest_of_line(here.line - 1, start)
        return error_at(place, "this line reads as a continuation of the line above", hint)

    def rest_of_line(self, line: int, column: int) -> Position:
        """From a column (counted from 0) to the last character of the line."""
        place = self.place(line + 1, column + 1)
        return self.place(line + 1, column + 1, len(place.source_line.rstrip()) - column)

    def char(self, place: Position) -> str:
        return place.source_line[place.column - 1 : place.column]


class _Dumper(yaml.SafeDumper):
    """Writes plain scalars only where `scalar` reads them as they were."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = {}  # in place of YAML 1.1's
_DIGITS = list("-+0123456789.")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"({_INT.pattern}|{_PREFIXED.pattern})\Z"), _DIGITS)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(rf"({_FLOAT.pattern}|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"),
    _DIGITS,
)


def _joined_surrogates(text: str) -> str:
    """JSON writes characters such as emoji as two escapes; YAML reads those as two halves."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16")


def _too_large(position: Position, size: int) -> ManifestError:
    return error_at(position, f"the file is too large for a manifest: {size:,} bytes, {MAX_BYTES:,} are allowed")


def error_at(position: Position, message: str, hint: str | None = None) -> ManifestError:
    """The error of one problem at a position."""
    return ManifestError([Problem.at(position, message, hint)])
