"""`tlhub recommend`"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlhub.errors import UserError
from tlhub_cli import output, progress, rankings
from tlhub_cli.options import Device, Json, existing
from tlhub_cli.parts import is_part, part

if TYPE_CHECKING:
    from tlhub.catalog import Catalog


def recommend(
    manifest: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MANIFEST]", help="A manifest with backbone, source and target; or name the three with options."
        ),
    ] = None,
    source: Annotated[
        str | None, typer.Option(metavar="DATA", help="Labelled data, such as use=imagefolder,path=photos.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="DATA", help="The data to adapt to; its labels are not read.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(metavar="BACKBONE", help="What sees both, such as timm:resnet18, or an adapted model.")
    ] = None,
    limit: Annotated[int, typer.Option(min=20, help="Look at no more examples of each domain.")] = 1000,
    device: Device = None,
    json: Json = False,
) -> None:
    """Measure how your target differs from your source, and propose adapters to try first.

    Prints the evidence, the rules that follow from it, and the adapters they name. A proposal is where to begin, and no
    promise: a run with an `evaluate` part tells what helps.
    """
    options = {"source": source, "target": target, "backbone": backbone}
    missing = [f"--{name}" for name, value in options.items() if value is None]
    if manifest is not None and len(missing) < len(options):
        raise UserError("a manifest and options say the same twice", "give the manifest alone, or the options alone")
    if manifest is None and missing:
        raise UserError(f"missing: {', '.join(missing)}", "give all three options, or a manifest that says as much")
    from tlhub.catalog import Catalog
    from tlhub.manifest import from_dict, load
    from tlhub.recommend import recommend as run
    from tlhub.run import pick_device

    catalog = Catalog.installed()
    if manifest is not None:
        existing(manifest)
        loaded = load(manifest, catalog=catalog)
    else:
        parts = {"source": part(source or "", "--source"), "target": part(target or "", "--target")}
        loaded = from_dict({"backbone": _backbone(backbone or "", catalog), **parts}, catalog=catalog)
    screen = output.screen(json)
    found = run(loaded, catalog, pick_device(device), limit, progress.watch(screen))
    rankings.recommendation(screen, found)
    first = next((name for each in found.proposals for name in each.adapters), None)
    output.next_steps(
        screen,
        {
            **({} if first is None else {f"tlhub describe {first}": "what it does, its settings, and how to write it"}),
            "tlhub adapt MANIFEST": "train it, and see whether it helped",
        },
    )
    if json:
        output.facts(found.as_dict())


def _backbone(text: str, catalog: Catalog) -> dict[str, Any]:
    """The part of a manifest for a backbone; an adapted model is one too."""
    if is_part(text):
        return part(text, "--backbone")
    from tlhub.rank import candidate

    found = candidate(text, catalog)
    return {"use": "artifact", "ref": text} if found.part is None else dict(found.part)
