"""Does a ranking before training foretell the accuracy of fine-tuning? Office-Caltech10, pretrained and random networks.

    python benchmarks/rank.py --jobs 1 --threads 1 --seeds 1

Reads the photos and the weights below the folder in `TLHUB_SHARED`. Every backbone is scored on four fifths of a
domain's photos and fine-tuned on the same; the accuracy is that on the other fifth.
"""

from __future__ import annotations

import statistics
from typing import Any

from common import MOBILENET, MOBILENET_SMALL, SHARED, Job, of, run_grid, run_job, spread, table, write_result
from scipy.stats import spearmanr

DOMAINS = ("amazon", "webcam")
SCORES = ("logme", "hscore_shrunk", "transrate", "gbc", "linear_probe")
SMALL = {key: MOBILENET_SMALL[key] for key in ("use", "model", "weights")}
BACKBONES: dict[str, dict[str, Any]] = {
    "mobilenetv2_100, 96 px": {**MOBILENET, "input_size": 96},
    "mobilenetv2_100, 64 px": {**MOBILENET, "input_size": 64},
    "mobilenetv2_035, 96 px": {**SMALL, "input_size": 96},
    "mobilenetv2_035, 64 px": {**SMALL, "input_size": 64},
    **{
        f"{name}, random": {"use": "timm", "model": name, "pretrained": False, "input_size": 64}
        for name in ("mobilenetv2_100", "mobilenetv2_035", "resnet10t", "mobilenetv3_small_050")
    },
}
PRETRAINED = [name for name in BACKBONES if not name.endswith("random")]
TRAIN = {"batch": 32, "epochs": 1, "steps_per_epoch": 60, "lr": 0.001, "weight_decay": 0.01, "workers": 0}


def job(domain: str, name: str, seed: int) -> Job:
    photos = {"use": "imagefolder", "path": str(SHARED / "data/office_caltech10" / domain), "split_seed": seed}
    return Job(
        domain,
        name,
        seed,
        {
            "backbone": {**BACKBONES[name], "augment": "flip"},
            "source": {**photos, "split": "train"},
            "evaluate": {**photos, "split": "test"},
            "train": {**TRAIN, "seed": seed},
        },
        oracle=False,
    )


def run(job: Job, threads: int, device: str | None) -> dict[str, Any]:
    """The scores of a backbone, and then its accuracy."""
    from tlhub.catalog import Catalog
    from tlhub.rank import candidate, open_labelled, rank
    from tlhub.run import pick_device

    catalog = Catalog.installed()
    where = pick_device(device)
    data = open_labelled(job.manifest["source"], catalog)
    scores = [catalog.create("scores", name, {}) for name in SCORES]
    ranking = rank([candidate(job.manifest["backbone"], catalog)], data, scores, where, catalog, seed=job.seed)
    (row,) = ranking.rows
    return {**run_job(job, threads, device), "scores": dict(row.scores)}


def main() -> None:
    jobs = [job(domain, name, seed) for seed in range(3) for domain in DOMAINS for name in BACKBONES]
    records = run_grid("rank", jobs, __doc__ or "", run)

    def scored(domain: str, name: str, score: str) -> list[float]:
        return [record["scores"][score] for record in records if (record["task"], record["method"]) == (domain, name)]

    def cell(domain: str, name: str, column: str) -> str:
        if column == "accuracy":
            return spread(of(records, task=domain, method=name))
        values = scored(domain, name, column)
        return f"{statistics.mean(values):.3f}" if values else "–"

    def foretold(domain: str, score: str) -> str:
        known = [name for name in BACKBONES if of(records, task=domain, method=name)]
        values = [statistics.mean(scored(domain, name, score)) for name in known]
        accuracies = [statistics.mean(of(records, task=domain, method=name)) for name in known]
        return f"{spearmanr(values, accuracies).statistic:+.2f}" if len(known) > 2 else "–"

    def above(domain: str, score: str) -> str:
        random = [name for name in BACKBONES if name not in PRETRAINED]
        lowest = min(value for name in PRETRAINED for value in scored(domain, name, score))
        return "yes" if lowest > max(value for name in random for value in scored(domain, name, score)) else "no"

    columns = ["accuracy", *SCORES]
    pages = [
        f"## {domain}\n\n{table(list(BACKBONES), columns, lambda name, c, d=domain: cell(d, name, c), 'backbone')}"
        for domain in DOMAINS
    ]
    machines = "; ".join(sorted({record["machine"] for record in records}))
    seeds = len({record["seed"] for record in records})
    write_result(
        "rank",
        f"""# Ranking backbones before training, Office-Caltech10

Every backbone is scored on four fifths of a domain's photos; then the whole network is fine-tuned on them for
{TRAIN["steps_per_epoch"]} steps of {TRAIN["batch"]}. The accuracy, in per cent, is that on the other fifth. Two networks have weights
pretrained on ImageNet, at two sizes of photo each; four have random ones. Written by `benchmarks/rank.py` from
`benchmarks/records/rank.jsonl`.

How well a score foretells the order by accuracy (Spearman's correlation over the {len(BACKBONES)} backbones):

{table(list(DOMAINS), list(SCORES), foretold, "photos")}

Whether every pretrained network is above every random one:

{table(list(DOMAINS), list(SCORES), above, "photos")}

{(2 * chr(10)).join(pages)}

Seeds: {seeds}. Measured on: {machines}.
""",
    )


if __name__ == "__main__":
    main()
