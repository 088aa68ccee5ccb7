"""`tlhub evaluate`"""

from __future__ import annotations

from tlhub_cli import output, scores
from tlhub_cli.options import Device, Json, Labelled, Place, located
from tlhub_cli.parts import part, told_of


def evaluate(
    model: Place,
    data: Labelled = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Score an adapted model on labelled data, with 95 % intervals."""
    from tlhub import adaptation
    from tlhub.artifact import read_record
    from tlhub.catalog import Catalog

    parts = None if data is None else [part(text, "--data") for text in data]
    folder = located(model)
    catalog = Catalog.installed()
    with told_of("--data", data):
        rows = adaptation.evaluate(folder, parts, device=device, catalog=catalog)
    metric = catalog.find("tasks", read_record(folder)["task"]["use"]).cls.metric
    scores.results(output.screen(json), metric, rows)
    if json:
        output.facts(
            {
                "metric": metric,
                "rows": [{"domain": row.domain, **row.score.as_dict(), "metrics": dict(row.metrics)} for row in rows],
            }
        )
