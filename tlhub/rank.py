"""Which backbone suits labelled examples best, told before any training by scores of its features."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlhub.artifact import load
from tlhub.backbone import Backbone
from tlhub.catalog import Catalog
from tlhub.data import Dataset, Domain, one_class_each, open_domain
from tlhub.diagnostics import listed, quoted
from tlhub.errors import ArtifactError, DataError, UserError
from tlhub.faults import as_json, faults
from tlhub.head import Identity
from tlhub.loader import workers
from tlhub.measure import outputs
from tlhub.model import Model, memory_order
from tlhub.parts import DomainPart
from tlhub.randomness import permutation, preserved, seed_all
from tlhub.score import TransferScore
from tlhub.settings import model as settings_of
from tlhub.store import locate
from tlhub.validator import Outputs
from tlhub.watch import Watch

TIMED = 16
"""How many examples are timed to estimate how long all of them take."""


@dataclass(frozen=True)
class Candidate:
    """A backbone to be ranked: `part` of a manifest, or that of the adapted model in `folder`."""

    name: str
    part: Mapping[str, Any] | None = None
    folder: Path | None = None


def candidate(spec: str | Mapping[str, Any], catalog: Catalog) -> Candidate:
    """What is meant by a part of a manifest, `NAME`, `NAME:VALUE` or an adapted model.

    NAME is an installed backbone and VALUE its first setting, such as `timm:resnet18`. An adapted model is a folder, or
    what a store knows by that name. Raises UserError where there is none.
    """
    if not isinstance(spec, str):
        first = next((str(value) for key, value in spec.items() if key != "use"), None)
        return Candidate(str(spec.get("use")) if first is None else f"{spec.get('use')}:{first}", dict(spec))
    use, colon, value = spec.partition(":")
    entry = next((entry for entry in catalog.entries("backbones") if use in (entry.name, _full(entry))), None)
    if entry is None:
        try:
            return Candidate(spec, folder=locate(spec, catalog))
        except ArtifactError as error:
            names = listed((quoted(entry.name) for entry in catalog.entries("backbones")), "or")
            hint = f"{error.hint}; or a backbone, `NAME` or `NAME:MODEL`, where NAME is {names}"
            raise ArtifactError(error.message, hint) from None
    settings = [field.alias or "" for field in settings_of(entry.cls).model_fields.values()]
    if colon and not settings:
        raise UserError(f"`{use}` has no settings, so nothing may follow its name", f"write `{use}`")
    return Candidate(spec, {"use": use, **({settings[0]: value} if colon else {})})


def candidates(specs: Iterable[str | Mapping[str, Any]], catalog: Catalog) -> list[Candidate]:
    """Every candidate that is meant, each with a name of its own: of like ones it says in which settings they differ.

    Raises UserError where there is none, or one is named twice.
    """
    found = [candidate(spec, catalog) for spec in specs]
    named = [replace(each, name=_apart(each, [other for other in found if other.name == each.name])) for each in found]
    names = [each.name for each in named]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"the backbone `{twice}` is named twice", "name every backbone once")
    return named


def _apart(each: Candidate, alike: Sequence[Candidate]) -> str:
    """The name of a candidate, with those settings that are not the same in all that share it."""
    own = dict(each.part or {})
    words = [f"{key}={own[key]}" for key in own if any((other.part or {}).get(key) != own[key] for other in alike)]
    return " ".join([each.name, *words])


def _full(entry: Any) -> str:
    return f"{entry.plugin}/{entry.name}"


@dataclass(frozen=True)
class Labelled:
    """Examples of one class each, and what they are: image, text or vector."""

    domain: Domain
    modality: str


def open_labelled(part: Mapping[str, Any], catalog: Catalog, limit: int | None = None, seed: int = 0) -> Labelled:
    """The labelled examples that a part of a manifest names; with `limit`, so many, by turns of every class.

    Raises UserError where the part is wrong, and DataError where examples are not of one class each.
    """
    wrong = faults(DomainPart, part, "the data")
    if wrong:
        raise UserError("\n".join(fault.message for fault in wrong), wrong[0].hint)
    checked = DomainPart.model_validate_json(as_json(part))
    dataset: Dataset = catalog.create("datasets", checked.use, checked.settings)
    domain = open_domain(dataset, checked, "data", "source")
    labels = domain.labels
    if labels is None or not one_class_each(labels):
        raise DataError(
            "backbones are ranked by labels that give one class to every example, and these do not",
            "name a data set with `labels: all` and one class for every example",
        )
    if bool((labels == labels[:1]).all()):
        raise DataError("all examples are of one class: there is nothing to tell apart", "give examples of two or more")
    some = domain if limit is None else domain.part(balanced(labels, limit, seed))
    return Labelled(some, dataset.modality)


def balanced(labels: Tensor, limit: int, seed: int) -> Tensor:
    """Positions of at most `limit` examples in order, of every class as many, as far as it has them."""
    order = permutation(len(labels), seed, "limit")
    grouped = order[labels[order].argsort(stable=True)]
    sizes = labels.bincount()
    turn = torch.cat([torch.arange(int(size)) for size in sizes])
    return grouped[turn.argsort(stable=True)[:limit]].sort().values


@dataclass(frozen=True)
class Estimate:
    """What a backbone is, and what it will take to see all examples: seconds, and bytes of weights and features."""

    backbone: str
    parameters: int
    width: int
    seconds: float
    bytes: int

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def estimate(candidate: Candidate, data: Labelled, device: torch.device, catalog: Catalog, seed: int = 0) -> Estimate:
    """What the candidate will take, from a few examples that it sees twice, the second time by the clock.

    Raises UserError where there is no such backbone, or it does not read what the data set gives.
    """
    model, _ = _load(candidate, data, device, catalog, seed)
    domain = data.domain
    index = torch.linspace(0, len(domain) - 1, min(TIMED, len(domain))).long()
    few, processes = domain.part(index), workers("auto", device)
    outputs(model, few, device, processes)
    started = time.perf_counter()
    width = outputs(model, few, device, processes).features.shape[1]
    seconds = (time.perf_counter() - started) / len(index) * len(domain)
    weights = sum(tensor.nbytes for tensor in model.state_dict().values())
    parameters = sum(parameter.numel() for parameter in model.backbone.parameters())
    return Estimate(candidate.name, parameters, width, seconds, weights + len(domain) * width * 8)


@dataclass(frozen=True)
class Ranked:
    """A backbone and its scores by name; None where it has no such score."""

    backbone: str
    parameters: int
    width: int
    seconds: float
    scores: Mapping[str, float | None]


@dataclass(frozen=True)
class Ranking:
    """Backbones, the best by the first score first.

    Attributes:
        agreement: Spearman's rank correlation of two scores over the backbones that have both, three or more.
        notes: what the user should know of single scores.
    """

    rows: Sequence[Ranked]
    agreement: Mapping[tuple[str, str], float]
    notes: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        agreement = [{"scores": list(pair), "spearman": value} for pair, value in self.agreement.items()]
        return {"rows": [asdict(row) for row in self.rows], "agreement": agreement, "notes": list(self.notes)}


def rank(
    candidates: Sequence[Candidate],
    data: Labelled,
    scores: Sequence[TransferScore],
    device: torch.device,
    catalog: Catalog,
    watch: Watch | None = None,
    seed: int = 0,
) -> Ranking:
    """Score every candidate on the examples; its features are computed once for all scores.

    A score that a backbone cannot have is None, and a note says why. Backbones with random weights get those of `seed`.

    Raises UserError where there is no such backbone, or it does not read what the data set gives.
    """
    if len({score.name for score in scores}) < len(scores):
        raise UserError("a score is named twice", "name every score once")
    watch = watch or Watch()
    domain = data.domain
    assert domain.labels is not None
    rows: list[Ranked] = []
    notes: dict[str, list[str]] = {}
    for each in candidates:
        started = time.perf_counter()
        model, classifies = _load(each, data, device, catalog, seed)
        watch.started(each.name, len(domain), 0)
        try:
            tell = partial(watch.progress, rows=1, terms={})
            seen = outputs(model, domain, device, workers("auto", device), tell=tell)
        finally:
            watch.stopped()
        given: dict[str, Tensor | None] = {"features": seen.features}
        if any(score.reads == "probabilities" for score in scores):
            given["probabilities"] = _probabilities(model.backbone, seen, classifies)
        values: dict[str, float | None] = {}
        for score in scores:
            values[score.name], remarks = _measured(score, given[score.reads], domain.labels)
            for note in remarks:
                notes.setdefault(note, []).append(each.name)
        parameters = sum(parameter.numel() for parameter in model.backbone.parameters())
        rows.append(Ranked(each.name, parameters, seen.features.shape[1], time.perf_counter() - started, values))
    scored = [(row.scores[scores[0].name], row) for row in rows]
    best_first = sorted(scored, key=lambda pair: float("-inf") if pair[0] is None else pair[0], reverse=True)
    rows = [row for _, row in best_first]
    told = [f"{note}: {', '.join(names)}" for note, names in notes.items()]
    return Ranking(rows, _agreement(rows, [score.name for score in scores]), told)


def _load(
    candidate: Candidate, data: Labelled, device: torch.device, catalog: Catalog, seed: int
) -> tuple[Model, bool]:
    """The candidate's model, and whether its answers are the classes of examples."""
    if candidate.folder is not None:
        adapted = load(candidate.folder, str(device), catalog)
        model, classifies = adapted.model, adapted.task.name == "classification"
    else:
        settings = dict(candidate.part or {})
        with preserved():
            seed_all(seed, "backbone")
            backbone = catalog.create("backbones", str(settings.pop("use", "")), settings).resolved()
        model, classifies = Model(backbone, Identity(backbone.width), Identity(backbone.width)), False
    reads = model.backbone.modality
    if reads != data.modality:
        raise UserError(
            f"`{candidate.name}` reads {reads}, but the data set gives {data.modality}",
            f"name backbones for {data.modality} only",
        )
    model.to(memory_format=memory_order(device))
    return model.to(device).eval(), classifies


def _probabilities(backbone: Backbone, seen: Outputs, classifies: bool) -> Tensor | None:
    """What a candidate's own classifier makes of the examples; None where it has none."""
    if classifies:
        return seen.logits.softmax(1)
    with preserved():
        head = backbone.source_head()
    with torch.inference_mode():
        return None if head is None else head(seen.features).softmax(1)


def _measured(score: TransferScore, given: Tensor | None, labels: Tensor) -> tuple[float | None, list[str]]:
    """A score, and what the user should know of it."""
    if given is None:
        return None, [f"`{score.name}` needs the class probabilities of a classifier, which these do not have"]
    try:
        value = score.measure(given, labels)
    except UserError as error:
        return None, [error.message]
    caution = score.caution(given, labels)
    return value, [caution] if caution else []


def _agreement(rows: Iterable[Ranked], names: Sequence[str]) -> dict[tuple[str, str], float]:
    """Spearman's correlation of every two scores that three backbones or more have; the tenth digit is rounding."""
    from scipy.stats import spearmanr

    found = {}
    for pair in combinations(names, 2):
        pairs = ((row.scores[pair[0]], row.scores[pair[1]]) for row in rows)
        both = [(f"{a:.9g}", f"{b:.9g}") for a, b in pairs if a is not None and b is not None]
        if len(both) >= 3 and all(len(set(column)) > 1 for column in zip(*both, strict=True)):
            found[pair] = float(spearmanr([(float(a), float(b)) for a, b in both]).statistic)
    return found
