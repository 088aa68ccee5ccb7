"""`tlhub bench`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tlhub_cli import output, progress, scores
from tlhub_cli.options import Device, Json, existing


def bench(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The YAML file with tasks and methods.", show_default=False)
    ],
    out: Annotated[Path | None, typer.Option(help="The folder for the runs.", show_default="runs/NAME")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of each run.", show_default="the processors' share")
    ] = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Run every method on every task under several seeds, and compare them in one table.

    Finished runs are not repeated: a bench that was stopped goes on where it was when it is started again.
    """
    from tlhub import bench as benches
    from tlhub.bench_table import table
    from tlhub.catalog import Catalog

    existing(file)
    screen = output.screen(json)
    cells = benches.load(file, Catalog.installed(), out)
    with progress.counted(screen, len(cells)) as told:
        outcomes = benches.run(
            cells,
            jobs=jobs,
            threads=threads,
            device=device,
            finished=lambda outcome: told(
                f"{outcome.cell.task}, {outcome.cell.method}, seed {outcome.cell.seed}: "
                + (outcome.failure or f"{outcome.score:.1f}")
            ),
        )
    made = table(outcomes)
    scores.bench(screen, made)
    if json:
        output.facts({**made.as_dict(), "runs": [str(cell.folder) for cell in cells]})
    if any(outcome.failure for outcome in outcomes):
        raise typer.Exit(2)
