"""`tlhub report`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import findings, output
from tlhub_cli.options import Device, Json, Place, located


def report(
    model: Place,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")] = Path("report.html"),
    png: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also draw the features before and after.", show_default=False),
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Write what an adaptation came to as one HTML file: verdict, scores, changes by class, curves, features, mistakes.

    The file needs nothing but itself, and one that is there already is replaced.
    """
    from tlhub.catalog import Catalog
    from tlhub.checkpoint import write_atomically
    from tlhub_report.findings import gather
    from tlhub_report.page import page
    from tlhub_report.picture import picture

    for path in filter(None, (out, png)):
        if path.is_dir():
            raise UserError(f"{path} is a folder", "name a file")
        if not path.absolute().parent.is_dir():
            raise UserError(f"there is no folder {path.parent}", "make it, or name a file elsewhere")
    found = gather(located(model), device, Catalog.installed())
    write_atomically(out, page(found, model))
    if png is not None:
        png.write_bytes(picture(found))
    screen = output.screen(json)
    output.notes(found.notes, screen)
    if found.result is not None:
        findings.verdict(screen, found.result)
    for path in filter(None, (out, png)):
        output.written(screen, path)
    if json:
        sentence = None if found.result is None else found.result.sentence
        files = {"report": str(out), "png": None if png is None else str(png)}
        output.facts({**files, "sentence": sentence, "notes": found.notes})
