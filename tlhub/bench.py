"""Methods x tasks x seeds from one file: every cell a run of its own, and one table of them all."""

from __future__ import annotations

import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from tlhub import manifest as manifests
from tlhub.catalog import Catalog
from tlhub.diagnostics import Problem, in_order
from tlhub.errors import ManifestError, UserError
from tlhub.faults import STRICT, as_json, faults
from tlhub.manifest import Manifest
from tlhub.yaml_tree import Node, read_file

Pieces = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class Bench(BaseModel):
    """A grid of runs: every method on every task under every seed.

    The manifest of a cell is `base`, with the keys of the task and then those of the method put over it; `train` is
    put together key by key.
    """

    model_config = STRICT

    name: Annotated[str, Field(min_length=1)] = Field(description="Name of the grid.")
    base: dict[str, Any] = Field(default={}, description="What all manifests have in common.")
    tasks: Pieces = Field(description="By name, what a task adds: `source`, `target`, `evaluate`.")
    methods: Pieces = Field(
        description="By name, what a method adds: `adapters`, say; the first is what others are compared to."
    )
    seeds: Annotated[int, Field(gt=0)] | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] = Field(
        default=3, description="Seeds, or how many, from 0."
    )


@dataclass(frozen=True)
class Cell:
    """One run of the grid: its names, its manifest, and the folder it is written to."""

    task: str
    method: str
    seed: int
    manifest: Manifest
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What a cell came to: its score in per cent of the metric, that of the oracle's epoch, or why there is none."""

    cell: Cell
    metric: str = ""
    score: float | None = None
    oracle: float | None = None
    failure: str = ""


def load(path: Path, catalog: Catalog, out: Path | None = None) -> list[Cell]:
    """The cells of a file, each manifest checked with the catalog.

    Args:
        out: the folder for the runs; by default `runs/` and the grid's name.

    Raises ManifestError with everything that is wrong, and UserError where two cells would share a folder.
    """
    tree = read_file(path)
    if not isinstance(tree.value, dict):
        raise ManifestError([Problem("a bench is a mapping with `tasks` and `methods`", str(path))])
    data = tree.plain()
    found = faults(Bench, data, "the bench")
    if found:
        raise ManifestError(
            in_order([Problem.at(tree.place(f.location, key=f.kind != "wrong"), f.message, f.hint) for f in found])
        )
    try:
        bench = Bench.model_validate_json(as_json(data))
    except ValidationError as error:  # nothing that `faults` knows of
        raise ManifestError([Problem(str(error), str(path))]) from None
    return _cells(bench, tree, path, catalog, out or Path("runs") / slug(bench.name))


def _cells(bench: Bench, tree: Node, path: Path, catalog: Catalog, out: Path) -> list[Cell]:
    seeds = list(range(bench.seeds)) if isinstance(bench.seeds, int) else bench.seeds
    cells, problems = [], []
    for task, of_task in bench.tasks.items():
        for method, of_method in bench.methods.items():
            try:
                manifest = manifests.from_dict(_merged(bench.base, of_task, of_method), catalog=catalog)
            except ManifestError as error:
                where = f"{path}, {task}, {method}"
                problems += [replace(problem, file=where) for problem in error.problems]
                continue
            if not manifest.evaluate:
                place = tree.place(("tasks", task), key=True)
                problems.append(Problem.at(place, f"`{task}` has no labelled data to score on", "add `evaluate`"))
            for seed in seeds:
                written = manifest.as_dict()
                written["train"]["seed"] = seed
                seeded = manifests.from_dict(written)
                cells.append(Cell(task, method, seed, seeded, out / slug(task) / slug(method) / f"seed-{seed}"))
    if problems:
        raise ManifestError(list(dict.fromkeys(problems)))
    for first, second in combinations(cells, 2):
        if first.folder == second.folder:
            raise UserError(
                f"{first.folder} would hold two runs", "give tasks and methods names that differ in letters"
            )
    return cells


def _merged(*pieces: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for piece in pieces:
        train = {**merged.get("train", {}), **(piece.get("train") or {})}
        merged = {**merged, **piece, **({"train": train} if train else {})}
    return merged


def slug(name: str) -> str:
    """The name as a part of a path."""
    return re.sub(r"[^\w.]+", "-", name).strip("-.") or "unnamed"


def run(
    cells: Sequence[Cell],
    *,
    jobs: int = 1,
    threads: int | None = None,
    device: str | None = None,
    finished: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Run the cells that are not finished, some at a time, each in a process of its own; what each came to, in order.

    A run that was interrupted continues from its checkpoint. A cell that fails by something its user can mend is an
    outcome too, and the others go on.

    Args:
        threads: of every run; by default the processors' shared number.
        finished: told of each outcome as it comes, of those finished before first.

    Raises UserError where a folder holds a run of another manifest.
    """
    known = {number: outcome for number, cell in enumerate(cells) if (outcome := _recorded(cell)) is not None}
    for outcome in known.values():
        finished(outcome)
    missing = [number for number in range(len(cells)) if number not in known]
    threads = threads or max(1, (os.cpu_count() or 1) // jobs)
    context, me = get_context("spawn"), (os.getpid(),)
    with ProcessPoolExecutor(jobs, context, initializer=_end_with, initargs=me) as pool:
        running: dict[Future[str], int] = {}
        waiting = iter(missing)
        try:
            while True:
                for number in _some(waiting, jobs - len(running)):
                    running[pool.submit(_run, cells[number], threads, device)] = number
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    failure = future.result()
                    recorded = None if failure else _recorded(cells[number])
                    known[number] = recorded or Outcome(cells[number], failure=failure)
                    finished(known[number])
        finally:
            for future in running:
                future.cancel()
    return [known[number] for number in range(len(cells))]


def _some(numbers: Iterator[int], count: int) -> Iterator[int]:
    return (number for _, number in zip(range(count), numbers, strict=False))


def _end_with(parent: int) -> None:
    """End this process when the bench was killed, so that the next one finds no other writing to its folders."""

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _run(cell: Cell, threads: int, device: str | None) -> str:
    """Run a cell in this process; what is wrong, where the user can mend it."""
    import torch
    from filelock import FileLock

    from tlhub.adaptation import adapt

    torch.set_num_threads(threads)
    cell.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cell.folder.with_suffix(".lock")):
        try:
            there = cell.folder.exists()
            adapt(
                cell.manifest,
                out=cell.folder,
                resume=there,
                device=device,
                baseline=False,
                oracle=True,
                keep=False,
            )
        except UserError as error:
            return error.message
    return ""


def _recorded(cell: Cell) -> Outcome | None:
    """The outcome of a finished cell. Raises UserError where its folder holds a run of another manifest."""
    from tlhub.artifact import RECORD, check_made_by, read_record

    if not (cell.folder / RECORD).is_file():
        return None
    check_made_by(cell.folder, cell.manifest)
    record = read_record(cell.folder)
    if "result" not in record:
        return None
    result = record["result"]
    score = statistics.mean(row["value"] for row in result["rows"])
    oracle = result["oracle"] and result["oracle"]["value"]
    return Outcome(cell, result["metric"], 100 * score, oracle and 100 * oracle)
