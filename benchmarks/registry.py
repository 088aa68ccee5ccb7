"""The registry under load: ten processes add a hundred models each, and fifty fresh registries are opened by ten at once.

    python benchmarks/registry.py

The models are small, and no two have the same weights. Only adding is timed, not the start of the processes. Then models
with one large base and heads of their own are added: how fast, and how much room they take.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import RECORDS, machine, read_records, write_result
from safetensors.numpy import save_file

from tlhub.checkpoint import sha256, sync
from tlhub_registry.fsck import check
from tlhub_registry.registry import Registry

PROCESSES, MODELS, ROUNDS, HEADS = 10, 100, 50, 10
CONTEXT = get_context("fork")  # what the processes need is imported already


def write(folder: Path, tensors: dict[str, Any]) -> Path:
    """A model in a folder, with a record as long as that of a real one."""
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    files = {"model.safetensors": sha256(folder / "model.safetensors")}
    history = [{"epoch": epoch, "step": epoch, "loss": {"task": 1.0}} for epoch in range(40)]
    record = {"format": 1, "name": "model", "lineage": [], "history": history, "files": files}
    (folder / "tlhub.json").write_text(json.dumps(record, indent=2))
    return folder


def add(root: Path, folders: Iterable[Path], barrier: Barrier) -> None:
    registry = Registry(root)
    barrier.wait()
    for folder in folders:
        registry.add(folder)


def open_fresh(root: Path, _: int, barrier: Barrier) -> None:
    barrier.wait()
    with Registry(root).database.writing() as db:
        db.execute("INSERT INTO names VALUES (?, 1)", (str(os.getpid()),))


def at_once(work: Callable[..., None], root: Path, each: Iterable[Any]) -> tuple[float, int]:
    """Seconds from when all processes are ready until the last has ended, and how many ended well."""
    each = list(each)
    barrier = CONTEXT.Barrier(len(each) + 1)
    processes = [CONTEXT.Process(target=work, args=(root, argument, barrier)) for argument in each]
    for process in processes:
        process.start()
    barrier.wait()
    begun = time.monotonic()
    for process in processes:
        process.join()
    return time.monotonic() - begun, sum(process.exitcode == 0 for process in processes)


def small(folder: Path) -> dict[str, Any]:
    """Adding under load."""
    draws = np.random.default_rng(0).normal(size=(PROCESSES, MODELS, 200)).astype(np.float32)
    models = [
        [write(folder / f"{process}-{number}", {"weight": weight}) for number, weight in enumerate(weights)]
        for process, weights in enumerate(draws)
    ]
    seconds, _ = at_once(add, folder / "registry", models)
    registry = Registry(folder / "registry")
    report = check(registry)
    begun = time.monotonic()
    listed = len(registry.entries())
    return {
        "added": listed,
        "damaged": len(report.damages) + len(report.orphans),
        "add_seconds": round(seconds, 2),
        "list_seconds": round(time.monotonic() - begun, 2),
    }


def fresh(folder: Path) -> dict[str, Any]:
    """Opening under load."""
    opened = [at_once(open_fresh, folder / str(number), range(PROCESSES)) for number in range(ROUNDS)]
    return {"opened": sum(well for _, well in opened), "open_seconds": round(max(seconds for seconds, _ in opened), 3)}


def large(folder: Path) -> dict[str, Any]:
    """Models that share a base of the size of BERT-base."""
    draw = np.random.default_rng(0)
    base = {f"layer.{n}": draw.normal(size=(12, 768, 768)).astype(np.float32) for n in range(12)}
    base["words"] = draw.normal(size=(30522, 768)).astype(np.float32)
    registry, seconds = Registry(folder / "registry"), []
    for number in range(HEADS):
        model = write(folder / "model", {**base, "head": draw.normal(size=(2, 768)).astype(np.float32)})
        begun = time.monotonic()
        entry = registry.add(model, name=f"model-{number}")
        seconds.append(time.monotonic() - begun)
        for path in model.iterdir():
            path.unlink()
        model.rmdir()
    begun = time.monotonic()
    registry.checkout(entry)
    return {
        "model_mb": round(entry.size / 1e6, 1),
        "blobs_mb": round(sum(path.stat().st_size for path in registry.blobs.found()) / 1e6, 1),
        "first_seconds": round(seconds[0], 2),
        "next_seconds": round(float(np.median(seconds[1:])), 2),
        "checkout_seconds": round(time.monotonic() - begun, 2),
    }


def fsync(folder: Path) -> dict[str, Any]:
    """How long the disk takes to keep a small file, which bounds everything else."""
    seconds = []
    for number in range(50):
        (folder / str(number)).write_bytes(os.urandom(1000))
        begun = time.monotonic()
        sync(folder / str(number))
        seconds.append(time.monotonic() - begun)
    return {"fsync_ms": round(1000 * float(np.median(seconds)), 2)}


def page(record: dict[str, Any]) -> str:
    """The result page."""
    return f"""# The registry under load

{record["machine"]}, load {record["load"]} before the start; an fsync of a small file took {record["fsync_ms"]} ms. Nothing
is acknowledged before it is on the disk: SQLite in WAL mode with `synchronous=FULL`, blobs synced before the row that names
them. Written by `benchmarks/registry.py` from `benchmarks/records/registry.jsonl`.

| | |
|---|---|
| {PROCESSES} processes add {MODELS} small models each | {record["added"]} of {PROCESSES * MODELS} kept, {record["damaged"]} damaged, {record["add_seconds"]} s |
| {PROCESSES} processes open a fresh registry at once, {ROUNDS} times | {record["opened"]} of {PROCESSES * ROUNDS} opened, at most {record["open_seconds"]} s |
| all {record["added"]} are listed | {record["list_seconds"]} s |
| a model of {record["model_mb"]} MB is added | {record["first_seconds"]} s |
| another head on the same base is added | {record["next_seconds"]} s |
| a model of that size is put together to be loaded | {record["checkout_seconds"]} s |
| room for {HEADS} such models | {record["blobs_mb"]} MB |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true", help="only write the page from the newest record")
    if not parser.parse_args().tables:
        record: dict[str, Any] = {"machine": machine("cpu", os.cpu_count() or 1), "load": round(os.getloadavg()[0], 1)}
        for measure in (fsync, small, fresh, large):
            with TemporaryDirectory() as folder:
                record |= measure(Path(folder))
        with (RECORDS / "registry.jsonl").open("a") as out:
            out.write(json.dumps(record) + "\n")
    write_result("registry", page(read_records("registry")[-1]))


if __name__ == "__main__":
    main()
