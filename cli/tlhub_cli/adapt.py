"""`tlhub adapt`"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tlhub_cli import output
from tlhub_cli.options import Device, Json, ManifestFile, Overrides, existing


def adapt(
    manifest: ManifestFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/NAME")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run where it stood.")] = False,
    device: Device = None,
    no_baseline: Annotated[
        bool, typer.Option("--no-baseline", help="Do not train the source-only model to compare with.")
    ] = False,
    json: Json = False,
) -> None:
    """Adapt a pretrained model as a manifest says, and measure whether it helped.

    Trains the source-only baseline and the adapted model, scores both on the labelled data under `evaluate`, and leaves
    a folder.
    """
    existing(manifest)
    from tlhub.adaptation import adapt as run

    screen = output.screen(json)
    result = run(
        manifest,
        overrides=overrides or (),
        out=out,
        resume=resume,
        device=device,
        baseline=not no_baseline,
        watch=output.watch(screen),
    )
    output.results(screen, result.metric, result.rows)
    output.outcome(screen, result.sentence, None if result.comparison is None else result.comparison.outcome)
    output.written(screen, result.folder)
    folder = shlex.quote(str(result.folder))
    output.next_steps(
        screen,
        {
            f"tlhub predict {folder} INPUT…": "ask it about files or texts of yours",
            f"tlhub show {folder}": "what it is, and how to load it in Python",
            f"tlhub evaluate {folder} --data use=…,path=…": "score it on other labelled data",
        },
    )
    if json:
        output.facts({"folder": str(result.folder), **result.as_dict()})
