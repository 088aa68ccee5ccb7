"""`tlhub adapt`"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tlhub.errors import UserError
from tlhub_cli import findings, output, progress, scores
from tlhub_cli.options import Device, Json, ManifestFile, Overrides, existing

if TYPE_CHECKING:
    from rich.console import Console


def adapt(
    manifest: ManifestFile,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/NAME")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run where it stood.")] = False,
    device: Device = None,
    no_baseline: Annotated[bool, typer.Option("--no-baseline", help="Train no other model to compare with.")] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=2, help="Adapt under so many seeds, and compare over all of them.", show_default="one"),
    ] = None,
    json: Json = False,
) -> None:
    """Adapt a pretrained model as a manifest says, and measure whether it helped.

    Trains the source-only baseline, or what the manifest names under `baseline`, and the adapted model, scores all on
    the labelled data under `evaluate`, and leaves a folder.
    """
    existing(manifest)
    screen = output.screen(json)
    if seeds is not None:
        if no_baseline:
            raise UserError("`--seeds` compares with the baseline", "leave out `--no-baseline`")
        _under_seeds(manifest, seeds, overrides, out, device, screen, json)
        return
    from tlhub.adaptation import adapt as run

    result = run(
        manifest,
        overrides=overrides or (),
        out=out,
        resume=resume,
        device=device,
        baseline=not no_baseline,
        watch=progress.watch(screen),
    )
    scores.results(screen, result.metric, result.rows)
    findings.verdict(screen, result)
    output.written(screen, result.folder)
    folder = shlex.quote(str(result.folder))
    output.next_steps(
        screen,
        {
            **({f"tlhub doctor {folder}": "all that was measured, and what to change"} if result.reasons else {}),
            f"tlhub predict {folder} INPUT…": "ask it about files or texts of yours",
            f"tlhub show {folder}": "what it is, and how to load it in Python",
            f"tlhub evaluate {folder} --data use=…,path=…": "score it on other labelled data",
            f"tlhub report {folder}": "all of it as a page to look at",
        },
    )
    if json:
        output.facts({"folder": str(result.folder), **result.as_dict()})


def _under_seeds(
    manifest: Path,
    count: int,
    overrides: list[str] | None,
    out: Path | None,
    device: str | None,
    screen: Console,
    json: bool,
) -> None:
    from tlhub.seeds import adapt_seeds

    found = adapt_seeds(
        manifest, count, overrides=overrides or (), out=out, device=device, watch=progress.watch(screen)
    )
    scores.means(screen, found.results[0].metric, found.means)
    findings.verdict_of_seeds(screen, found)
    output.written(screen, found.folder)
    first = shlex.quote(str(found.results[0].folder))
    output.next_steps(
        screen,
        {
            f"tlhub show {first}": "what one of them is, and how to load it in Python",
            f"tlhub predict {first} INPUT…": "ask it about files or texts of yours",
        },
    )
    if json:
        output.facts(found.as_dict())
