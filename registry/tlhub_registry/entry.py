"""One adapted model as the registry knows it: a version of a name, and what its record tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tlhub.lineage import Origin


@dataclass(frozen=True)
class File:
    """A file of a model: its sha256 in hexadecimal, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """A model in the registry. It never changes; only tags and the places where it was published are added.

    Attributes:
        name: what it is found by; models of one name are versions, counted from 1, and no number is given twice.
        digest: what identifies the model: `sha256:` and the digest of its files.
        created: when it was added, UTC, as ISO 8601.
        source: `run`, or the place it was pulled from, such as `hub:you/model@<commit>`.
        record: what its `tlhub.json` says.
        files: all its files but `tlhub.json`, by name.
        published: the places where it was published from here, such as `hub:you/model@<commit>`.
        run: the folder of the run that it came from, on this disk; None where it was pulled.
    """

    name: str
    version: int
    digest: str
    created: str
    source: str
    record: Mapping[str, Any]
    files: Mapping[str, File]
    tags: tuple[str, ...]
    published: tuple[str, ...]
    run: str | None

    @property
    def ref(self) -> str:
        """Its name and version, such as `digits-dann:3`."""
        return f"{self.name}:{self.version}"

    @property
    def size(self) -> int:
        """Of all files together, in bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def lineage(self) -> tuple[Origin, ...]:
        """What it was made from."""
        return tuple(Origin.from_dict(each) for each in self.record["lineage"])

    @property
    def origins(self) -> list[Origin]:
        """What it was made from, and what that was made from, as one list."""
        return list(_below(self.lineage))

    @property
    def score(self) -> str | None:
        """Its result in a few words, such as `accuracy 91.3 %`; None where it has none."""
        result = self.record.get("result") or {}
        adapted = [row for row in result.get("rows", []) if row["model"] == "adapted"]
        return f"{result['metric']} {100 * adapted[-1]['value']:.1f} %" if adapted else None

    @property
    def texts(self) -> dict[str, list[str]]:
        """What it can be found by: texts for each of `task`, `base`, `tag`, `data` and `adapter`."""
        manifest = self.record["manifest"]
        roles = ("source", "target", "evaluate")
        return {
            "task": [self.record["task"]["use"]],
            "base": [*_strings(self.record["backbone"]), *(origin.name for origin in self.origins)],
            "tag": list(self.tags),
            "data": [text for role in roles for part in manifest.get(role, []) for text in _strings(part)],
            "adapter": [part["use"] for part in manifest.get("adapters", [])],
        }

    def matches(self, **wanted: str | None) -> bool:
        """Whether each wanted text, such as `task="classification"`, is part of one of its `texts`; case is ignored."""
        texts = self.texts
        asked = ((field, text.lower()) for field, text in wanted.items() if text is not None)
        return all(any(text in known.lower() for known in texts[field]) for field, text in asked)


def _below(origins: tuple[Origin, ...]) -> Iterator[Origin]:
    for origin in origins:
        yield origin
        yield from _below(origin.lineage)


def _strings(part: Mapping[str, Any]) -> list[str]:
    """The texts in a part of a manifest: its name, and such as the model or the path that it names."""
    return [value for key, value in part.items() if isinstance(value, str) and key not in ("labels", "split")]
