"""`tlhub compare`"""

from __future__ import annotations

from typing import Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import output, scores
from tlhub_cli.options import Device, Json, Labelled
from tlhub_cli.parts import part, told_of


def compare(
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL MODEL…", help="Folders, entries or places on the Hub.", show_default=False),
    ],
    data: Labelled = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Compare adapted models on the same labelled examples, each with the first."""
    from tlhub.contest import contest

    if len(models) < 2:
        raise UserError("there is one model only", "name two or more")
    with told_of("--data", data):
        parts = None if data is None else [part(text, "--data") for text in data]
        entrants = contest(models, parts, device=device)
    screen = output.screen(json)
    scores.results(screen, entrants[0].metric, [row for entrant in entrants for row in entrant.rows])
    for entrant in entrants[1:]:
        assert entrant.comparison is not None
        scores.compared(screen, entrant.place, models[0], entrant.metric, entrant.comparison)
    if json:
        output.facts([entrant.as_dict() for entrant in entrants])
