"""What a report tells of an adapted model: its record, and what it and its baseline say of the examples there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tlhub import artifact
from tlhub.adaptation import Result, result_of
from tlhub.artifact import Adapted
from tlhub.case import Case, When, baseline_of
from tlhub.catalog import Catalog
from tlhub.data import Domain, Role, one_class_each
from tlhub.doctor import examine
from tlhub.errors import UserError
from tlhub.loader import workers
from tlhub.measure import outputs, side_by_side
from tlhub.symptom import Finding
from tlhub.validator import Outputs

MISTAKES = 12
"""So many mistakes are shown."""

BASELINE, ADAPTED = "source-only", "adapted"
"""The models, as the rows of a result name them."""

MODELS: Mapping[str, When] = {BASELINE: "before", ADAPTED: "after"}
"""Which of them the doctor calls what."""

T = TypeVar("T")


@dataclass(frozen=True)
class Plane:
    """Features of one model in the plane of their two main directions.

    Attributes:
        points: `[examples, 2]`, in the order of the sample's domains.
        explained: the share of the features' variance that the plane holds.
    """

    model: str
    points: NDArray[np.float64]
    explained: float


@dataclass(frozen=True)
class Sample:
    """The examples of a domain that are points: `names` are their classes, empty where hidden, of `total` examples."""

    key: str
    role: Role
    names: Sequence[str]
    total: int


@dataclass(frozen=True)
class Mistake:
    """An example that was answered wrong, or that cost most; `probability` is that of the answer."""

    where: str
    raw: Any
    truth: str
    answer: str
    probability: float | None


@dataclass
class Findings:
    """Everything a report tells.

    Attributes:
        record: of the adapted model; `baseline`: of the model it was compared with, where that is still there.
        confusions: by model, examples by class (row) and answer (column); empty where answers are no classes.
        diagnosis: what the doctor finds, the worst first, and what it found then of what it cannot look for any more;
            `unlooked`: that, and why.
        notes: what else cannot be told, and why.
    """

    record: Mapping[str, Any]
    result: Result | None
    baseline: Mapping[str, Any] | None = None
    confusions: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    planes: list[Plane] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    diagnosis: list[Finding] = field(default_factory=list)
    unlooked: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gather(folder: Path, device: str | None, catalog: Catalog) -> Findings:
    """Read the record of an adapted model, and look at its data again with it and its baseline.

    Data or a baseline that cannot be opened any more is left out, and a note says so. Raises ArtifactError where the
    model itself cannot be loaded.
    """
    adapted = artifact.load(folder, device, catalog)
    result = result_of(folder, adapted.record) if "result" in adapted.record else None
    found = Findings(adapted.record, result)
    before = _attempt(found, "What it was compared with", lambda: baseline_of(adapted, device, catalog))
    models = {ADAPTED: adapted} if before is None else {BASELINE: before, ADAPTED: adapted}
    found.baseline = None if before is None else before.record
    case = Case(adapted, before, catalog)

    def scored() -> tuple[list[Domain], dict[str, list[Outputs]]]:
        domains = case.domains("evaluate")
        return domains, {name: [_outputs(model, domain) for domain in domains] for name, model in models.items()}

    evaluated, seen = _attempt(found, "The examples it was scored on", scored) or ([], {})
    if evaluated:
        _check_unchanged(found, evaluated, adapted, seen[ADAPTED])
        found.mistakes = _mistakes(adapted, evaluated, seen[ADAPTED])
    found.confusions = _confusions(found, seen)
    drawn = _attempt(found, "The examples whose features would be drawn", lambda: _drawn(case, bool(evaluated)))
    found.samples, found.planes = drawn or ([], [])
    found.diagnosis, found.unlooked = examine(case)
    told = {each.symptom for each in found.diagnosis}
    then = [each for each in (result.reasons if result else ()) if each.symptom not in told]
    found.diagnosis = sorted([*then, *found.diagnosis], key=lambda each: each.level != "fault")
    return found


def _attempt(found: Findings, what: str, look: Callable[[], T]) -> T | None:
    """What `look` gives; where files are gone or are not what they were, None, and a note."""
    try:
        return look()
    except (UserError, OSError) as error:
        reason = error.message if isinstance(error, UserError) else str(error)
        found.notes.append(f"{what} cannot be opened, so what needs it is left out: {reason}")
        return None


def _outputs(model: Adapted, domain: Domain) -> Outputs:
    return outputs(model.model, domain, model.device, workers("auto", model.device))


def _check_unchanged(found: Findings, domains: Sequence[Domain], adapted: Adapted, seen: Sequence[Outputs]) -> None:
    """Note where examples are not those that the result is about."""
    recorded = {row.domain: row.score for row in found.result.rows if row.model == ADAPTED} if found.result else {}
    for domain, out in zip(domains, seen, strict=True):
        if out.labels is None or domain.key not in recorded:
            continue
        value, then = float(adapted.task.score(out.logits, out.labels).double().mean()), recorded[domain.key]
        if len(domain) != then.examples or abs(value - then.value) > 0.005:
            found.notes.append(
                f"The examples of `{domain.key}` are not those that were scored: {adapted.task.metric} was "
                f"{100 * then.value:.1f} % of {then.examples:,} examples, and is {100 * value:.1f} % of the "
                f"{len(domain):,} there are now. What follows the scores is of those there are now."
            )


def _one_class(out: Outputs) -> bool:
    """Whether every example is of one class, and every answer too."""
    labels = out.labels
    return labels is not None and one_class_each(labels) and out.logits.ndim == 2


def _confusions(found: Findings, seen: Mapping[str, Sequence[Outputs]]) -> dict[str, NDArray[np.int64]]:
    """Counted anew for both models where the examples are there; else the adapted model's, as recorded."""
    from sklearn.metrics import confusion_matrix

    if not seen.get(ADAPTED):
        rows = [] if found.result is None else found.result.rows
        counts = [row.confusion for row in rows if row.confusion is not None]
        return {ADAPTED: np.sum(counts, axis=0)} if counts else {}
    counted = {}
    for name, parts in seen.items():
        whole = side_by_side(parts)
        if whole is not None and whole.labels is not None and _one_class(whole):
            numbers = range(whole.logits.shape[1])
            counted[name] = confusion_matrix(whole.labels, whole.logits.argmax(1), labels=numbers)
    return counted


def _mistakes(adapted: Adapted, domains: Sequence[Domain], seen: Sequence[Outputs]) -> list[Mistake]:
    """Wrong answers, the most probable first; where answers are no classes, those with the largest loss."""
    worst: list[tuple[float, Domain, Outputs, int]] = []
    for domain, out in zip(domains, seen, strict=True):
        if out.labels is None:
            continue
        if _one_class(out):
            probability, answers = out.logits.softmax(1).max(1)
            cost = probability.masked_fill(answers == out.labels, -torch.inf)
        else:
            cost = adapted.task.loss(out.logits, out.labels)
        costs, rows = cost.topk(min(MISTAKES, len(cost)))
        pairs = zip(costs.tolist(), rows.tolist(), strict=True)
        worst += [(value, domain, out, row) for value, row in pairs if np.isfinite(value)]
    worst.sort(key=lambda each: -each[0])
    return [_mistake(adapted, *each[1:]) for each in worst[:MISTAKES]]


def _mistake(adapted: Adapted, domain: Domain, out: Outputs, row: int) -> Mistake:
    assert out.labels is not None
    raw = domain.raw(row)
    answer = adapted.task.answer(out.logits[row : row + 1], adapted.classes, [raw])[0]
    told = next((answer[key] for key in ("label", "value", "labels", "tags") if key in answer), answer)
    probability = answer.get("probability")
    truth = _truth(out.labels[row], adapted.classes)
    return Mistake(domain.where(row), raw, truth, _text(told), probability if isinstance(probability, float) else None)


def _truth(label: Tensor, classes: Sequence[str] | None) -> str:
    """A label in any form (see `tlhub.data.Examples`) in words."""
    if classes is None or (label.ndim == 0 and label.is_floating_point()):
        return _text(float(label))
    if label.is_floating_point():
        return _text([name for name, there in zip(classes, label.tolist(), strict=True) if there > 0])
    numbers = label.reshape(-1).tolist()
    return _text([classes[number] for number in numbers if number >= 0])


def _text(told: object) -> str:
    if isinstance(told, float):
        return f"{told:.4g}"
    return (", ".join(map(str, told)) or "none") if isinstance(told, list) else str(told)


def _drawn(case: Case, evaluated: bool) -> tuple[list[Sample], list[Plane]]:
    """Some examples of the source and of what was scored, or else of the target, and their features for each model."""
    roles: tuple[Role, Role] = ("source", "evaluate" if evaluated else "target")
    samples = [
        Sample(part.key, role, _names(part), len(whole))
        for role in roles
        for part, whole in zip(case.some(role), case.domains(role), strict=True)
    ]
    planes = []
    for model, when in MODELS.items():
        parts = [part.features for role in roles if (part := case.seen(when, role)) is not None]
        if parts:
            planes.append(_plane(model, torch.cat(parts)))
    return samples, planes


def _names(domain: Domain) -> list[str]:
    """The class of every example of one class; empty texts where labels are hidden or of another form."""
    labels = domain.labels
    if labels is None or not one_class_each(labels) or domain.classes is None:
        return [""] * len(domain)
    return [domain.classes[number] for number in labels.tolist()]


def _plane(model: str, features: Tensor) -> Plane:
    """By principal components, since distances in the plane are then no larger than in truth: t-SNE can draw a gap
    between domains where there is none, and close one that is there.
    """
    from sklearn.decomposition import PCA

    given = features.double().numpy()
    directions = min(2, *given.shape)
    points = np.zeros((len(given), 2))
    if not np.ptp(given, axis=0).any():  # every example has the same features
        return Plane(model, points, 1.0)
    components = PCA(directions, random_state=0).fit(given)
    points[:, :directions] = components.transform(given)
    return Plane(model, points, float(components.explained_variance_ratio_.sum()))
