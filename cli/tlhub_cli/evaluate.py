"""`tlhub evaluate`"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from tlhub.errors import ManifestError, UserError
from tlhub_cli import output
from tlhub_cli.options import Device, Json, Place, located


def evaluate(
    model: Place,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Labelled data, such as use=imagefolder,path=photos or '{use: csv, path: t.csv}'; may be repeated.",
            show_default="its manifest's",
        ),
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Score an adapted model on labelled data, with 95 % intervals."""
    from tlhub import adaptation
    from tlhub.artifact import read_record
    from tlhub.catalog import Catalog

    parts = None if data is None else [_part(text) for text in data]
    folder = located(model)
    catalog = Catalog.installed()
    try:
        rows = adaptation.evaluate(folder, parts, device=device, catalog=catalog)
    except ManifestError as error:
        if data is None:
            raise
        where = f"--data {' '.join(data)}"  # what the user wrote, not where it went in the manifest
        raise ManifestError([replace(problem, file=where) for problem in error.problems]) from None
    metric = catalog.find("tasks", read_record(folder)["task"]["use"]).cls.metric
    output.results(output.screen(json), metric, rows)
    if json:
        output.facts(
            {
                "metric": metric,
                "rows": [{"domain": row.domain, **row.score.as_dict(), "metrics": dict(row.metrics)} for row in rows],
            }
        )


def _part(text: str) -> dict[str, Any]:
    """A part of a manifest from `use=imagefolder,path=photos`, or from YAML. Raises UserError."""
    from tlhub.yaml_tree import read_text

    wrong = UserError(f"`--data {text}` names no data", "write it like `--data use=imagefolder,path=photos`")
    if text.lstrip().startswith("{"):
        part = read_text(text, "--data").plain()
        if not isinstance(part, dict):
            raise wrong
        return part
    part = {}
    for piece in text.split(","):
        key, equals, value = piece.partition("=")
        if not equals or not key.strip():
            raise wrong
        try:
            part[key.strip()] = read_text(value, f"--data {piece}").plain()
        except ManifestError:
            part[key.strip()] = value  # not YAML, so a text such as a file's name
    if "use" not in part:
        raise wrong
    return part
