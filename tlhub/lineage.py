"""What a model was made from: the models it began with or learned from, each pinned, and what those were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Origin:
    """A model that another one was made from.

    Attributes:
        role: what it was to the other: `backbone`, `teacher`.
        name: what people call it, such as `timm/resnet50.a1_in1k`; never a path.
        revision: what pins it: a commit of its repository on the Hub, or `sha256:` and the digest of its files; None
            where nothing does.
        lineage: what it was made from itself.
        hub: where it was published, such as `hub:you/model@<commit>`; None where that is not known.
    """

    role: str
    name: str
    revision: str | None
    lineage: tuple[Origin, ...] = ()
    hub: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        lineage = [each.as_dict() for each in self.lineage]
        known = {} if self.hub is None else {"hub": self.hub}
        return {"role": self.role, "name": self.name, "revision": self.revision, "lineage": lineage, **known}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        lineage = tuple(cls.from_dict(each) for each in told["lineage"])
        return cls(told["role"], told["name"], told["revision"], lineage, told.get("hub"))
