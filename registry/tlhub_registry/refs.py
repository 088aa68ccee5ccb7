"""Names of repositories on the Hub, as people write them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tlhub.errors import UserError

HUB = "hub:"

_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9_][\w./-]*))?", re.ASCII)
_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True)
class HubRef:
    """A repository of the Hub, at a revision: a branch, a tag or a commit; None for the newest."""

    repo: str
    revision: str | None = None

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit, which never changes."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        return f"{HUB}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def parse_hub(place: str) -> HubRef | None:
    """The repository that `hub:OWNER/NAME[@REVISION]` names; None where the place does not begin with `hub:`.

    Raises UserError where it is malformed.
    """
    return parse_repo(place) if place.startswith(HUB) else None


def parse_repo(text: str) -> HubRef:
    """The repository that `OWNER/NAME[@REVISION]` names, with or without `hub:` before it.

    Raises UserError where it is malformed.
    """
    match = _REPO.fullmatch(text.removeprefix(HUB))
    if match is None or "--" in match[1] or ".." in text:
        raise UserError(
            f"`{text}` names no repository of the Hub",
            "write OWNER/NAME, or OWNER/NAME@REVISION with a branch, a tag or a commit",
        )
    return HubRef(match[1], match[2])
