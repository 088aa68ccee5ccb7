"""Office-Caltech10, the twelve tasks, with MobileNetV2: frozen with a new head, fine-tuned on the source, MMD and DANN.

    python benchmarks/office_caltech.py --jobs 2 --threads 1 --seeds 1

Reads the photos and the weights below the folder in `TLHUB_SHARED`. The target's labels are opened for scoring
alone: training sees its photos without labels, and the last epoch is scored.
"""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from common import MOBILENET, SHARED, Job, of, run_grid, spread, table, write_result

DOMAINS = {"A": "amazon", "C": "caltech10", "D": "dslr", "W": "webcam"}
TASKS = [f"{source}→{target}" for source, target in itertools.permutations(DOMAINS, 2)]
FROZEN, TUNED = "frozen + head", "source only"
FREEZE = [{"use": "partial_freeze", "stages": 5}, {"use": "partial_freeze", "names": ["*bn*"]}]
"""The first five of eight stages, and all batch norm: 32 photos are too few to estimate its statistics anew."""
BOTTLENECK = {"use": "head_swap", "bottleneck": 256, "normalise": "layer"}
MMD = {"use": "mmd", "layers": ["features", "logits"], "strength": 3}
DANN = {"use": "dann", "hidden": 256, "strength": 0.3}
METHODS: dict[str, list[dict[str, Any]]] = {
    FROZEN: [{"use": "partial_freeze", "stages": "all"}],
    TUNED: [*FREEZE, BOTTLENECK],
    "MMD": [*FREEZE, BOTTLENECK, MMD],
    "DANN": [*FREEZE, BOTTLENECK, DANN],
}
BACKBONE = {**MOBILENET, "input_size": 112, "augment": "flip"}
TRAIN = {"batch": 32, "epochs": 1, "steps_per_epoch": 60, "lr": 0.001, "weight_decay": 0.01, "workers": 0}
HEAD_ALONE = {"batch": 64, "epochs": 1, "lr": 0.003, "steps_per_epoch": 450, "workers": 0}


def job(task: str, method: str, seed: int) -> Job:
    source, target = (DOMAINS[letter] for letter in task.split("→"))
    photos = SHARED / "data/office_caltech10"
    return Job(
        task,
        method,
        seed,
        {
            "backbone": BACKBONE,
            "source": {"use": "imagefolder", "path": str(photos / source)},
            "target": {"use": "imagefolder", "path": str(photos / target)},
            "evaluate": {"use": "imagefolder", "path": str(photos / target)},
            "adapters": METHODS[method],
            "train": {**(HEAD_ALONE if method == FROZEN else TRAIN), "seed": seed},
        },
    )


def main() -> None:
    jobs = [job(task, method, seed) for seed in range(3) for task in TASKS for method in METHODS]
    records = run_grid("office_caltech", jobs, __doc__ or "")
    methods = list(METHODS)

    def mean(method: str, field: str) -> list[float]:
        """The mean over the twelve tasks, for every seed that has them all."""
        seeds = sorted({record["seed"] for record in records})
        each = [of(records, field, method=method, seed=seed) for seed in seeds]
        return [statistics.mean(values) for values in each if len(values) == len(TASKS)]

    honest = table(TASKS, methods, lambda task, method: spread(of(records, task=task, method=method)), "task")
    rows = {"**mean of 12**": "accuracy"}
    means = table(list(rows), methods, lambda row, method: spread(mean(method, rows[row])), "").splitlines()[2:]
    speed = table(
        ["examples/s"], methods, lambda _, m: f"{statistics.median(of(records, 'examples_per_second', method=m)):.0f}"
    ).splitlines()[2:]
    machines = "; ".join(sorted({record["machine"] for record in records}))
    write_result(
        "office_caltech",
        f"""# Office-Caltech10, MobileNetV2, {BACKBONE["input_size"]} px

Accuracy in per cent on all photos of the target, last epoch; no target label is used for training or for choosing
anything. Written by `benchmarks/office_caltech.py` from `benchmarks/records/office_caltech.jsonl`.

{chr(10).join([honest, *means, *speed])}

All but the first column train the last three stages of the network without its batch norm, a bottleneck and the head, for
{TRAIN["steps_per_epoch"]} steps of {TRAIN["batch"]} source photos (and as many of the target): a short training, so that the twelve tasks take an hour
on a processor. Settings were tried on A→D, seed 0. Measured on: {machines}.
""",
    )


if __name__ == "__main__":
    main()
