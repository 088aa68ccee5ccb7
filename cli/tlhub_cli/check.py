"""`tlhub check`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from tlhub.errors import ManifestError
from tlhub_cli import errors, output
from tlhub_cli.options import Json, ManifestFile, Overrides, existing

if TYPE_CHECKING:
    from tlhub.diagnostics import Problem
    from tlhub.manifest import Manifest


def check(manifest: ManifestFile, overrides: Overrides = None, json: Json = False) -> None:
    """Check a manifest: all problems at once, each with its place and how to mend it.

    Nothing is trained or downloaded, and no data is read.
    """
    existing(manifest)
    from tlhub import manifest as manifests
    from tlhub.catalog import Catalog

    try:
        loaded = manifests.load(manifest, overrides or (), Catalog.installed())
    except ManifestError as error:
        if not json:
            raise
        output.facts([_as_dict(problem) for problem in error.problems])
        raise typer.Exit(errors.USER) from None
    if json:
        output.facts([])
    else:
        output.fine(str(manifest), _summary(loaded))


def _as_dict(problem: Problem) -> dict[str, Any]:
    return {key: value for key, value in asdict(problem).items() if key not in ("width", "source_line")}


def _summary(manifest: Manifest) -> str:
    """What will be composed, in one line."""

    def names(role: str) -> str:
        return ", ".join(part.use for part in getattr(manifest, role))

    phrases = [f"backbone {manifest.backbone.use}"]
    phrases += [f"{role} {names(role)}" for role in ("source", "target", "adapters", "evaluate") if names(role)]
    return "; ".join([*phrases, output.count(manifest.train.epochs, "epoch")])
