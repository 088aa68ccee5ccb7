"""`tlhub reproduce`"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tlhub_cli import output, progress, scores
from tlhub_cli.errors import USER
from tlhub_cli.options import Json, Overrides, Place


def reproduce(
    model: Place,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/NAME-reproduced")] = None,
    json: Json = False,
) -> None:
    """Make the run of an adapted model again, and say whether the same came of it, and what differs.

    Versions and data are compared first. It ends with 0 where the weights are equal to the bit or the scores lie in the
    recorded intervals, and with 2 where not.
    """
    from tlhub_registry.reproduce import reproduce as again

    screen = output.screen(json)
    found = again(model, overrides or (), out, progress.watch(screen))
    scores.reproduction(screen, found.metric, found.measured)
    output.notes([f"{name} differs" for name in found.files], screen)
    output.outcome(screen, found.sentence, "helped" if found.reproduced else "hurt")
    output.written(screen, found.folder)
    if json:
        facts = {"folder": str(found.folder), "reproduced": found.reproduced, "sentence": found.sentence}
        output.facts({**asdict(found), **facts})
    if not found.reproduced:
        raise typer.Exit(USER)
