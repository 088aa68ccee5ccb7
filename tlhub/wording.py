"""Types in plain words, such as "a number greater than 0 or null"."""

from __future__ import annotations

import enum
import inspect
import json
import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tlhub.diagnostics import listed, quoted


def expected(annotation: Any) -> str:
    """A type in plain words, such as "a number greater than 0 or null"."""
    return _either(_alternatives(annotation, {}, many=False))


def annotated(field: FieldInfo) -> Any:
    """The annotation of a field with its constraints, which pydantic keeps apart."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def is_model(annotation: Any) -> bool:
    """Whether the annotation is a pydantic model."""
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def plain(value: Any) -> str:
    """A scalar as YAML writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return value if isinstance(value, str) else json.dumps(value, default=str)


def options(annotation: Any) -> list[Any]:
    """Every value that the annotation allows by name."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation]
    return [option for part in get_args(annotation) for option in options(part)] if _is_choice(annotation) else []


def _is_choice(annotation: Any) -> bool:
    return get_origin(annotation) in (Annotated, Union, types.UnionType)


def _either(phrases: Sequence[str]) -> str:
    *most, last = dict.fromkeys(phrases)
    return f"{', '.join(most)} or {last}" if most else last


def _alternatives(annotation: Any, limits: Mapping[str, Any], many: bool) -> list[str]:
    """One phrase for each kind of value that the annotation allows; `many` asks for the plural."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _alternatives(arguments[0], {**limits, **_limits(arguments[1:])}, many)
    if origin in (Union, types.UnionType):
        return [phrase for option in arguments for phrase in _alternatives(option, limits, many)]
    if named := options(annotation):
        return [quoted(plain(option)) for option in named]
    if annotation in (None, types.NoneType):
        return ["null"]
    if annotation in (float, int):
        return [_NOUNS[annotation][many] + _range(limits)]
    if annotation is str:
        return [_NOUNS[str][many] + _length(limits, "character")]
    lists = "lists" if many else "a list"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        inner = [expected(argument) for argument in arguments]
        same = len(set(arguments)) == 1
        return [f"{lists} of {len(inner)} {_plural(arguments[0])}" if same else f"{lists} of {', then '.join(inner)}"]
    if annotation in (list, tuple, set, frozenset) or origin in (list, tuple, set, frozenset, Sequence):
        return [lists + (f" of {_plural(arguments[0])}" if arguments else "") + _length(limits, "item")]
    if annotation is dict or origin in (dict, Mapping):
        pair = f" from {_plural(arguments[0])} to {_plural(arguments[1])}" if arguments else ""
        return [("mappings" if many else "a mapping") + pair]
    if is_model(annotation):
        needed = [field.alias or name for name, field in annotation.model_fields.items() if field.is_required()]
        return [("mappings" if many else "a mapping") + (f" with {listed(needed)}" if needed else "")]
    nouns = _NOUNS.get(annotation)
    return [nouns[many] if nouns else f"a {getattr(annotation, '__name__', annotation)}"]


def _plural(annotation: Any) -> str:
    return _either(_alternatives(annotation, {}, many=True))


def _limits(metadata: Sequence[Any]) -> dict[str, Any]:
    """The constraints among an annotation's metadata, by pydantic's names."""
    limits: dict[str, Any] = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            limits |= _limits(item.metadata)
        elif isinstance(item, annotated_types.GroupedMetadata):
            limits |= _limits(list(item))
        limits |= {name: getattr(item, name) for name in _LIMITS if getattr(item, name, None) is not None}
    return limits


def _range(limits: Mapping[str, Any]) -> str:
    if "ge" in limits and "le" in limits:
        phrases = [f"from {limits['ge']} to {limits['le']}"]
    else:
        phrases = [f"{words} {limits[name]}" for name, words in _BOUNDS.items() if name in limits]
    if "multiple_of" in limits:
        phrases.append(f"divisible by {limits['multiple_of']}")
    return " " + " and ".join(phrases) if phrases else ""


def _length(limits: Mapping[str, Any], unit: str) -> str:
    least, most = limits.get("min_length"), limits.get("max_length")
    if least is not None and least == most:
        return f" with exactly {least} {unit}{'s' * (least != 1)}"
    phrases = [f"at least {least}"] if least is not None else []
    phrases += [f"at most {most}"] if most is not None else []
    plural = "s" * ((least if most is None else most) != 1)
    length = f" with {' and '.join(phrases)} {unit}{plural}" if phrases else ""
    pattern = limits.get("pattern")
    return length + (f" that matches `{getattr(pattern, 'pattern', pattern)}`" if pattern is not None else "")


_NOUNS: dict[Any, tuple[str, str]] = {
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "values true or false"),
    Path: ("a path", "paths"),
    Any: ("any value", "values"),
}
_BOUNDS = {"gt": "greater than", "ge": "of at least", "lt": "less than", "le": "of at most"}
_LIMITS = (*_BOUNDS, "multiple_of", "min_length", "max_length", "pattern")
