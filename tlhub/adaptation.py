"""The main job: train a manifest and its baseline, measure both, and leave a folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tlhub import artifact, manifest as manifests
from tlhub.artifact import Adapted
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints
from tlhub.data import Domain
from tlhub.doctor import diagnose
from tlhub.errors import ArtifactError, DataError, UserError
from tlhub.home import home
from tlhub.loader import workers
from tlhub.manifest import Manifest
from tlhub.measure import Comparison, Score, compare, interval, outputs, side_by_side
from tlhub.oracle import Oracle, oracle as best_epoch
from tlhub.randomness import preserved
from tlhub.run import Data, Run, open_data, open_role, pick_device, source_only, with_targets
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
        rows: source-only baseline and adapted model on every `evaluate` part; empty without one.
        comparison: adapted against baseline on the same examples, where there is a baseline.
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
        baseline: also train the same manifest without the target, or take it from the store, to compare with.
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
    _check_writable(folder)
    where = pick_device(device)
    with preserved(), _deterministic():
        data = open_data(loaded, catalog)
        _tell([*data.sources, *data.targets], watch)
        run = Run(loaded, catalog, data, where)
        watch.composed(run.facts())
        check(run, watch)
        folder = _claimed(folder, loaded, anew=out is None and not resume)
        base = _baseline_folder(run, data, folder, watch) if baseline else None
        checkpoints = Checkpoints(folder / "checkpoints")
        epochs = checkpoints.folder / "epochs" if oracle else None
        history = train(run, checkpoints, watch, "adapting" if base else "training", epochs)
        artifact.save(run, folder, history)
        try:
            result = _measure(run, folder, base, epochs, watch)
        except UserError as error:
            error.hint = f"{error.hint or ''}\nthe model is saved: mend this, then `tlhub evaluate {folder}`".strip()
            raise
        _write(result, base)
        checkpoints.remove()
        if not result.rows or (result.comparison is not None and result.comparison.outcome != "helped"):
            findings, notes = diagnose(folder, str(where), catalog)
            for text in notes:
                watch.note(text)
            result = replace(result, reasons=[finding for finding in findings if finding.ill])
            _write(result, base)
    if keep:
        _keep(folder, catalog, watch)
    return result


def _write(result: Result, base: Path | None) -> None:
    """Add a result to the record of its run."""
    record = artifact.read_record(result.folder)
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


def baseline_manifest(run: Run) -> Manifest | None:
    """The run's manifest without the target and what needs it, for as many steps; None where there is none to compare.

    That is so without a labelled source, or where nothing looks at the target: the run is then the source-only model.
    """
    if not run.targets or all(domain.labels is None for domain in run.sources):
        return None
    written = {key: value for key, value in run.manifest.as_dict().items() if key not in ("name", "target", "evaluate")}
    kept = source_only(run.manifest.adapters, "adapters", run.catalog)
    written["adapters"] = [part.model_dump() for part in kept]
    written["train"] = {**written["train"], "steps_per_epoch": run.steps_per_epoch}
    if run.manifest.select is None or not source_only([run.manifest.select], "validators", run.catalog):
        written.pop("select", None)
        written["train"]["patience"] = None
    return manifests.from_dict(written)


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


def _check_writable(folder: Path) -> None:
    """Raise UserError where nothing can be written to a folder, whether it is there already or not."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{folder} cannot be written: {there} is a file", "choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{folder} cannot be written: {there} is not yours to write to", "choose another folder")


def _baseline_folder(run: Run, data: Data, out: Path, watch: Watch) -> Path | None:
    """The artifact of this run's source-only baseline: from the store, or trained now and stored."""
    written = baseline_manifest(run)
    if written is None:
        watch.note("there is no baseline to compare with: there is no source, or nothing here looks at the target")
        return None
    base = Run(written, run.catalog, Data(data.sources, [], data.classes, data.task), run.device)
    folder = home() / "baselines" / _key(base)
    if folder.exists():
        try:
            artifact.verify(folder)
        except ArtifactError as error:
            watch.note(f"the source-only baseline kept from before is damaged, so it is trained anew: {error.message}")
            shutil.rmtree(folder)
        else:
            watch.note(
                "the source-only baseline was trained before, and nothing it depends on has changed: it is reused"
            )
            return folder
    _check_writable(folder)
    checkpoints = Checkpoints(out / "checkpoints" / "baseline")
    history = train(base, checkpoints, watch, "source-only baseline")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix="partial-"))
    try:
        artifact.save(base, partial, history)
        with suppress(OSError):  # another process finished the same baseline first
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    checkpoints.remove()
    return folder


def _key(run: Run) -> str:
    """Changes with whatever a baseline depends on: manifest, first weights, data, versions, device."""
    digest = hashlib.sha256()
    for name, value in run.model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    facts = {
        "manifest": run.decisive(),
        "data": run.data_identity(),
        "versions": artifact.versions(run.catalog),
        "device": [run.device.type, torch.get_num_threads() if run.device.type == "cpu" else 0],
    }
    digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:24]


def _measure(run: Run, folder: Path, base: Path | None, epochs: Path | None, watch: Watch) -> Result:
    """Open the labelled target data, now that training is over, and score baseline and adapted model on it."""
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
    models = [("adapted", artifact.load(folder, str(run.device), run.catalog))]
    if base is not None:
        models.insert(0, ("source-only", artifact.load(base, str(run.device), run.catalog)))
    rows: list[Row] = []
    seen: list[list[Outputs]] = []
    for name, adapted in models:
        seen.append([outputs(adapted.model, domain, run.device, run.workers) for domain in domains])
        rows += [_row(run.task, name, domain.key, found) for domain, found in zip(domains, seen[-1], strict=True)]
    best = None if epochs is None else best_epoch(run, epochs, domains)
    if base is None:
        return Result(folder, metric, rows, None, "There is no baseline to compare with.", best)
    before, after = map(side_by_side, seen)
    assert before is not None
    assert after is not None
    comparison = compare(run.task, before, after)
    return Result(folder, metric, rows, comparison, comparison.sentence(metric), best)


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
