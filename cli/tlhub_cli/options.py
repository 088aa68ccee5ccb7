"""What several commands ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlhub.errors import UserError

ManifestFile = Annotated[
    Path, typer.Argument(metavar="MANIFEST", help="The YAML file that says what to do.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change the manifest, such as train.lr=1e-4; may be repeated."),
]
Place = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A folder that `tlhub adapt` left, an entry such as digits:3, or hub:OWNER/NAME.",
        show_default=False,
    ),
]
Labelled = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Labelled data, such as use=imagefolder,path=photos or '{use: csv, path: t.csv}'; may be repeated.",
        show_default="its manifest's",
    ),
]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:1.", show_default="the best there is")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, to the standard output.")]


def existing(manifest: Path) -> None:
    """Raise a UserError that helps on where there is no such manifest."""
    if not manifest.exists():
        raise UserError(f"there is no manifest {manifest}", "`tlhub init` writes one to start from")


def located(model: str) -> Path:
    """The folder of the adapted model at a place. Raises UserError where there is none."""
    if Path(model).is_dir():
        return Path(model)
    from tlhub.catalog import Catalog
    from tlhub.store import locate

    return locate(model, Catalog.installed())
