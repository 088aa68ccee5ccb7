"""`tlhub rank`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import output, progress, rankings
from tlhub_cli.options import Device, Json
from tlhub_cli.parts import is_part, part

if TYPE_CHECKING:
    from tlhub.catalog import Catalog
    from tlhub.rank import Candidate

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
        list[str] | None,
        typer.Option(
            metavar="BACKBONE",
            help="A candidate, two or more of them: timm:resnet18, '{use: timm, model: resnet18, pretrained: false}', "
            "or an adapted model: its folder, an entry such as digits:3, or hub:OWNER/NAME.",
            show_default="the models in the registry, and installed backbones that need no setting",
        ),
    ] = None,
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
    from tlhub.catalog import Catalog
    from tlhub.rank import candidates, estimate, open_labelled, rank as run
    from tlhub.run import pick_device

    catalog = Catalog.installed()
    where = pick_device(device)
    asked = [part(text, "--score") if is_part(text) else {"use": text} for text in score or DEFAULT]
    scores = [catalog.create("scores", each.pop("use"), each) for each in asked]
    labelled = open_labelled(part(data, "--data"), catalog, limit, seed)
    screen = output.screen(json)
    if backbone is None:
        named = _here(labelled.modality, catalog)
    else:
        named = candidates((part(text, "--backbone") if is_part(text) else text for text in backbone), catalog)
    able, estimates = [], []
    for each in named:
        try:
            estimates.append(estimate(each, labelled, where, catalog, seed))
            able.append(each)
        except UserError as error:
            if backbone is not None:
                raise
            output.notes([f"`{each.name}` is left out: {error.message}"], screen)
    if len(able) < 2:
        found = f"there is nothing to rank: {output.count(len(able), 'backbone')} for {labelled.modality}"
        raise UserError(found, "name two or more with `--backbone`")
    rankings.estimates(screen, estimates, len(labelled.domain))
    ranking = run(able, labelled, scores, where, catalog, progress.watch(screen), seed)
    rankings.ranking(screen, ranking)
    output.next_steps(
        screen,
        {
            "tlhub init": "a manifest to train with; name the best of them under `backbone`",
            "tlhub describe SCORE": "what a score measures, and when to trust it",
        },
    )
    if json:
        output.facts({"estimates": [each.as_dict() for each in estimates], **ranking.as_dict()})


def _here(modality: str, catalog: Catalog) -> list[Candidate]:
    """The newest version of every model in the registry, and the installed backbones that have all they require."""
    from tlhub.rank import Candidate, candidate
    from tlhub.settings import model as settings_of
    from tlhub_registry.registry import Registry

    registry = Registry()
    newest = {entry.name: entry for entry in reversed(registry.entries()) if entry.record["modality"] == modality}
    found = [Candidate(entry.ref, folder=registry.checkout(entry)) for entry in newest.values()]
    for each in catalog.entries("backbones"):
        settings = settings_of(each.cls).model_fields.values()
        if each.cls.modality == modality and not any(setting.is_required() for setting in settings):
            found.append(candidate(each.name, catalog))
    return found
