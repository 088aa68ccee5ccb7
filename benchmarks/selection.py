"""Do validators find the models that the target's test labels would? Digits and Office-Caltech10, each model of many runs.

    python benchmarks/selection.py --jobs 2 --threads 1

Reads the data and the weights below the folder in `TLHUB_SHARED`. The pool of a task is every epoch of every run: methods
with settings that suit and with settings that ruin them. No validator sees a label of the target.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import MOBILENET, SHARED, Job, machine, run_grid, table, write_result

from tlhub.data import Dataset, Examples
from tlhub.hookspecs import hookimpl
from tlhub.task import Task
from tlhub.validator import Evidence, Validator

DIGITS = {"M": "mnist", "U": "usps", "MM": "mnist_m"}
PHOTOS = {"A": "amazon", "C": "caltech10", "D": "dslr", "W": "webcam"}
BACKBONE = {**MOBILENET, "input_size": 112}
FEATURES, WIDTH = "mobilenet_features", 1280
CLASSES = 10
"""Of digits, and of Office-Caltech10."""
DIGIT_TESTS = 1500
FEW = 30
"""Per cent: a model that is right on fewer is of no use, whatever the task here."""

REPORTED = {
    "digits": ["M→U", "M→MM", "U→M"],
    "frozen": ["A→C", "A→W", "C→A", "C→D", "D→A", "W→C"],
    "tuned": ["A→D"],
}
"""Tasks by group, whose models are chosen with the default as it is."""

SEEDS = {"digits": [1, 2], "frozen": [1], "tuned": [1]}

TRIED = {"frozen": ["A→D", "C→W", "D→C", "W→A"], "digits": ["M→MM"]}
"""On these, under seed 0, the default was settled."""

METHODS: dict[str, tuple[list[dict[str, Any]], float]] = {
    "source only": ([], 1.0),
    "source only, high rate": ([], 10.0),
    "MMD": ([{"use": "mmd", "strength": 10}], 1.0),
    "MMD, too strong": ([{"use": "mmd", "strength": 100}], 1.0),
    "CORAL": ([{"use": "coral"}], 1.0),
    "CORAL, too strong": ([{"use": "coral", "strength": 100}], 1.0),
    "DANN": ([{"use": "dann", "hidden": 256, "strength": 0.3}], 1.0),
    "DANN, strong": ([{"use": "dann", "hidden": 256, "strength": 3}], 1.0),
    "DANN, high rate": ([{"use": "dann", "hidden": 256}], 10.0),
    "CDAN": ([{"use": "cdan", "hidden": 256}], 1.0),
    "MCC": ([{"use": "mcc"}], 1.0),
    "MCC, too strong": ([{"use": "mcc", "strength": 10}], 1.0),
    "entropy, too strong": ([{"use": "entropy_minimization", "strength": 3}], 1.0),
    "pseudo-labels": ([{"use": "pseudo_label"}], 1.0),
}
"""Adapters, and a factor of the learning rate."""

FEWER = {
    "digits": [
        "source only",
        "source only, high rate",
        "MMD",
        "DANN",
        "DANN, strong",
        "CDAN",
        "MCC",
        "entropy, too strong",
        "pseudo-labels",
    ],
    "tuned": ["source only", "MMD", "DANN", "MCC", "entropy, too strong"],
}
"""Where a run takes minutes: by group."""

TRAINED = {
    "digits": "LeNet",
    "frozen": "a bottleneck and a head on MobileNetV2's features",
    "tuned": "its last stages too",
}
SOURCE_ALONE = {"source_score", "source_risk"}
"""Validators that do not look at the target, and so are never overruled."""
ENSEMBLES = [
    ("source_score", "information_maximization", "class_ami"),
    ("source_score", "information_maximization", "silhouette"),
    ("source_score", "information_maximization", "class_ami", "silhouette"),
    ("source_score", "class_ami", "silhouette"),
    ("information_maximization", "silhouette"),
    ("source_score", "silhouette"),
]
"""Between these the default was settled."""


def job(group: str, pair: str, method: str, seed: int) -> Job:
    source, target = pair.split("→")
    adapters, factor = METHODS[method]
    train: dict[str, Any] = {"epochs": 8, "workers": 0, "seed": seed}
    manifest: dict[str, Any] = {"select": "ensemble", "train": train}
    if group == "digits":
        folder = {letter: {"use": "parquet", "path": str(SHARED / "data" / name)} for letter, name in DIGITS.items()}
        manifest["backbone"] = {
            "use": "lenet",
            "grey": "MM" not in pair,
            "batch_norm": True,
            "dropout": 0.2,
            "fc": False,
            "standardise": True,
        }
        manifest["source"] = {**folder[source], "split": "train[:1500]"}
        manifest["target"] = {**folder[target], "split": "train[1500:2500]"}
        manifest["evaluate"] = {**folder[target], "split": f"test[:{DIGIT_TESTS}]"}
        manifest["adapters"] = [{"use": "head_swap", "bottleneck": 128}, *adapters]
        train |= {"batch": 64, "steps_per_epoch": 60, "optimizer": "sgd", "schedule": "dann"}
        train |= {"lr": 0.03 * factor, "backbone_lr": 1.0, "weight_decay": 0.0, "batch_norm": "separate"}
    else:
        tuned = group == "tuned"
        path = SHARED / "data/office_caltech10"
        part = {
            letter: {"use": "imagefolder", "path": str(path / name)} if tuned else {"use": FEATURES, "domain": letter}
            for letter, name in PHOTOS.items()
        }
        manifest |= {"source": part[source], "target": part[target], "evaluate": part[target]}
        manifest["backbone"] = {**BACKBONE, "augment": "flip"} if tuned else {"use": "vectors", "inputs": WIDTH}
        freeze = [{"use": "partial_freeze", "stages": 5}, {"use": "partial_freeze", "names": ["*bn*"]}]
        bottleneck = {"use": "head_swap", "bottleneck": 256, "normalise": "layer"}
        manifest["adapters"] = [*(freeze if tuned else []), bottleneck, *adapters]
        train |= {"batch": 32, "steps_per_epoch": 40, "lr": 0.001 * factor, "weight_decay": 0.01}
        if tuned:
            train |= {"epochs": 6, "steps_per_epoch": 12}
    return Job(f"{group} {pair}", method, seed, manifest)


@cache
def features(domain: str) -> tuple[list[Any], list[int], tuple[str, ...]]:
    """MobileNetV2's features of a domain's photos, their labels and the class names."""
    import torch

    from tlhub.catalog import Catalog
    from tlhub.loader import ordered
    from tlhub.manifest import from_dict
    from tlhub.run import open_role

    catalog = Catalog.installed()
    photos = {"use": "imagefolder", "path": str(SHARED / "data/office_caltech10" / PHOTOS[domain])}
    (opened,) = open_role(from_dict({"backbone": BACKBONE, "source": photos}), catalog, "source")
    backbone = catalog.create("backbones", "timm", {key: value for key, value in BACKBONE.items() if key != "use"})
    backbone.eval()
    with torch.inference_mode():
        parts = [backbone(inputs) for _, inputs in ordered(opened, backbone, backbone.preprocess(train=False), 0)]
    return list(torch.cat(parts).numpy()), opened.labels.tolist(), opened.classes


class MobileNetFeatures(Dataset):
    """What MobileNetV2 with its ImageNet weights gives for the photos of a domain.

    Args:
        domain: its letter.
    """

    name = FEATURES
    modality = "vector"

    def __init__(self, domain: str) -> None:
        self.domain = domain

    def splits(self) -> list[str]:
        return []

    def open(self, split: str | None, labels: bool) -> Examples:
        vectors, numbers, classes = features(self.domain)
        shown = (numbers, classes) if labels else (None, None)
        return Examples(vectors, *shown, f"features-{self.domain}", "photo {}".format)


class Offer:
    """The plugin of this benchmark."""

    @hookimpl
    def tlhub_datasets(self) -> list[type[Dataset]]:
        return [MobileNetFeatures]


class Each(Validator):
    """Keeps the scores of every validator, and prefers no epoch: training goes on as it would."""

    name = "each"

    def __init__(self, validators: Mapping[str, Validator]) -> None:
        self.validators = validators
        self.scores: list[dict[str, float]] = []
        self.rows = 0

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        self.rows = len(seen.target.logits)
        self.scores.append({name: each.score(task, seen) for name, each in self.validators.items()})
        return 0.0


def run(job: Job, threads: int, device: str | None) -> dict[str, Any]:
    """Train a job; what every validator says of each epoch, whether the run's guard would overrule it, and the truth."""
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
    catalog.add("benchmark", Offer())
    loaded = manifests.from_dict(job.manifest, catalog=catalog)
    where = pick_device(device)
    started = time.monotonic()
    accuracies: list[float] = []
    collapsed: list[int] = []
    with preserved(), TemporaryDirectory() as folder:
        run = Run(loaded, catalog, open_data(loaded, catalog), where)
        (test,) = [domain.matched(run.classes or ()) for domain in open_role(loaded, catalog, "evaluate")]
        run.validator = each = Each({name: catalog.create("validators", name, {}) for name in validators()})

        class Scorer(Watch):
            def epoch(self, row: Mapping[str, Any]) -> None:
                seen = outputs(run.model, test, where, 0)
                assert seen.labels is not None
                accuracies.append(100 * float(run.task.score(seen.logits, seen.labels).mean()))
                collapsed.append(int("collapsed" in row))

        train(run, Checkpoints(Path(folder)), Scorer())
    return {
        "task": job.task,
        "method": job.method,
        "seed": job.seed,
        "accuracy": round(accuracies[-1], 2),
        "rows": each.rows,
        "accuracies": [round(value, 2) for value in accuracies],
        "collapsed": collapsed,
        "scores": {name: [float(f"{row[name]:.5g}") for row in each.scores] for name in each.validators},
        "seconds": round(time.monotonic() - started, 1),
        "machine": machine(where.type, threads),
    }


def validators() -> list[str]:
    """All that need no label of the target and are not put together from others."""
    from tlhub.catalog import Catalog

    left = ("auto", "ensemble", "target_score")
    return [entry.name for entry in Catalog.installed().entries("validators") if entry.name not in left]


Records = Sequence[Mapping[str, Any]]
Members = tuple[str, ...]
"""One validator, or those of an ensemble; the last epoch of none."""
Pool = list[tuple[tuple[bool, float], float]]
"""Models: what `Selection` compares of each, sound before collapsed and then by score; and the accuracy."""
Losses = Callable[[Records, Members, bool], list[float]]


def models(record: Mapping[str, Any], members: Members, guarded: bool) -> Pool:
    """The epochs of a run."""
    from tlhub_validators.ensemble import mean_scaled

    accuracies = record["accuracies"]
    if not members:
        return [((True, float(epoch)), accuracy) for epoch, accuracy in enumerate(accuracies)]
    scores = [record["scores"][member] for member in members]
    if len(members) == 1:
        (combined,) = scores
    else:
        epochs = [dict(zip(members, each, strict=True)) for each in zip(*scores, strict=True)]
        combined = [mean_scaled(epoch, record["rows"], CLASSES) for epoch in epochs]
    overruled = record["collapsed"] if guarded and not SOURCE_ALONE.issuperset(members) else [0] * len(accuracies)
    keys = [(not collapsed, score) for collapsed, score in zip(overruled, combined, strict=True)]
    return list(zip(keys, accuracies, strict=True))


def pools(records: Records, members: Members, guarded: bool) -> list[Pool]:
    """For every task and seed the epochs of all its runs."""
    found: dict[tuple[str, int], Pool] = {}
    for record in records:
        found.setdefault((record["task"], record["seed"]), []).extend(models(record, members, guarded))
    return list(found.values())


def tasks(records: Records) -> list[str]:
    return list(dict.fromkeys(record["task"] for record in records))


def lost(pool: Pool) -> float:
    """Points from the best model to the one with the largest score, of equals the last."""
    chosen = max(range(len(pool)), key=lambda number: (pool[number][0], number))
    return max(accuracy for _, accuracy in pool) - pool[chosen][1]


def in_runs(records: Records, members: Members, guarded: bool = True) -> list[float]:
    """Points lost in each run by the choice of the epoch."""
    return [lost(models(record, members, guarded)) for record in records]


def in_tasks(records: Records, members: Members, guarded: bool = True) -> list[float]:
    """Points lost in each task under each seed by the choice among all its models."""
    return [lost(pool) for pool in pools(records, members, guarded)]


def correlation(records: Records, members: Members) -> float:
    """Spearman's, of score and accuracy over the models of a task and seed; the mean over these."""
    from scipy.stats import spearmanr

    each = [
        zip(*((key[1], accuracy) for key, accuracy in pool), strict=True) for pool in pools(records, members, False)
    ]
    return statistics.mean(float(spearmanr(*pair).statistic) for pair in each)


def at_random(records: Records) -> float:
    """Points lost on the mean by a model picked blindly from all of a task."""
    each = [[accuracy for _, accuracy in pool] for pool in pools(records, (), False)]
    return statistics.mean(max(accuracies) - statistics.mean(accuracies) for accuracies in each)


def mean_and_worst(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.1f} / {max(values):.1f}"


def named(members: Members) -> str:
    return ", ".join(f"`{member}`" for member in members)


def main() -> None:
    from tlhub_validators.ensemble import Ensemble

    jobs = [
        job(group, pair, method, seed)
        for groups, seeds in ((TRIED, {}), (REPORTED, SEEDS))
        for group, pairs in groups.items()
        for seed in seeds.get(group, [0])
        for pair in pairs
        for method in FEWER.get(group, METHODS)
    ]
    every = run_grid("selection", jobs, __doc__ or "", run)
    tried, records = ([record for record in every if (record["seed"] > 0) == reported] for reported in (False, True))
    groups: dict[str, Records] = {
        group: [record for record in records if record["task"].startswith(group)] for group in REPORTED
    }
    groups["all"] = records
    default = tuple(member.name for member in Ensemble().members)
    rows: dict[str, Members] = {"**`auto`**": default, **{f"`{name}`": (name,) for name in records[0]["scores"]}}
    listed: dict[str, Members] = {named(members): members for members in ENSEMBLES}

    def losses(measure: Losses) -> Callable[[str, str], str]:
        return lambda row, group: mean_and_worst(measure(groups[group], rows.get(row, ()), True))

    def overruling(row: str, column: str) -> str:
        measure = in_runs if "run" in column else in_tasks
        return mean_and_worst(measure(records, rows[row], "alone" not in column))

    def settling(row: str, column: str) -> str:
        measure = in_runs if "run" in column else in_tasks
        return mean_and_worst(measure(records if "above" in column else tried, listed[row]))

    def described(group: str, column: str) -> str:
        pairs = tasks(groups[group])
        methods = len(groups[group]) // len(pairs) // len(SEEDS[group])
        cells = {
            "trained": TRAINED[group],
            "tasks": ", ".join(pair.partition(" ")[2] for pair in pairs),
            "runs of a task": f"{methods}, {len(SEEDS[group])} seeds each" if len(SEEDS[group]) > 1 else str(methods),
        }
        return cells[column]

    rescued = [
        row
        for row, members in rows.items()
        if any(measure(records, members, True) != measure(records, members, False) for measure in (in_runs, in_tasks))
    ]
    unseen = sum(
        accuracy < FEW and not collapsed
        for record in records
        for accuracy, collapsed in zip(record["accuracies"], record["collapsed"], strict=True)
    )
    epochs, best = in_runs(records, default), in_tasks(records, default)
    machines = "; ".join(sorted({record["machine"] for record in records}))
    write_result(
        "selection",
        f"""# Choosing a model without target labels

What it costs to trust a validator: the accuracy on the target of the best model there was, less that of the model with the
best score, in points. No validator saw a label of the target. A model is what a run has learned after an epoch;
{len(records)} runs gave {sum(len(record["accuracies"]) for record in records):,} of them.

{table(list(REPORTED), ["trained", "tasks", "runs of a task"], described, "group")}

The runs of a task are methods with settings that suit and with settings that ruin them, so that there is something to
choose: {"; ".join(METHODS)}. Digits, and the network whose last stages learn, have fewer.

The accuracy is that on {DIGIT_TESTS:,} test images of digits, and on all photos of the target. The best model is the best by
these very labels, so that some of what is lost to it is chance.

`auto` is what `select: auto` takes where a run looks at a target without labels: the mean of {named(default)},
each on its scale (`ensemble`). As in training, a model whose answers on the target have collapsed is never preferred to one
whose have not. `mixval` mixes features where the network is frozen.

## Choosing the epoch of a run

This is what `select:` does, and what `auto` is held to: at most 2 points on the mean, at most 10 in the worst run. It
loses {statistics.mean(epochs):.2f} on the mean, and {max(epochs):.1f} in the worst of {len(epochs)} runs. Points lost, mean / worst:

{table([*rows, "last epoch"], list(groups), losses(in_runs), "validator")}

The last epoch is about as good: there is little to choose between the epochs of runs as short as these. Between methods and
settings there is much.

## Choosing among all models of a task

Methods, settings and epochs at once, one choice for each task and seed. `auto` loses {statistics.mean(best):.2f} points on the mean, and {max(best):.1f} in the
worst of {len(best)}; a model picked blindly would lose {at_random(records):.1f} on the mean. Most is lost on M→MM, where MCC is sure of wrong
answers. Points lost, mean / worst:

{table(list(rows), list(groups), losses(in_tasks), "validator")}

How well a score foretells the accuracy: Spearman's rank correlation over all models of a task and seed, the mean of these.

{table(list(rows), list(groups), lambda row, group: f"{correlation(groups[group], rows[row]):+.2f}", "validator")}

## The guard against collapse

{sum(sum(record["collapsed"]) for record in records)} models had collapsed: their answers were of far fewer classes than the labels. {unseen} more had not, and yet were right on
fewer than {FEW} of a hundred examples: two of ten classes may be all that a target has. Validators to which the guard made a
difference, points lost over all groups, mean / worst:

{table(rescued, ["in a run, alone", "in a run, guarded", "among all, alone", "among all, guarded"], overruling, "validator")}

## How the default was settled

On other tasks or another seed than those above ({", ".join(tasks(tried))}; {len(tried)} runs). `class_ami`, as Musgrave et al. 2022
would have it, was the third member before. It prefers runs with pseudo-labels, whose features follow wrong answers;
`silhouette` took its place, and the numbers above were not looked at for it. Points lost, mean / worst:

{table(list(listed), ["in a run", "among all", "in a run, those above", "among all, those above"], settling, "mean of")}

Measured on: {machines}. Written by `benchmarks/selection.py` from `benchmarks/records/selection.jsonl`.
""",
    )


if __name__ == "__main__":
    main()
