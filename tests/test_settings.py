"""A constructor's arguments are settings: strict about types, told in plain words."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval
from pydantic import AfterValidator, Field

from tlhub.component import Component
from tlhub.errors import SettingError, UserError
from tlhub.settings import check_settings, create, describe, model
from tlhub.wording import expected


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


def even(value: int) -> int:
    if value % 2:
        raise ValueError("an odd number will not do")
    return value


class Everything(Component):
    """Has a setting of every type. This is said only here.

    Args:
        strength: factor of the term,
            in two lines.
        copy: named like a method of pydantic's.

    Raises:
        nothing: ever.
    """

    name = "everything"
    paper = "Somebody 2016"

    def __init__(
        self,
        strength: Annotated[float, Field(gt=0)],
        count: int = 1,
        flag: bool = False,
        text: str = "a",
        path: Path | None = None,
        mode: Literal["mean", "max"] = "mean",
        layers: tuple[int, ...] = (),
        pair: tuple[int, int] = (0, 1),
        names: dict[str, float] | None = None,
        scales: float | list[float] = 1.0,
        colour: Colour = Colour.RED,
        halves: Annotated[int, AfterValidator(even)] = 2,
        copy: int = 0,
    ) -> None:
        if count == 13:
            raise SettingError("count", "13 is unlucky")
        if count == 14:
            raise ValueError("14 is too many")
        self.strength = strength
        self.path = path
        self.layers = layers
        self.colour = colour


class Heir(Everything):
    """Has the settings of its parent."""

    name = "heir"


class Bare(Component):
    """Has none."""

    name = "bare"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("strength", 1),
        ("strength", 1e-3),
        ("flag", True),
        ("text", "3"),
        ("path", "a/b"),
        ("path", Path("a/b")),
        ("path", None),
        ("mode", "max"),
        ("layers", [1, 2]),
        ("layers", (1, 2)),
        ("pair", [1, 2]),
        ("names", {"a": 1}),
        ("scales", 3),
        ("scales", [1, 2.5]),
        ("colour", "blue"),
        ("colour", Colour.BLUE),
        ("halves", 4),
        ("copy", 2),
    ],
)
def test_values_that_fit(setting: str, value: Any) -> None:
    assert check_settings(Everything, {"strength": 1.0, setting: value}) == []


@pytest.mark.parametrize(
    ("setting", "value", "message", "hint"),
    [
        ("strength", 0, "expected a number greater than 0, found the number 0", None),
        ("strength", "3", "expected a number greater than 0, found the text '3'", "write it without quotes: `3`"),
        ("strength", True, "expected a number greater than 0, found true", None),
        ("strength", None, "expected a number greater than 0, found nothing", "give it a value, or leave it out"),
        ("strength", float("nan"), "expected a number greater than 0, found the number .nan", None),
        ("count", True, "expected a whole number, found true", None),
        ("count", 2.0, "expected a whole number, found the number 2.0", "write `2`"),
        ("count", [1], "expected a whole number, found a list of length 1", None),
        ("count", {}, "expected a whole number, found an empty mapping", None),
        ("flag", "off", "expected true or false, found the text 'off'", "write `false`"),
        ("flag", 1, "expected true or false, found the number 1", None),
        ("text", 3, "expected a text, found the number 3", 'put it in quotes: `"3"`'),
        ("text", 1e-3, "expected a text, found the number 0.001", 'put it in quotes: `"0.001"`'),
        ("mode", "meen", "expected `mean` or `max`, found the text 'meen'", "did you mean `mean`?"),
        ("layers", 3, "expected a list of whole numbers, found the number 3", "write it as a list: `[3]`"),
        ("pair", [1], "expected a list of 2 whole numbers, found a list of length 1", None),
        ("scales", "x", "expected a number or a list of numbers, found the text 'x'", None),
        ("colour", "rot", "expected `red` or `blue`, found the text 'rot'", None),
        ("halves", 3, "an odd number will not do", None),
        ("path", object(), "expected a path or null, found an object that no manifest can hold", None),
    ],
)
def test_values_that_do_not_fit(setting: str, value: Any, message: str, hint: str | None) -> None:
    (fault,) = check_settings(Everything, {"strength": 1.0, setting: value})
    assert (fault.kind, fault.location) == ("wrong", (setting,))
    assert (fault.message, fault.hint) == (f"`{setting}` of `everything`: {message}", hint)


@pytest.mark.parametrize(
    ("settings", "location", "message"),
    [
        (
            {"layers": [1, "b"]},
            ("layers", 1),
            "`layers.1` of `everything`: expected a whole number, found the text 'b'",
        ),
        ({"names": {"a": "b"}}, ("names", "a"), "`names.a` of `everything`: expected a number, found the text 'b'"),
        ({"scales": [1, "b"]}, ("scales", 1), "`scales.1` of `everything`: expected a number, found the text 'b'"),
    ],
)
def test_what_is_inside_is_told_where_it_stands(
    settings: dict[str, Any], location: tuple[str | int, ...], message: str
) -> None:
    (fault,) = check_settings(Everything, {"strength": 1.0, **settings})
    assert (fault.location, fault.message) == (location, message)


def test_unknown_and_missing_settings() -> None:
    unknown, missing = check_settings(Everything, {"cuont": 1})
    assert (unknown.kind, unknown.location, unknown.hint) == ("unknown", ("cuont",), "did you mean `count`?")
    assert (missing.kind, missing.message) == (
        "missing",
        "`everything` needs the setting `strength`: a number greater than 0",
    )


def test_a_misspelt_required_setting_is_told_once() -> None:
    (fault,) = check_settings(Everything, {"strenght": 1})
    assert (fault.kind, fault.hint) == ("unknown", "did you mean `strength`?")


def test_settings_arrive_as_the_constructor_declares_them() -> None:
    made = create(Everything, {"strength": 1, "path": "a", "layers": [1, 2], "colour": "blue"})
    assert (made.strength, made.path, made.layers, made.colour) == (1.0, Path("a"), (1, 2), Colour.BLUE)
    assert isinstance(made.strength, float)
    assert made.settings["count"] == 1


def test_an_heir_has_its_parents_settings_and_their_descriptions() -> None:
    assert describe(Heir).settings == describe(Everything).settings
    assert create(Heir, {"strength": 2}).strength == 2


def test_what_the_constructor_refuses_is_the_users_to_mend() -> None:
    with pytest.raises(SettingError, match="13 is unlucky"):
        create(Everything, {"strength": 1, "count": 13})
    with pytest.raises(UserError, match="`everything` cannot be made with these settings: 14 is too many"):
        create(Everything, {"strength": 1, "count": 14})
    with pytest.raises(UserError, match=r"(?s)unknown setting `cuont`.*needs the setting `strength`"):
        create(Everything, {"cuont": 1})


def test_a_description_is_for_people() -> None:
    told = describe(Everything)
    assert (told.name, told.summary, told.paper) == ("everything", "Has a setting of every type.", "Somebody 2016")
    first, second = told.settings[:2]
    assert (first.name, first.type, first.required) == ("strength", "a number greater than 0", True)
    assert first.description == "factor of the term, in two lines."
    assert (second.name, second.type, second.required, second.default) == ("count", "a whole number", False, 1)
    assert [setting.name for setting in told.settings][-2:] == ["halves", "copy"]
    assert describe(Bare).settings == ()


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (float, "a number"),
        (Annotated[int, Field(ge=1, le=8)], "a whole number from 1 to 8"),
        (Annotated[float, Interval(gt=0, lt=1)], "a number greater than 0 and less than 1"),
        (Annotated[int, Field(multiple_of=8)], "a whole number divisible by 8"),
        (Annotated[float | None, Field(gt=0)], "a number greater than 0 or null"),
        (Annotated[list[str], Field(min_length=1)], "a list of texts with at least 1 item"),
        (Annotated[str, Field(pattern="a+")], "a text that matches `a+`"),
        (Literal["a", "b", None], "`a`, `b` or `null`"),
        (Literal["auto"] | int, "`auto` or a whole number"),
        (list[Literal["a", "b"]], "a list of `a` or `b`"),
        (tuple[float, float], "a list of 2 numbers"),
        (tuple[str, int], "a list of a text, then a whole number"),
        (list[list[int]], "a list of lists of whole numbers"),
        (dict[str, bool], "a mapping from texts to values true or false"),
        (Any, "any value"),
    ],
)
def test_types_in_plain_words(annotation: Any, words: str) -> None:
    assert expected(annotation) == words


def test_a_model_is_made_once() -> None:
    assert model(Everything) is model(Everything)


class Unannotated(Component):
    def __init__(self, size=3) -> None:  # type: ignore[no-untyped-def]
        pass


class Starred(Component):
    def __init__(self, *sizes: int) -> None:
        pass


class Unresolved(Component):
    def __init__(self, size: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


class Odd(Component):
    def __init__(self, size: object | threading_lock) -> None:  # type: ignore[name-defined]  # noqa: F821
        pass


@pytest.mark.parametrize("component", [Unannotated, Starred, Unresolved, Odd])
def test_constructors_that_do_not_say_what_their_settings_are(component: type) -> None:
    with pytest.raises(TypeError, match=component.__name__):
        model(component)
