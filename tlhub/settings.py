"""A constructor's signature as a pydantic model: the settings of a component, checked and described."""

from __future__ import annotations

import enum
import inspect
import json
import math
import re
import types
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types
import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from tlhub.diagnostics import closest, escaped, listed, quoted
from tlhub.errors import SettingError, UserError
from tlhub.yaml_tree import scalar

T = TypeVar("T")
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


@dataclass(frozen=True)
class Setting:
    """What a user can be told about one setting; `default` is None where the setting is required."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True)
class Description:
    """What a user can be told about a component."""

    name: str
    summary: str
    text: str
    settings: tuple[Setting, ...]
    paper: str
    needs: tuple[str, ...]
    modalities: tuple[str, ...] | None


def model(component: type) -> type[BaseModel]:
    """The pydantic model of a component's settings.

    Raises TypeError where the constructor does not say what the settings are: an argument without annotation, `*args`,
    or an annotation that pydantic cannot check.
    """
    if component not in _MODELS:
        _MODELS[component] = _make_model(component)
    return _MODELS[component]


def _make_model(component: type) -> type[BaseModel]:
    described = _described_arguments(component)
    fields: dict[str, Any] = {}
    for number, (name, argument, annotation) in enumerate(_arguments(component)):
        default = ... if argument.default is inspect.Parameter.empty else argument.default
        field = Field(default, alias=name, description=described.get(name))
        fields[f"setting_{number}"] = (annotation, field)  # under its own name, `copy` would shadow BaseModel's method
    try:
        return create_model(component.__name__, __config__=STRICT, __doc__=_doc(component), **fields)
    except Exception as error:  # pydantic's errors for what it cannot check have no common base
        raise TypeError(f"the settings of {component.__name__} cannot be checked: {error}") from error


def check_settings(component: type, settings: Mapping[str, Any]) -> list[Fault]:
    """Everything that is wrong with settings for this component, its constructor not asked yet."""
    return faults(model(component), settings, f"`{_name(component)}`")


def create(component: type[T], settings: Mapping[str, Any]) -> T:
    """The component with these settings. Raises UserError where they do not fit, naming all that is wrong."""
    found = check_settings(component, settings)
    if found:
        raise UserError("\n".join(fault.message for fault in found), found[0].hint)
    checked = model(component).model_validate_json(as_json(settings))
    given = {field.alias or name: getattr(checked, name) for name, field in type(checked).model_fields.items()}
    try:
        return component(**{name: value for name, value in given.items() if name in settings})
    except SettingError:
        raise
    except ValueError as error:
        raise UserError(f"`{_name(component)}` cannot be made with these settings: {error}") from error


def describe(component: type) -> Description:
    """A component's settings and what its author says about it. Raises TypeError as `model` does."""
    settings = tuple(
        Setting(
            name=field.alias or "",
            type=expected(_annotation(field)),
            required=field.is_required(),
            default=None if field.is_required() else pydantic_core.to_jsonable_python(field.default, fallback=repr),
            description=field.description or "",
        )
        for field in model(component).model_fields.values()
    )
    text = _doc(component)
    modalities = getattr(component, "modalities", None)
    modality = getattr(component, "modality", None)
    if isinstance(modality, str):
        modalities = [modality]
    return Description(
        name=_name(component),
        summary=_summary(text),
        text=text,
        settings=settings,
        paper=getattr(component, "paper", ""),
        needs=tuple(sorted(str(need.value) for need in getattr(component, "needs", ()))),
        modalities=None if modalities is None else tuple(sorted(modalities)),
    )


def as_json(value: Any) -> bytes:
    """JSON of what a manifest or a program gives as settings; paths become text. Raises ValueError for anything else.

    Pydantic is strict about JSON in the way users expect: "3" is no number, true is no number, but text may be a path.
    """
    return pydantic_core.to_json(value, inf_nan_mode="constants")


def faults(schema: type[BaseModel], values: Mapping[str, Any], owner: str, at: Location = ()) -> list[Fault]:
    """Everything that is wrong with values for a pydantic model; `owner` is what messages call the model."""
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    closed = schema.model_config.get("extra") == "forbid"
    found = []
    for name in values:
        if closed and name not in fields:
            message = f"unknown setting {quoted(name)} of {owner}"
            found.append(Fault("unknown", (*at, name), message, _known(name, fields)))
    for name, field in fields.items():
        if name in values:
            found += _value_faults(_annotation(field), values[name], owner, (*at, name), len(at))
        elif field.is_required():
            misspelt = closest(name, (given for given in values if given not in fields))
            if misspelt and closed:
                continue  # told already: the misspelt one is unknown
            message = f"{owner} needs the setting `{name}`: {expected(_annotation(field))}"
            found.append(Fault("missing", at, message, misspelt and f"is {quoted(misspelt)} meant to be `{name}`?"))
    return found


def expected(annotation: Any) -> str:
    """A type in plain words, such as "a number greater than 0 or null"."""
    return _either(_alternatives(annotation, {}, many=False))


def _known(name: str, fields: Mapping[str, FieldInfo]) -> str:
    near = closest(name, fields)
    if near:
        return f"did you mean `{near}`?"
    return f"it has {listed(fields)}" if fields else "it has no settings"


def _annotation(field: FieldInfo) -> Any:
    """The annotation of a field with its constraints, which pydantic keeps apart."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _value_faults(annotation: Any, value: Any, owner: str, at: Location, depth: int) -> list[Fault]:
    """What is wrong with a value, told of the innermost values that do not fit; `depth` is how deep the owner is."""
    if _is_model(annotation) and isinstance(value, Mapping):
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
        adapter = TypeAdapter(annotation, config=None if _is_model(annotation) else STRICT)
        adapter.validate_json(text)
    except ValidationError as error:
        return error
    return None


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)


def _container(annotation: Any, value: Any) -> Any:
    """The one alternative of an annotation that has the shape of this list or mapping, or None."""
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(base) in (Union, types.UnionType):
        fitting = [found for option in get_args(base) if (found := _container(option, value)) is not None]
        return fitting[0] if len(fitting) == 1 else None
    if _is_model(base):
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
    text = _plain(value)
    return text if isinstance(value, bool) else f"the number {text if len(text) <= 40 else text[:39] + '…'}"


def _plain(value: Any) -> str:
    """A scalar as YAML writes it."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: ".inf", -math.inf: "-.inf"}.get(value, ".nan")
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _mend(annotation: Any, value: Any) -> str | None:
    """What the user probably meant, where that would fit."""

    def fits(candidate: Any) -> bool:
        return _validate(annotation, candidate) is None

    if value is None:
        return "give it a value, or leave it out"
    if isinstance(value, str):
        near = closest(value, [option for option in _options(annotation) if isinstance(option, str)])
        if near:
            return f"did you mean `{near}`?"
        if value.lower() in _SWITCHES and fits(_SWITCHES[value.lower()]):
            return f"write `{_plain(_SWITCHES[value.lower()])}`"
        meant = scalar(value) if len(value) < 40 else value
        if not isinstance(meant, str) and fits(meant):
            return f"write it without quotes: `{value}`"
    elif isinstance(value, (bool, int, float)):
        if fits(str(value)):
            return f'put it in quotes: `"{_plain(value)}"`'
        if isinstance(value, float) and value.is_integer() and fits(int(value)):
            return f"write `{int(value)}`"
    if not isinstance(value, (list, Mapping)) and fits([value]):
        return f"write it as a list: `[{_plain(value)}]`"
    return None


def _options(annotation: Any) -> list[Any]:
    """Every value that the annotation allows by name."""
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, enum.Enum):
        return [member.value for member in annotation]
    return [option for part in get_args(annotation) for option in _options(part)] if _is_choice(annotation) else []


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
    if options := _options(annotation):
        return [quoted(_plain(option)) for option in options]
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
    if _is_model(annotation):
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


def _arguments(component: type) -> list[tuple[str, inspect.Parameter, Any]]:
    """Name, parameter and annotation of every argument of the constructor, but `self`."""
    owner = next(base for base in component.__mro__ if "__init__" in vars(base))
    if owner.__module__.partition(".")[0] in ("builtins", "torch"):
        return []  # no constructor of its own: nn.Module's takes *args
    constructor = owner.__init__  # type: ignore[misc]
    try:
        annotations = get_type_hints(constructor, include_extras=True)
    except Exception as error:  # an annotation is any expression
        raise TypeError(f"an annotation of {component.__name__}'s settings means nothing: {error}") from error
    found = []
    for name, argument in list(inspect.signature(constructor).parameters.items())[1:]:
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD, argument.POSITIONAL_ONLY):
            raise TypeError(f"{component.__name__} takes {argument}, but settings have names and types")
        if name not in annotations:
            raise TypeError(f"the setting {name} of {component.__name__} has no type annotation")
        found.append((name, argument, annotations[name]))
    return found


def _described_arguments(component: type) -> dict[str, str]:
    """What the docstrings of the class, its constructor and its bases say about arguments under `Args:`."""
    described: dict[str, str] = {}
    for base in reversed(component.__mro__):
        for text in (base.__doc__, getattr(vars(base).get("__init__"), "__doc__", None)):
            described |= _parse_arguments(inspect.cleandoc(text or ""))
    return described


def _parse_arguments(text: str) -> dict[str, str]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", text, re.MULTILINE)
    described: dict[str, str] = {}
    name = ""
    for line in inspect.cleandoc("\n" + section[1] if section else "").splitlines():
        entry = re.match(r"(\w+)(?: *\(.*?\))?: *(.*)", line)
        if entry:
            name = entry[1]
            described[name] = entry[2]
        elif name and line.strip():
            described[name] = f"{described[name]} {line.strip()}".strip()
    return described


def _doc(component: type) -> str:
    return inspect.cleandoc(component.__doc__ or "")


def _summary(text: str) -> str:
    """The first sentence, on one line."""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z`])", paragraph)[0]


def _name(component: type) -> str:
    return str(getattr(component, "name", component.__name__))


_MODELS: weakref.WeakKeyDictionary[type, type[BaseModel]] = weakref.WeakKeyDictionary()
_MOST_FAULTS = 10  # of one list: a thousand wrong items say no more
_SWITCHES = {"yes": True, "on": True, "y": True, "no": False, "off": False, "n": False}
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
