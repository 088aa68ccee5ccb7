"""On a GPU: the quickstart's manifest in bf16 against fp32 on the CPU, and images per second of a timm network.

    python benchmarks/gpu.py

Needs the core, its plugins and a CUDA device, and no data but what is built in. Writes `docs/results/gpu.md`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from common import HERE, RECORDS, Job, machine, read_records, run_job, spread, write_result

SEEDS = range(3)


def quickstart(precision: str, seed: int) -> Job:
    """The quickstart's adapted model in a precision."""
    from tlhub import manifest as manifests

    written = manifests.load(HERE.parent / "examples/digits/manifest.yaml").as_dict()
    written["train"] = {**written["train"], "seed": seed, "precision": precision}
    return Job("quickstart", precision, seed, written)


def throughput(precision: str) -> Job:
    """A ResNet-50 under MMD and DANN on images of 224 pixels."""
    digits: dict[str, Any] = {"use": "digits"}
    manifest = {
        "backbone": {"use": "timm", "model": "resnet50", "pretrained": False, "augment": "none"},
        "source": digits,
        "target": {"use": "digits_photo"},
        "evaluate": {"use": "digits_photo", "split": "test"},
        "adapters": [{"use": "head_swap", "bottleneck": 256}, "mmd", "dann"],
        "train": {"epochs": 3, "steps_per_epoch": 40, "batch": 64, "precision": precision},
    }
    return Job("resnet50 at 224 px", precision, 0, manifest)


def main() -> None:
    import torch

    argparse.ArgumentParser(description=__doc__).parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device here")
    RECORDS.mkdir(exist_ok=True)
    jobs = [(quickstart("fp32", seed), "cpu") for seed in SEEDS]
    jobs += [(quickstart("bf16", seed), "cuda") for seed in SEEDS]
    jobs += [(throughput("fp32"), "cuda"), (throughput("bf16"), "cuda")]
    for job, device in jobs:
        record = {**run_job(job, torch.get_num_threads(), device), "device": device}
        with (RECORDS / "gpu.jsonl").open("a") as out:
            out.write(json.dumps(record) + "\n")
        print(record["task"], record["method"], device, record["accuracy"], record["examples_per_second"], flush=True)
    report(read_records("gpu"))


def report(records: list[dict[str, Any]]) -> None:
    """One row for each task, precision and device."""
    rows = []
    for task, method, device in dict.fromkeys((r["task"], r["method"], r["device"]) for r in records):
        here = [r for r in records if (r["task"], r["method"], r["device"]) == (task, method, device)]
        rate = statistics.median(r["examples_per_second"] for r in here)
        rows.append(f"| {task} | {device} | {method} | {spread([r['accuracy'] for r in here])} | {rate:.0f} |")
    write_result(
        "gpu",
        f"""# On a GPU

| run | device | precision | target accuracy, % | images per second |
|---|---|---|---|---|
{chr(10).join(rows)}

Accuracy is mean ± standard deviation over seeds; the untrained ResNet's is that of a very short training. Measured on:
{machine("cuda", 0)}. Written by `benchmarks/{Path(__file__).name}` from `benchmarks/records/gpu.jsonl`.
""",
    )


if __name__ == "__main__":
    main()
