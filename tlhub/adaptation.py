"""The main job: train a manifest and its baseline, measure both, and leave a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tlhub import artifact, manifest as manifests
from tlhub.artifact import Adapted
from tlhub.baseline import NAMES, blind, ceiling, gap_sentence, trained
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints, check_writable
from tlhub.data import Domain
from tlhub.doctor import diagnose
from tlhub.errors import DataError, UserError
from tlhub.loader import workers
from tlhub.manifest import Baseline, Manifest
from tlhub.measure import Comparison, Score, compare, interval, outputs, side_by_side
from tlhub.oracle import Oracle, oracle as best_epoch
from tlhub.randomness import preserved
from tlhub.run import Run, open_data, open_role, pick_device, with_targets
from tlhub.symptom import Finding
from tlhub.train import check, train
from tlhub.validator import Outputs
from tlhub.watch import Watch


@dataclass(frozen=True)
class Row:
    """One line of the result's table: a model on a labelled data set.

    Attributes:
        confusion: of the adapted model, how many examples of a class (row) got which answer (column), where the task
            has such a matrix.
    """

    model: str
    domain: str
    score: Score
    metrics: Mapping[str, float]
    confusion: Sequence[Sequence[int]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        confusion = {} if self.confusion is None else {"confusion": self.confusion}
        return {
            "model": self.model,
            "domain": self.domain,
            **self.score.as_dict(),
            "metrics": dict(self.metrics),
            **confusion,
        }


@dataclass(frozen=True)
class Result:
    """What an adaptation came to.

    Attributes:
        folder: the artifact.
        metric: the name of the score, such as `accuracy`.
        rows: the baselines and the adapted model on every `evaluate` part; empty without one.
        comparison: adapted against source-only on the same examples, where there is that baseline.
        sentence: the outcome in plain words.
        oracle: the epoch that the labels under `evaluate` would have chosen, where that was asked for.
        reasons: what the doctor found that may be why it did not help; empty where it did.
    """

    folder: Path
    metric: str
    rows: Sequence[Row]
    comparison: Comparison | None
    sentence: str
    oracle: Oracle | None = None
    reasons: Sequence[Finding] = ()

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "metric": self.metric,
            "rows": [row.as_dict() for row in self.rows],
            "comparison": None if self.comparison is None else self.comparison.as_dict(),
            "sentence": self.sentence,
            "oracle": None if self.oracle is None else self.oracle.as_dict(),
            "reasons": [finding.as_dict() for finding in self.reasons],
        }


def adapt(
    manifest: str | os.PathLike[str] | Mapping[str, Any] | Manifest,
    *,
    overrides: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    device: str | None = None,
    baseline: bool = True,
    oracle: bool = False,
    keep: bool = True,
    watch: Watch | None = None,
    catalog: Catalog | None = None,
) -> Result:
    """Adapt a pretrained model as a manifest says, and measure whether it helped.

    Args:
        manifest: a YAML file, or what it would hold.
        overrides: changes such as `train.lr=1e-4`.
        out: the folder to write; by default `runs/` and the manifest's name, with a number where that is taken.
        resume: continue an interrupted training from its newest checkpoint.
        device: such as `cuda:1`; by default the best there is.
        baseline: also train the manifest's baselines, or take them from the store, to compare with.
        oracle: also tell which epoch the labels under `evaluate` would have chosen, which nobody can select; the model
            of every epoch is kept on disk until then.
        keep: give the finished run to the installed stores.
        watch: hears of the progress.

    Raises UserError for whatever the caller can mend, before training where it can be known.
    """
    watch = watch or Watch()
    catalog = catalog or Catalog.installed()
    loaded = manifests.of(manifest, overrides, catalog)
    folder = _folder(loaded, None if out is None else Path(out), resume)
    if resume and not folder.exists():
        watch.note(f"there is nothing to resume in {folder}: this begins anew")
    if resume and "result" in (record := _record(folder)):
        watch.note(f"{folder} is finished already: nothing to resume")
        return result_of(folder, record)
    check_writable(folder)
    where = pick_device(device)
    with preserved(), _deterministic():
        data = open_data(loaded, catalog)
        _tell([*data.sources, *data.targets], watch)
        run = Run(loaded, catalog, data, where)
        watch.composed(run.facts())
        check(run, watch)
        unseeing = blind(run, data, watch) if baseline else {}
        folder = _claimed(folder, loaded, anew=out is None and not resume)
        checkpoints = Checkpoints(folder / "checkpoints")
        bases = {kind: trained(kind, unseeing.pop(kind), checkpoints.folder, watch) for kind in list(unseeing)}
        epochs = checkpoints.folder / "epochs" if oracle else None
        history = train(run, checkpoints, watch, "adapting" if bases else "training", epochs)
        artifact.save(run, folder, history)
        try:
            if baseline and "target_only" in loaded.baseline:
                bases["target_only"] = trained("target_only", ceiling(run), checkpoints.folder, watch)
            result = _measure(run, folder, bases, epochs, watch)
        except UserError as error:
            error.hint = f"{error.hint or ''}\nthe model is saved: mend this, then `tlhub evaluate {folder}`".strip()
            raise
        _write(result, bases)
        checkpoints.remove()
        if not result.rows or result.comparison is not None:
            helped = result.comparison is not None and result.comparison.outcome == "helped"
            findings, notes = diagnose(folder, str(where), catalog, voiding=helped)
            for text in notes:
                watch.note(text)
            result = _judged(result, [finding for finding in findings if finding.ill])
            _write(result, bases)
    if keep:
        _keep(folder, catalog, watch)
    return result


def _judged(result: Result, found: Sequence[Finding]) -> Result:
    """The result with what the doctor found; where that makes scores mean nothing, a gain is no evidence."""
    comparison = result.comparison
    if comparison is not None and comparison.outcome == "helped" and any(each.level == "fault" for each in found):
        comparison = replace(comparison, outcome="no evidence")
        result = replace(result, comparison=comparison, sentence=comparison.sentence(result.metric))
    return replace(result, reasons=found)


def _write(result: Result, bases: Mapping[Baseline, Path]) -> None:
    """Add a result to the record of its run."""
    record = artifact.read_record(result.folder)
    base = bases.get("source_only")
    found = {**result.as_dict(), "baseline": None if base is None else base.name}
    artifact.write_record(result.folder, {**record, "result": found})


def _keep(folder: Path, catalog: Catalog, watch: Watch) -> None:
    """Give the finished run to every store; one that fails does no harm."""
    for entry in catalog.entries("stores"):
        try:
            watch.note(catalog.create("stores", entry.name, {}).keep(folder))
        except (UserError, OSError) as error:
            watch.note(f"the run is whole, but `{entry.name}` could not keep it: {error}")


def result_of(folder: Path, record: Mapping[str, Any]) -> Result:
    """The result that a record tells of."""
    told = record["result"]
    rows = [
        Row(
            row["model"],
            row["domain"],
            Score(row["value"], row["low"], row["high"], row["examples"]),
            row["metrics"],
            row.get("confusion"),
        )
        for row in told["rows"]
    ]
    comparison = None if told["comparison"] is None else Comparison(**told["comparison"])
    oracle = None if told.get("oracle") is None else Oracle(**told["oracle"])
    reasons = [Finding(**each) for each in told.get("reasons", ())]
    return Result(folder, told["metric"], rows, comparison, told["sentence"], oracle, reasons)


def evaluate(
    folder: str | os.PathLike[str],
    data: Sequence[Mapping[str, Any]] | None = None,
    *,
    device: str | None = None,
    catalog: Catalog | None = None,
) -> list[Row]:
    """Score an adapted model on labelled data: parts as under `evaluate:`, by default those of its own manifest.

    Raises UserError where there is no labelled data to score on, or its classes are not the model's.
    """
    catalog = catalog or Catalog.installed()
    adapted = artifact.load(Path(folder), device, catalog)
    asked = adapted.record["manifest"].get("evaluate", []) if data is None else data
    return scored(adapted, asked, "adapted", catalog)[0]


def scored(
    adapted: Adapted, data: Sequence[Mapping[str, Any]], name: str, catalog: Catalog
) -> tuple[list[Row], list[Outputs]]:
    """The scores of a model on labelled data, one row for each part, and what it says there.

    Raises UserError where there is no labelled data, or its classes are not the model's.
    """
    recorded = adapted.record["manifest"]
    domains_alone = {key: recorded[key] for key in ("backbone", "source", "target") if key in recorded}
    asked = {**domains_alone, "evaluate": [dict(part) for part in data]}
    loaded = manifests.from_dict(asked)  # adapters may be missing here: none is needed
    if not loaded.evaluate:
        raise UserError("there is nothing to evaluate on", "name a data set with `--data`")
    opened = open_role(loaded, catalog, "evaluate")
    domains = [with_targets(domain, adapted.task).matched(adapted.classes or ()) for domain in opened]
    count = workers("auto", adapted.device)
    seen = [outputs(adapted.model, domain, adapted.device, count) for domain in domains]
    return [_row(adapted.task, name, d.key, found) for d, found in zip(domains, seen, strict=True)], seen


def _folder(manifest: Manifest, out: Path | None, resume: bool) -> Path:
    """Where this run is written. Raises UserError where that would overwrite another."""
    if out is not None:
        filled = out.exists() and (not out.is_dir() or any(out.iterdir()))
        if filled and not resume:
            raise UserError(f"{out} is there already", "continue it with --resume, remove it, or choose another --out")
        if filled and not any((out / name).exists() for name in ("checkpoints", artifact.RECORD)):
            raise UserError(f"{out} is no run of tlhub: there is nothing to resume", "is `--out` what it was then?")
        return out
    first = Path("runs") / manifest.title
    taken = [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, 10_000))]
    free = next(path for path in taken if not path.exists())
    there = [path for path in taken[: taken.index(free)] if path.is_dir()]
    unfinished = [path for path in there if "result" not in _record(path)]
    return [free, *there, *unfinished][-1] if resume else free


def _claimed(folder: Path, manifest: Manifest, anew: bool) -> Path:
    """The folder, made, so that `--resume` finds it; or the next free one, where another run was quicker."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=not anew)
            (folder / "checkpoints").mkdir(exist_ok=True)  # the mark of a run
        except FileExistsError:
            folder = _folder(manifest, None, resume=False)
        else:
            return folder


def _record(folder: Path) -> Mapping[str, Any]:
    """What a folder's record says, or nothing where it has none."""
    return artifact.read_record(folder) if (folder / artifact.RECORD).is_file() else {}


def _measure(run: Run, folder: Path, bases: Mapping[Baseline, Path], epochs: Path | None, watch: Watch) -> Result:
    """Open the labelled target data, now that training is over, and score baselines and adapted model on it."""
    metric = run.task.metric
    if not run.manifest.evaluate:
        sentence = "Whether adaptation helped cannot be said: add an `evaluate:` part with labelled target examples."
        return Result(folder, metric, [], None, sentence)
    domains = [with_targets(domain, run.task) for domain in open_role(run.manifest, run.catalog, "evaluate")]
    _tell(domains, watch)
    for domain in domains:
        missing = [name for name in run.classes or () if domain.classes and name not in domain.classes]
        if missing:
            watch.note(f"`{domain.key}` has no example of {', '.join(missing)}")
    domains = [domain.matched(run.classes or ()) for domain in domains]
    models = {NAMES[kind]: base for kind, base in bases.items()} | {"adapted": folder}
    rows: list[Row] = []
    whole: dict[str, Outputs] = {}
    for name, place in models.items():
        model = artifact.load(place, str(run.device), run.catalog).model
        seen = [outputs(model, domain, run.device, run.workers) for domain in domains]
        rows += [_row(run.task, name, domain.key, found) for domain, found in zip(domains, seen, strict=True)]
        if (together := side_by_side(seen)) is not None:
            whole[name] = together
    best = None if epochs is None else best_epoch(run, epochs, domains)
    before, most = whole.get(NAMES["source_only"]), whole.get(NAMES["target_only"])
    comparison = None if before is None else compare(run.task, before, whole["adapted"])
    said = ["There is no baseline to compare with." if comparison is None else comparison.sentence(metric)]
    if most is not None and most.labels is not None:
        gap = None if before is None else compare(run.task, before, most)
        said.append(gap_sentence(comparison, gap, float(run.task.score(most.logits, most.labels).double().mean())))
    return Result(folder, metric, rows, comparison, " ".join(said), best)


def _tell(domains: Sequence[Domain], watch: Watch) -> None:
    """What the data sets have to say of their examples."""
    for domain in domains:
        for note in domain.examples.notes:
            watch.note(f"`{domain.key}`: {note}")


def _row(task: Any, model: str, domain: str, seen: Outputs) -> Row:
    if seen.labels is None:
        raise DataError(f"`{domain}` has no labels")
    score = interval(task.score(seen.logits, seen.labels))
    confusion = task.confusion(seen.logits, seen.labels) if model == "adapted" else None
    counts = None if confusion is None else confusion.tolist()
    return Row(model, domain, score, task.metrics(seen.logits, seen.labels), counts)


class _deterministic:  # noqa: N801 - reads as a statement
    """cuDNN chooses kernels that repeat exactly."""

    def __enter__(self) -> None:
        self.before = torch.backends.cudnn.deterministic
        torch.backends.cudnn.deterministic = True

    def __exit__(self, *reason: object) -> None:
        torch.backends.cudnn.deterministic = self.before
