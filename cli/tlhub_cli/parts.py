"""Parts of a manifest as one writes them on a command line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from tlhub.errors import ManifestError, UserError

EXAMPLES = {"--backbone": "use=timm,model=resnet18", "--score": "use=transrate,epsilon=1e-3"}


def part(text: str, option: str) -> dict[str, Any]:
    """A part of a manifest from `use=imagefolder,path=photos`, or from YAML. Raises UserError naming the option."""
    from tlhub.yaml_tree import read_text

    example = EXAMPLES.get(option, "use=imagefolder,path=photos")
    wrong = UserError(f"`{option} {text}` names no component", f"write it like `{option} {example}`")
    if text.lstrip().startswith("{"):
        found = read_text(text, option).plain()
        if not isinstance(found, dict) or not isinstance(found.get("use"), str):
            raise wrong
        return found
    found = {}
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if not equals or not key.strip():
            raise wrong
        try:
            found[key.strip()] = read_text(value, f"{option} {piece}").plain()
        except ManifestError:
            found[key.strip()] = value  # not YAML, so a text such as a file's name
    if not isinstance(found.get("use"), str):
        raise wrong
    return found


def is_part(text: str) -> bool:
    """Whether this is a part with settings, rather than a name."""
    return text.lstrip().startswith("{") or text.startswith("use=")


@contextmanager
def told_of(option: str, given: Sequence[str] | None) -> Iterator[None]:
    """Problems with parts that were given on the command line are told of that, not of where they went."""
    try:
        yield
    except ManifestError as error:
        if given is None:
            raise
        where = f"{option} {' '.join(given)}"
        raise ManifestError([replace(problem, file=where) for problem in error.problems]) from None
