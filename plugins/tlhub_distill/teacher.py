"""Teachers: adapted models, from a folder or from the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from tlhub.artifact import Adapted, load
from tlhub.errors import SettingError, UserError
from tlhub.run import Run

_HUB = "hub:"
_PINNED = re.compile(r"hub:([\w.-]+/[\w.-]+)@([0-9a-f]{40})")


def check_place(place: str) -> None:
    """Raise SettingError where `place` means the Hub, but no commit there: what a teacher says must not change."""
    if place.startswith(_HUB) and not _PINNED.fullmatch(place):
        raise SettingError(
            "teacher",
            f"`{place}` names no commit of a repository",
            "write `hub:OWNER/NAME@COMMIT` with all 40 digits of the commit, as the repository's history shows it",
        )


def load_teacher(place: str, run: Run, name: str) -> Adapted:
    """The adapted model in a folder, such as that of a run, or of a repository `hub:owner/name@commit`.

    It is in evaluation mode, on the run's device. Raises UserError, for the adapter `name`, where there is none, or it
    reads other inputs than the run has.
    """
    teacher = load(_fetched(place) if place.startswith(_HUB) else Path(place), str(run.device), run.catalog)
    reads, given = teacher.model.backbone.modality, run.model.backbone.modality
    if reads != given:
        raise UserError(
            f"the teacher `{place}` of `{name}` reads {reads}, but the run's examples are {given}",
            "name a teacher that reads the same examples; its network may be any",
        )
    return teacher


def _fetched(place: str) -> Path:
    from huggingface_hub import snapshot_download

    pinned = _PINNED.fullmatch(place)
    assert pinned is not None, "the constructor looked"
    try:
        return Path(snapshot_download(pinned[1], revision=pinned[2]))
    except Exception as error:  # the Hub's errors have no common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"the teacher `{place}` cannot be fetched: {reason}",
            "check the name, the connection and HF_HUB_OFFLINE; without a network only what is in the cache is found",
        ) from error
