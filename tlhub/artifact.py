"""An adapted model on disk: the ecosystem's own format where there is one, and `tlhub.json` beside it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tlhub.catalog import Catalog, Kind
from tlhub.checkpoint import sha256, sync, write_atomically
from tlhub.errors import ArtifactError, UserError
from tlhub.lineage import Origin
from tlhub.measure import to_device
from tlhub.model import Model, memory_order
from tlhub.ragged import padded
from tlhub.store import locate
from tlhub.task import Task

if TYPE_CHECKING:
    from tlhub.manifest import Manifest
    from tlhub.run import Run

RECORD = "tlhub.json"
FORMAT = 1


def save(run: Run, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the model of a finished run to `folder`; the record is written last, so a folder that has one is whole.

    Raises ArtifactError where the disk refuses.
    """
    from safetensors import SafetensorError

    try:
        _save(run, folder, history)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"the model cannot be written to {folder}: {error}", "make room there, then go on with --resume"
        ) from None


def _save(run: Run, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    from safetensors.torch import save_file

    model = run.model.cpu().eval()
    partial = folder / "model.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    forms = ((adapter, adapter.export(run, partial)) for adapter in run.adapters)
    exporter, form = next(((adapter, form) for adapter, form in forms if form is not None), (None, None))
    if exporter is None:
        form = model.backbone.export(model, run.task, run.classes, partial)
    if form is None:
        form = "tlhub"
        tensors = {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
        save_file(tensors, partial / "model.safetensors")
    names = sorted(path.name for path in partial.iterdir())
    for name in names:
        (partial / name).chmod(0o644)  # safetensors writes for its owner alone, and a model is there to be shared
        sync(partial / name)
        (partial / name).replace(folder / name)
    partial.rmdir()
    record = {
        "format": FORMAT,
        "name": run.manifest.title,
        "form": form,
        "exporter": None if exporter is None else exporter.spec,
        "modality": model.backbone.modality,
        "backbone": {"use": model.backbone.name, **model.backbone.rebuild()} if exporter is None else run.named.spec,
        "neck": model.neck.spec,
        "head": model.head.spec,
        "task": run.task.spec,
        "classes": None if run.classes is None else list(run.classes),
        "composed": run.facts(),
        "lineage": [origin.as_dict() for origin in run.origins()],
        "manifest": run.manifest.as_dict(),
        "data": {domain.key: fingerprint(domain) for domain in [*run.domains, *run.held_out]},
        "versions": versions(run.catalog),
        "history": list(history),
        "files": {name: sha256(folder / name) for name in names},
    }
    write_record(folder, record)


def digest(record: Mapping[str, Any]) -> str:
    """What identifies a model: `sha256:` and the digest of its files' names and contents."""
    return "sha256:" + hashlib.sha256(json.dumps(record["files"], sort_keys=True).encode()).hexdigest()


def fingerprint(domain: Any) -> dict[str, Any]:
    """What identifies a domain's data in a record."""
    return {"fingerprint": domain.examples.fingerprint, "examples": len(domain)}


def versions(catalog: Catalog) -> dict[str, str]:
    """Versions of what a result depends on: Python, the libraries, and every distribution that offers a component."""
    libraries = "torch timm transformers tokenizers peft datasets numpy pillow scikit-learn"
    names = {"tlhub", *libraries.split()}
    names |= {entry.distribution for entry in catalog.entries() if entry.distribution}
    found = {"python": platform.python_version()}
    known = ((name, _version(name)) for name in sorted(names))
    return found | {name: version for name, version in known if version is not None}


@cache  # reading it takes a millisecond or more each
def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `tlhub.json` whole or not at all."""
    write_atomically(folder / RECORD, json.dumps(record, indent=2, default=str) + "\n")


def read_record(folder: Path) -> dict[str, Any]:
    """What `tlhub.json` says. Raises ArtifactError where there is none, or none this version can read."""
    path = folder / RECORD
    if not path.is_file():
        raise ArtifactError(
            f"{folder} is no adapted model: it has no {RECORD}", "name a folder that `tlhub adapt` wrote"
        )
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = record["format"]
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"{path} is damaged: it is not what `tlhub adapt` wrote") from None
    if known != FORMAT:
        raise ArtifactError(f"{path} has format {known}; this version reads format {FORMAT}", "upgrade tlhub")
    return record


def check_made_by(folder: Path, manifest: Manifest) -> None:
    """Raise UserError where a folder holds a run of another manifest than this one."""
    if (folder / RECORD).is_file() and read_record(folder)["manifest"] != manifest.as_dict():
        raise UserError(f"{folder} holds a run of another manifest", "remove it, or choose another folder with `--out`")


def verify(folder: Path) -> dict[str, Any]:
    """The record of a folder whose files are all as they were written. Raises ArtifactError where one is not."""
    record = read_record(folder)
    for name, digest in record["files"].items():
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing", "copy the folder anew, or adapt again")
        if sha256(folder / name) != digest:
            raise ArtifactError(f"{folder / name} is not as it was written: its sha256 differs", "copy the folder anew")
    return record


class Adapted:
    """An adapted model, loaded from its folder.

    Attributes:
        record: what `tlhub.json` says: manifest, versions, data, metrics.
        model: the network, in evaluation mode.
        classes: the class names, or None where the task has none.
    """

    def __init__(self, folder: Path, record: Mapping[str, Any], model: Model, task: Task, device: torch.device) -> None:
        self.folder, self.record, self.model, self.task, self.device = folder, record, model, task, device
        self.classes: tuple[str, ...] | None = None if record["classes"] is None else tuple(record["classes"])

    def origin(self, role: str) -> Origin:
        """This model as what another one is made from."""
        lineage = tuple(Origin.from_dict(each) for each in self.record["lineage"])
        return Origin(role, self.record["name"], digest(self.record), lineage)

    @cached_property
    def _preprocess(self) -> Any:
        return self.model.backbone.preprocess(train=False)

    def logits(self, inputs: Sequence[Any], batch: int = 64) -> Tensor:
        """`[inputs, outputs]` for raw inputs: PIL images or their files, texts, pairs or lists of texts, vectors.

        Of a task that answers every word `[inputs, words, outputs]`, zeros where an input has no more words.
        """
        found = []
        with torch.inference_mode():
            for start in range(0, len(inputs), batch):
                examples = [self._preprocess(self._read(raw)) for raw in inputs[start : start + batch]]
                collated = self.model.backbone.collate(examples)
                found.append(self.model(to_device(collated, self.device)).float().cpu())
        return padded(found)

    def predict(self, inputs: Sequence[Any], batch: int = 64) -> list[dict[str, object]]:
        """One answer for every raw input, such as `{"label": "mug", "probability": 0.98}`.

        Raises DataError naming a file that cannot be read.
        """
        if not len(inputs):
            return []
        return self.task.answer(self.logits(inputs, batch), self.classes, inputs)

    def _read(self, raw: Any) -> Any:
        from tlhub.inputs import read_file

        return read_file(Path(raw)) if self.record["modality"] == "image" and isinstance(raw, str | Path) else raw


def load(place: str | Path, device: str | None = None, catalog: Catalog | None = None) -> Adapted:
    """Load an adapted model: a folder, or the name by which an installed store knows it, such as `hub:owner/name`.

    Raises ArtifactError where there is none, or a file of it is not as it was written.
    """
    from tlhub.run import pick_device

    catalog = catalog or Catalog.installed()
    folder = locate(place, catalog)
    record = verify(folder)

    def made(role: str, kind: Kind) -> Any:
        settings = dict(record[role])
        return catalog.create(kind, settings.pop("use"), settings)

    model = Model(made("backbone", "backbones").resolved(), made("neck", "heads"), made("head", "heads"))
    if record.get("exporter"):
        made("exporter", "adapters").load_exported(model, folder)
    elif record["form"] == "tlhub":
        from safetensors.torch import load_file

        try:
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except RuntimeError as error:  # names or shapes are others
            raise ArtifactError(f"the weights in {folder} are not those of the model that {RECORD} tells of") from error
    else:
        model.backbone.load_exported(model, folder)
    where = pick_device(device)
    model.to(memory_format=memory_order(where))  # as in training, so that logits are the same to the last bit
    return Adapted(folder, record, model.to(where).eval(), made("task", "tasks"), where)
