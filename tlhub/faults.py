"""Everything that is wrong with values for a pydantic model, told so that a user sees how to mend it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic_core
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tlhub.diagnostics import closest, escaped, listed, quoted
from tlhub.wording import annotated, expected, is_model, options, plain
from tlhub.yaml_tree import scalar

Location = tuple[str | int, ...]

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class Fault:
    """One value that does not fit, or one that is missing or unknown.

    Attributes:
        location: keys and list positions that lead to the value; of a missing setting, to the place where it belongs.
    """

    kind: Literal["unknown", "missing", "wrong"]
    location: Location
    message: str
    hint: str | None = None


def as_json(value: Any) -> bytes:
    """JSON of what a manifest or a program gives as settings; paths become text. Raises ValueError for anything else.

    Pydantic is strict about JSON in the way users expect: "3" is no number, true is no number, but text may be a path.
    """
    return pydantic_core.to_json(value, inf_nan_mode="constants")


def faults(schema: type[BaseModel], values: Mapping[str, Any], owner: str, at: Location = ()) -> list[Fault]:
    """Everything that is wrong with values for a pydantic model; `owner` is what messages call the model."""
    if _fits(schema, values):  # one by one takes a hundred times as long
        return []
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    closed = schema.model_config.get("extra") == "forbid"
    found = []
    for name in values:
        if closed and name not in fields:
            message = f"unknown setting {quoted(name)} of {owner}"
            found.append(Fault("unknown", (*at, name), message, _known(name, fields)))
    for name, field in fields.items():
        if name in values:
            found += _value_faults(annotated(field), values[name], owner, (*at, name), len(at))
        elif field.is_required():
            misspelt = closest(name, (given for given in values if given not in fields))
            if misspelt and closed:
                continue  # told already: the misspelt one is unknown
            message = f"{owner} needs the setting `{name}`: {expected(annotated(field))}"
            found.append(Fault("missing", at, message, misspelt and f"is {quoted(misspelt)} meant to be `{name}`?"))
    return found


def _fits(schema: type[BaseModel], values: Mapping[str, Any]) -> bool:
    try:
        schema.model_validate_json(as_json(values))
    except ValueError:
        return False
    return True


def _known(name: str, fields: Mapping[str, FieldInfo]) -> str:
    near = closest(name, fields)
    if near:
        return f"did you mean `{near}`?"
    return f"it has {listed(fields)}" if fields else "it has no settings"


def _value_faults(annotation: Any, value: Any, owner: str, at: Location, depth: int) -> list[Fault]:
    """What is wrong with a value, told of the innermost values that do not fit; `depth` is how deep the owner is."""
    if is_model(annotation) and isinstance(value, Mapping):
        return faults(annotation, value, f"`{_dotted(at)}`", at)
    what = f"{quoted(_dotted(at[depth:]))} of {owner}"
    try:
        error = _validate(annotation, value)
    except ValueError:
        message = f"{what}: expected {expected(annotation)}, found an object that no manifest can hold"
        return [Fault("wrong", at, message)]
    if error is None:
        return []
    container = _container(annotation, value)
    if container is not None and container != annotation:
        return _value_faults(container, value, owner, at, depth)
    if container is not None:
        wrong = list(dict.fromkeys(place["loc"][0] for place in error.errors() if place["loc"]))
        children = [key for key in wrong if isinstance(value, Mapping) or (isinstance(key, int) and key < len(value))]
        inner = [
            fault
            for key in children[:_MOST_FAULTS]
            for fault in _value_faults(_child(container, key), value[key], owner, (*at, key), depth)
        ]
        if inner:
            return inner
    first = error.errors(include_url=False)[0]
    if first["type"] == "value_error":  # raised by a validator of the setting's own, in its own words
        return [Fault("wrong", at, f"{what}: {first['ctx']['error']}")]
    message = f"{what}: expected {expected(annotation)}, found {_found(value)}"
    return [Fault("wrong", at, message, _mend(annotation, value))]


def _validate(annotation: Any, value: Any) -> ValidationError | None:
    """Pydantic's opinion of a value. Raises ValueError where the value is nothing that JSON can hold."""
    text = as_json(value)
    try:
        adapter = TypeAdapter(annotation, config=None if is_model(annotation) else STRICT)
        adapter.validate_json(text)
    except ValidationError as error:
        return error
    return None


def _container(annotation: Any, value: Any) -> Any:
    """The one alternative of an annotation that has the shape of this list or mapping, or None."""
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(base) in (Union, types.UnionType):
        fitting = [found for option in get_args(base) if (found := _container(option, value)) is not None]
        return fitting[0] if len(fitting) == 1 else None
    if is_model(base):
        return base if isinstance(value, Mapping) else None
    origin = get_origin(base)
    if isinstance(value, Mapping):
        return annotation if origin in (dict, Mapping) else None
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return annotation if is_list and origin in (list, tuple, set, frozenset, Sequence) else None


def _child(container: Any, key: str | int) -> Any:
    """The annotation of one item of a list, or of one value of a mapping."""
    base = get_args(container)[0] if get_origin(container) is Annotated else container
    arguments = get_args(base)
    if isinstance(key, str):
        return arguments[1]
    return arguments[key] if get_origin(base) is tuple and arguments[-1] is not Ellipsis else arguments[0]


def _dotted(location: Location) -> str:
    return ".".join(str(step) for step in location)


def _found(value: Any) -> str:
    """A value as a message tells of it."""
    if isinstance(value, (str, Path)):
        text = str(value)
        return f"the text '{escaped(text if len(text) <= 40 else text[:39] + '…')}'"
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of length {len(value)}"
    text = plain(value)
    return text if isinstance(value, bool) else f"the number {text if len(text) <= 40 else text[:39] + '…'}"


def _mend(annotation: Any, value: Any) -> str | None:
    """What the user probably meant, where that would fit."""

    def fits(candidate: Any) -> bool:
        return _validate(annotation, candidate) is None

    if value is None:
        return "give it a value, or leave it out"
    if isinstance(value, str):
        near = closest(value, [option for option in options(annotation) if isinstance(option, str)])
        if near:
            return f"did you mean `{near}`?"
        if value.lower() in _SWITCHES and fits(_SWITCHES[value.lower()]):
            return f"write `{plain(_SWITCHES[value.lower()])}`"
        meant = scalar(value) if len(value) < 40 else value
        if not isinstance(meant, str) and fits(meant):
            return f"write it without quotes: `{value}`"
    elif isinstance(value, (bool, int, float)):
        if fits(str(value)):
            return f'put it in quotes: `"{plain(value)}"`'
        if isinstance(value, float) and value.is_integer() and fits(int(value)):
            return f"write `{int(value)}`"
    if not isinstance(value, (list, Mapping)) and fits([value]):
        return f"write it as a list: `[{plain(value)}]`"
    return None


_MOST_FAULTS = 10  # of one list: a thousand wrong items say no more
_SWITCHES = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
