"""`tlhub rank`"""

from __future__ import annotations

from typing import Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import output
from tlhub_cli.options import Device, Json
from tlhub_cli.parts import is_part, part

DEFAULT = ("logme", "hscore_shrunk", "linear_probe")


def rank(
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Labelled data, such as use=imagefolder,path=photos or '{use: csv, path: t.csv}'.",
            show_default=False,
        ),
    ],
    backbone: Annotated[
        list[str],
        typer.Option(
            metavar="BACKBONE",
            help="A candidate, two or more of them: timm:resnet18, '{use: timm, model: resnet18, pretrained: false}', "
            "or an adapted model: its folder, an entry such as digits:3, or hub:OWNER/NAME.",
            show_default=False,
        ),
    ],
    score: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SCORE",
            help="A score, such as logme or use=transrate,epsilon=1e-3; may be repeated. The first sorts the table.",
            show_default=", ".join(DEFAULT),
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=2, help="Look at so many examples, of every class as many.", show_default="all"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of `--limit`, and of backbones with random weights.")] = 0,
    device: Device = None,
    json: Json = False,
) -> None:
    """Rank backbones by how well their features suit your labelled data, before any training.

    Says first how long it will take and how much memory. Features are computed once for all scores; nothing is trained
    but the linear probe.
    """
    if len(set(backbone)) < 2:
        raise UserError("there is nothing to rank: one backbone is named", "name two or more with `--backbone`")
    from tlhub.catalog import Catalog
    from tlhub.rank import candidates, estimate, open_labelled, rank as run
    from tlhub.run import pick_device

    catalog = Catalog.installed()
    where = pick_device(device)
    asked = [part(text, "--score") if is_part(text) else {"use": text} for text in score or DEFAULT]
    scores = [catalog.create("scores", each.pop("use"), each) for each in asked]
    named = candidates((part(text, "--backbone") if is_part(text) else text for text in backbone), catalog)
    labelled = open_labelled(part(data, "--data"), catalog, limit, seed)
    screen = output.screen(json)
    estimates = [estimate(each, labelled, where, catalog, seed) for each in named]
    output.estimates(screen, estimates, len(labelled.domain))
    ranking = run(named, labelled, scores, where, catalog, output.watch(screen), seed)
    output.ranking(screen, ranking)
    output.next_steps(
        screen,
        {
            "tlhub init": "a manifest to train with; name the best of them under `backbone`",
            "tlhub describe SCORE": "what a score measures, and when to trust it",
        },
    )
    if json:
        output.facts({"estimates": [each.as_dict() for each in estimates], **ranking.as_dict()})
