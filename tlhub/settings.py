"""A constructor's signature as a pydantic model: the settings of a component, checked and described."""

from __future__ import annotations

import inspect
import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

import pydantic_core
from pydantic import BaseModel, Field, create_model

from tlhub.errors import SettingError, UserError
from tlhub.faults import STRICT, Fault, as_json, faults
from tlhub.wording import annotated, expected

T = TypeVar("T")


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
            type=expected(annotated(field)),
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
