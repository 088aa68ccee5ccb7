"""Baselines: the same training but for one thing, to compare an adapted model with; kept for other runs."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from tlhub import artifact, manifest as manifests
from tlhub.checkpoint import Checkpoints, check_writable
from tlhub.data import Domain, Role, check_classes, check_split, mapped_names, open_domain
from tlhub.errors import ArtifactError, UserError
from tlhub.home import home
from tlhub.manifest import Baseline, Manifest
from tlhub.measure import Comparison
from tlhub.run import Data, Run, open_role, parts, source_only, with_targets
from tlhub.train import train
from tlhub.watch import Watch

NAMES: dict[Baseline, str] = {"source_only": "source-only", "scratch": "from scratch", "target_only": "target-only"}
"""What results call them, in the order of their rows."""


def blind(run: Run, data: Data, watch: Watch) -> dict[Baseline, Run]:
    """The baselines that the manifest asks for and that see no hidden label, ready to be trained.

    A source-only one that would be the run itself is left out, and the user told.

    Raises UserError where one cannot be, the ceiling too: nothing has been trained yet.
    """
    wanted = run.manifest.baseline
    found: dict[Baseline, Run] = {}
    if "target_only" in wanted:
        _check_ceiling(run)
    if "source_only" in wanted:
        if run.targets and any(domain.labels is not None for domain in run.sources):
            alone = Data(data.sources, [], data.classes, data.task)
            found["source_only"] = Run(baseline_manifest(run, "source_only"), run.catalog, alone, run.device)
        else:  # the run is the source-only model then, or has no source
            watch.note("there is no baseline to compare with: there is no source, or nothing here looks at the target")
    if "scratch" in wanted:
        found["scratch"] = _scratch(run, data)
    return found


def ceiling(run: Run) -> Run:
    """The `target_only` baseline of a run that is over, ready to be trained. It opens the target's labels.

    Raises DataError where there are none, or of other classes than the run's.
    """
    written = baseline_manifest(run, "target_only")
    opened = [with_targets(domain, run.task) for domain in open_role(written, run.catalog, "source")]
    data = Data([domain.matched(run.classes or ()) for domain in opened], [], run.classes, run.task)
    return Run(written, run.catalog, data, run.device)


def baseline_manifest(run: Run, kind: Baseline) -> Manifest:
    """The manifest of a baseline, for as many steps as the run has.

    `source_only` is the run's without the target, and without the adapters and the validator that look at it; so is
    `target_only`, with the target in the place of the source, all its labels shown. `scratch` is the run's with the
    backbone as a saved model would be built again, its weights random.
    """
    dropped = ("name", "evaluate", "baseline")
    written = {key: value for key, value in run.manifest.as_dict().items() if key not in dropped}
    written["train"] = {**written["train"], "steps_per_epoch": run.steps_per_epoch}
    if kind == "scratch":
        backbone = run.named.resolved()
        return manifests.from_dict({**written, "backbone": {"use": backbone.name, **backbone.rebuild()}})
    target = written.pop("target", [])
    if kind == "target_only":
        written["source"] = [{**part, "labels": "all"} for part in target]
    kept = source_only(run.manifest.adapters, "adapters", run.catalog)
    written["adapters"] = [part.model_dump() for part in kept]
    if run.manifest.select is None or not source_only([run.manifest.select], "validators", run.catalog):
        written.pop("select", None)
        written["train"]["patience"] = None
    return manifests.from_dict(written)


def trained(kind: Baseline, base: Run, out: Path, watch: Watch) -> Path:
    """The artifact of a baseline: from the store, or trained now, with checkpoints in the folder `out`, and stored."""
    title = f"{NAMES[kind].replace(' ', '-')} baseline"
    folder = home() / "baselines" / _key(base)
    if folder.exists():
        try:
            artifact.verify(folder)
        except ArtifactError as error:
            watch.note(f"the {title} kept from before is damaged, so it is trained anew: {error.message}")
            shutil.rmtree(folder)
        else:
            watch.note(f"the {title} was trained before, and nothing it depends on has changed: it is reused")
            return folder
    check_writable(folder)
    checkpoints = Checkpoints(out / kind)
    history = train(base, checkpoints, watch, title)
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


def gap_sentence(gain: Comparison | None, gap: Comparison | None, reached: float) -> str:
    """How far adaptation came towards a model that learnt from target labels, in plain words.

    Args:
        gain: adapted against source-only; gap: target-only against source-only; None without a source-only baseline.
        reached: the score of the target-only model.
    """
    learnt = f"a model that learnt from target labels ({100 * reached:.1f} %)"
    if gain is None or gap is None:
        return f"A model that learnt from target labels reaches {100 * reached:.1f} %."
    if gap.outcome != "helped":
        return f"No evidence of a gap to {learnt} that adaptation could close."
    if gain.outcome != "helped":
        return f"The gap to {learnt} was {100 * gap.difference:.1f} points."
    if gain.difference >= gap.difference:
        return f"Adaptation closed the whole gap to {learnt}."
    return f"Adaptation closed {100 * gain.difference / gap.difference:.0f} % of the gap to {learnt}."


def _scratch(run: Run, data: Data) -> Run:
    """Raises UserError where the backbone's weights are random already: the same ones follow from the same seed."""
    found = Run(baseline_manifest(run, "scratch"), run.catalog, data, run.device)
    before, after = (each.model.backbone.state_dict() for each in (run, found))
    if before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before):
        raise UserError(
            f"`baseline: scratch` makes the weights of the backbone random, and `{run.named.name}` has none that are "
            "pretrained here",
            "remove `scratch`, or start from pretrained weights",
        )
    return found


def _check_ceiling(run: Run) -> None:
    """Raise UserError where a model that learns from the target's labels cannot be, or has seen the answers."""
    remove = "or remove `target_only` from `baseline`"
    for role in ("target", "evaluate"):
        if not getattr(run.manifest, role):
            raise UserError(f"`baseline: target_only` needs `{role}`, and there is none", f"add it, {remove}")
    if not run.targets:
        raise UserError("`baseline: target_only` needs a run that looks at the target", f"add an adapter, {remove}")
    for key, part in parts(run.manifest, "target"):
        try:
            names = run.catalog.create("datasets", part.use, part.settings).class_names()  # no example's label is read
            if names is not None and run.classes is not None:
                check_classes(key, mapped_names(names, part.classes or {}, key), run.classes)
        except UserError as error:
            message = f"`baseline: target_only` cannot learn from the labels of `{key}`: {error.message}"
            raise UserError(message, f"mend the data, {remove}") from None
    learnt: dict[str, set[int]] = {}
    for piece in _pieces(run, "target"):
        learnt.setdefault(piece.examples.fingerprint, set()).update(piece.rows.tolist())
    for piece in _pieces(run, "evaluate"):
        both = learnt.get(piece.examples.fingerprint, set()).intersection(piece.rows.tolist())
        if both:
            raise UserError(
                f"`baseline: target_only` would learn from {len(both):,} of the {len(piece):,} examples of "
                f"`{piece.key}`, which it is to be scored on",
                f"keep them apart, such as by `split: train` in `target` and `split: test` in `evaluate`, {remove}",
            )


def _pieces(run: Run, role: Role) -> Iterator[Domain]:
    """Every split that a role names by itself, labels hidden, so that the same examples have the same fingerprint."""
    for key, part in parts(run.manifest, role):
        dataset: Any = run.catalog.create("datasets", part.use, part.settings)
        for split in check_split(dataset.splits(), part, key, role).split("+"):
            hidden = part.model_copy(update={"split": split.strip(), "labels": "none", "classes": None})
            yield open_domain(dataset, hidden, key, role)


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
