"""`tlhub search`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import models, output
from tlhub_cli.options import Json

if TYPE_CHECKING:
    from tlhub_registry.search import Found


def search(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="Part of a name, or of what a model says of itself.")
    ] = "",
    task: Annotated[str | None, typer.Option(metavar="TEXT", help="Such as classification.")] = None,
    base: Annotated[str | None, typer.Option(metavar="TEXT", help="The model it began with, such as resnet50.")] = None,
    data: Annotated[str | None, typer.Option(metavar="TEXT", help="A data set it was trained or scored on.")] = None,
    adapter: Annotated[str | None, typer.Option(metavar="TEXT", help="A method, such as dann.")] = None,
    tag: Annotated[str | None, typer.Option(metavar="TEXT", help="A tag of yours, or of its card.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Only on this disk: the Hub is not asked.")] = False,
    hub: Annotated[bool, typer.Option("--hub", help="Only on the Hugging Face Hub.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many from each of the two.")] = 20,
    json: Json = False,
) -> None:
    """Find adapted models, on this disk and on the Hugging Face Hub."""
    from tlhub_registry import search as finding
    from tlhub_registry.hub import Hub
    from tlhub_registry.registry import Registry

    if local and hub:
        raise UserError("`--local` and `--hub` exclude each other", "leave both out to search both")
    wanted = {"task": task, "bases": base, "data": data, "adapters": adapter, "tags": tag}
    found = [] if hub else finding.here(Registry(), text, wanted, limit)
    notes = []
    if not local:
        try:
            found += finding.on_hub(Hub(), text, wanted, limit)
        except UserError as error:
            if hub:
                raise
            notes.append(f"this is only what is on this disk: {error.message}")
    screen = output.screen(json)
    models.found(screen, [_row(each) for each in found])
    output.notes(notes, screen)
    if found:
        place = found[0].place
        output.next_steps(
            screen,
            {
                f"tlhub show {place}": "what it is, and how to load it in Python",
                f"backbone: {{use: artifact, ref: '{place}'}}": "in a manifest: go on from it with data of yours",
            },
        )
    if json:
        output.facts({"models": [asdict(each) for each in found], "notes": notes})


def _row(found: Found) -> list[str]:
    """The cells of a model: its place, task, bases, data, adapters, score, baseline and downloads."""
    lists = [", ".join(texts) for texts in (found.bases, found.data, found.adapters)]
    downloads = "" if found.downloads is None else f"{found.downloads:,}"
    return [found.place, found.task, *lists, found.score or "", found.baseline or "", downloads]
