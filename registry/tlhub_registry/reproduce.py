"""Making a run again from its record, and telling whether the same came of it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tlhub import adaptation, artifact, manifest as manifests
from tlhub.adaptation import Row
from tlhub.catalog import Catalog
from tlhub.errors import UserError
from tlhub.lineage import Origin
from tlhub.manifest import Manifest
from tlhub.run import hardware, open_data, pick_device
from tlhub.store import locate
from tlhub.watch import Watch
from tlhub_registry.registry import Registry

CUT = "…"
"""What stands for the folders above, in paths of a record that was published."""


@dataclass(frozen=True)
class Measured:
    """A score of the adapted model there and here, and whether the one here lies in the interval of the one there."""

    domain: str
    there: float
    low: float
    high: float
    here: float

    @property
    def within(self) -> bool:
        # a result of the same weights is the same up to the order of additions, even where its interval is empty
        return self.low - 1e-6 <= self.here <= self.high + 1e-6


@dataclass(frozen=True)
class Reproduction:
    """What came of making a run again.

    Attributes:
        folder: the new run.
        differences: what is not here as it was there, in words: changes, versions, device, data, origins.
        tensors: how many tensors the model has.
        changed: how many of them are not equal to the bit, or are missing.
        largest: the largest difference of any two numbers in them.
        files: files, other than weights, whose content differs.
    """

    folder: Path
    metric: str
    differences: Sequence[str]
    tensors: int
    changed: int
    largest: float
    files: Sequence[str]
    measured: Sequence[Measured]

    @property
    def reproduced(self) -> bool:
        """To the bit, or all scores in their intervals."""
        return not self.changed or (bool(self.measured) and all(each.within for each in self.measured))

    @property
    def sentence(self) -> str:
        """The outcome in plain words."""
        if not self.changed:
            return f"Reproduced to the bit: all {self.tensors} tensors are equal."
        apart = f"{self.changed} of {self.tensors} tensors differ, by at most {self.largest:.2g}"
        if self.reproduced:
            return f"Reproduced within the interval, not to the bit: {apart}."
        if self.measured:
            return f"Not reproduced: {self.metric} is outside the recorded interval, and {apart}."
        return f"Not reproduced: {apart}, and nothing was measured then that could be compared."


def reproduce(
    place: str, overrides: Sequence[str] = (), out: Path | None = None, watch: Watch | None = None
) -> Reproduction:
    """Make the run of an adapted model again, on the device and with the number of threads of then.

    The baseline is not: what is claimed is the adapted model and its score. The new run is not kept in the registry.

    Args:
        place: a folder, an entry, or `hub:OWNER/NAME`.
        overrides: changes such as `source.path=photos`, for data that lies elsewhere here.
        out: the folder to write; by default `runs/NAME-reproduced`.
        watch: hears of the progress, and of what is not here as it was there.

    Raises UserError where a plugin or data are missing, or data lie at a path that the record does not tell.
    """
    watch, catalog = watch or Watch(), Catalog.installed()
    folder = locate(place, catalog)
    record = artifact.verify(folder)
    loaded = manifests.from_dict(_written(record, Registry()), overrides, catalog)
    _refuse_cut(loaded)
    device = _device(record["composed"]["device"])
    threads = torch.get_num_threads()
    torch.set_num_threads(record["composed"].get("threads", threads))
    try:
        differences = [f"changed here: {text}" for text in overrides]
        differences += [*_environment(record, catalog, device), *_data(record, loaded, catalog)]
        for difference in differences:
            watch.note(difference)
        result = adaptation.adapt(
            loaded, out=out, device=str(device), baseline=False, keep=False, watch=watch, catalog=catalog
        )
    finally:
        torch.set_num_threads(threads)
    again = artifact.read_record(result.folder)
    tensors, changed, largest = _tensors(folder, result.folder, record["files"])
    files = [
        name
        for name, digest in record["files"].items()
        if not name.endswith(".safetensors") and digest != again["files"].get(name)
    ]
    differences += _origins(record, again)
    measured = list(_measured(record, result.rows))
    return Reproduction(result.folder, result.metric, differences, tensors, changed, largest, files, measured)


def _written(record: Mapping[str, Any], registry: Registry) -> dict[str, Any]:
    """The recorded manifest, under a name of its own, with the very models that it began with or learned from."""
    written: dict[str, Any] = copy.deepcopy(record["manifest"])
    written["name"] = f"{record['name']}-reproduced"
    written["backbone"] = record["composed"]["backbone"]  # where a name was given, it has the revision that was found
    lineage = [Origin.from_dict(each) for each in record["lineage"]]
    backbones, teachers = (iter([each for each in lineage if each.role == role]) for role in ("backbone", "teacher"))
    if written["backbone"]["use"] == "artifact":
        written["backbone"]["ref"] = _pinned(written["backbone"]["ref"], backbones, registry)
    for part in written.get("adapters", []):
        places = part.get("teacher")
        if isinstance(places, str):
            part["teacher"] = _pinned(places, teachers, registry)
        elif places:
            part["teacher"] = [_pinned(place, teachers, registry) for place in places]
    # a list of one is written as people write it, so that `--set source.path=…` finds its place
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in written.items()}


def _pinned(place: str, origins: Iterator[Origin], registry: Registry) -> str:
    """Where the next of these models is found now: by its digest in the registry; else at its commit on the Hub."""
    origin = next(origins, None)
    if origin is None or not origin.revision:
        return place
    return origin.revision if registry.by_digest(origin.revision) else origin.hub or place


def _refuse_cut(manifest: Manifest) -> None:
    """Raise UserError naming the paths that were taken out when the model was published."""
    cut = [f"{key}={value}" for key, value in _texts(manifest.as_dict()) if value.startswith(CUT)]
    if cut:
        mend = " ".join(f"--set {each.partition('=')[0]}=PATH" for each in cut)
        raise UserError(
            f"where these were is not part of a published record: {', '.join(cut)}", f"say where yours are: {mend}"
        )


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The texts in a manifest, each with the path of keys to it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, f"{key}.{name}" if key else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{key}.{number}" if len(value) > 1 else key)
    elif isinstance(value, str):
        yield key, value


def _device(recorded: str) -> torch.device:
    """The device of then, or the best there is."""
    try:
        return pick_device(recorded)
    except UserError:
        return pick_device(None)


def _environment(record: Mapping[str, Any], catalog: Catalog, device: torch.device) -> list[str]:
    """What is other than then of libraries, plugins and hardware."""
    here = artifact.versions(catalog)
    pairs: dict[str, tuple[Any, Any]] = {
        name: (version, here.get(name)) for name, version in record["versions"].items()
    }
    composed = record["composed"]
    pairs["device"] = (composed["device"], str(device))
    pairs["hardware"] = (composed.get("hardware"), hardware(device))
    if device.type == "cpu":
        pairs["threads"] = (composed.get("threads"), torch.get_num_threads())
    return [
        f"{name}: {there or 'unknown'} there, {now or 'not installed'} here"
        for name, (there, now) in pairs.items()
        if there != now
    ]


def _data(record: Mapping[str, Any], manifest: Manifest, catalog: Catalog) -> list[str]:
    """The data sets that are not those of then."""
    data = open_data(manifest, catalog)
    known = {key: each["fingerprint"] for key, each in record["data"].items()}
    changed = [
        domain.key
        for domain in [*data.sources, *data.targets]
        if known.get(domain.key) not in (None, domain.examples.fingerprint)
    ]
    return [f"{key}: these are other data than then: the fingerprint differs" for key in changed]


def _origins(record: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """The models it began with or learned from that are not those of then."""
    pairs = zip(record["lineage"], again["lineage"], strict=False)
    return [
        f"{there['role']} {there['name']}: {there['revision']} there, {here['revision']} here"
        for there, here in pairs
        if there["revision"] != here["revision"]
    ]


def _tensors(there: Path, here: Path, files: Sequence[str] | Mapping[str, Any]) -> tuple[int, int, float]:
    """How many tensors the weights have, how many differ, and by how much at most."""
    from safetensors.torch import load_file

    count, changed, largest = 0, 0, 0.0
    for name in files:
        if not name.endswith(".safetensors"):
            continue
        before, after = load_file(there / name), load_file(here / name) if (here / name).is_file() else {}
        count += len(before)
        for key, value in before.items():
            other = after.get(key)
            if other is None or other.shape != value.shape or other.dtype != value.dtype:
                changed, largest = changed + 1, float("inf")
            elif not torch.equal(other.flatten().view(torch.uint8), value.flatten().view(torch.uint8)):
                changed += 1
                largest = max(largest, float((other.double() - value.double()).abs().max()))
    return count, changed, largest


def _measured(record: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[Measured]:
    recorded = (record.get("result") or {}).get("rows", [])
    there = {row["domain"]: row for row in recorded if row["model"] == "adapted"}
    for row in rows:
        if row.domain in there:
            then = there[row.domain]
            yield Measured(row.domain, then["value"], then["low"], then["high"], row.score.value)
