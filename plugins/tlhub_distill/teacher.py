"""Teachers: adapted models, wherever they are kept."""

from __future__ import annotations

import re

from tlhub.artifact import Adapted, load
from tlhub.errors import SettingError, UserError
from tlhub.run import Run
from tlhub_distill.taught import Taught

_PINNED = re.compile(r"hub:[^@]+@[0-9a-f]{40}")


def check_place(place: str) -> None:
    """Raise SettingError where `place` means the Hub, but no commit there: what a teacher says must not change."""
    if place.startswith("hub:") and not _PINNED.fullmatch(place):
        raise SettingError(
            "teacher",
            f"`{place}` names no commit of a repository",
            "write `hub:OWNER/NAME@COMMIT` with all 40 digits of the commit, as the repository's history shows it",
        )


def load_teacher(place: str, run: Run, student: Taught) -> Adapted:
    """The adapted model at a place: a folder, such as that of a run, or the name by which a store knows it.

    It is in evaluation mode, on the run's device, and the adapter `student` knows it as an origin. Raises UserError
    where there is none, or it reads other inputs than the run has.
    """
    teacher = load(place, str(run.device), run.catalog)
    reads, given = teacher.model.backbone.modality, run.model.backbone.modality
    if reads != given:
        raise UserError(
            f"the teacher `{place}` of `{student.name}` reads {reads}, but the run's examples are {given}",
            "name a teacher that reads the same examples; its network may be any",
        )
    student.learned_from.append(teacher.origin("teacher"))
    return teacher
