"""Which adapters to try first, by how source and target differ: evidence, rule, proposal.

The rules say what the literature says of such cases. They are a place to begin, no promise: what helps on your data is
told by a run with an `evaluate` part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from tlhub.adapter import Need
from tlhub.catalog import Catalog, Entry
from tlhub.data import Domain, one_class_each
from tlhub.errors import DataError
from tlhub.head import Identity
from tlhub.loader import workers
from tlhub.manifest import Manifest
from tlhub.measure import outputs
from tlhub.model import Model, memory_order
from tlhub.randomness import preserved, seed_all
from tlhub.run import check_modality, open_role
from tlhub.shift import accuracy, label_shares, mmd_test, proxy_a_distance, total_variation
from tlhub.watch import Watch

LIMIT = 1000
"""So many examples of a domain are looked at, unless the caller says otherwise."""

FEWEST = 20
"""Fewer examples of a domain tell nothing of how it differs from another."""

CHANCE = 0.05
"""A difference that chance alone gives more often than this is no evidence."""

FAR = 1.5
"""A proxy A-distance from here on means that hardly an example could be of either domain (an error of 1 in 8)."""

SHIFTED = 0.2
"""Total variation from which label shares count as different."""

FEW = 200
"""Unlabelled target examples that are too few to train a discriminator on."""


@dataclass(frozen=True)
class Evidence:
    """What was measured.

    Attributes:
        source, target: how many examples there are; `seen` how many of each were looked at.
        labelled: how many target examples show their labels.
        accuracy: of a linear classifier on the source's own features, cross-validated; None without classes.
        a_distance: proxy A-distance, 0 to 2; None with too few examples.
        mmd, p_value: squared MMD, and how often chance gives as large a one; None with too few examples.
        label_shift: total variation between the label shares; None where they cannot be told.
        estimated: whether the target's label shares are estimated rather than counted.
        batch_norm: whether the backbone has any.
    """

    modality: str
    source: int
    target: int
    seen: tuple[int, int]
    labelled: int
    accuracy: float | None
    a_distance: float | None
    mmd: float | None
    p_value: float | None
    label_shift: float | None
    estimated: bool
    batch_norm: bool

    @property
    def differs(self) -> bool:
        """Whether the domains differ by more than chance."""
        return self.p_value is not None and self.p_value <= CHANCE

    @property
    def far(self) -> bool:
        """Whether they hardly overlap."""
        return self.a_distance is not None and self.a_distance >= FAR

    @property
    def other_shares(self) -> bool:
        """Whether classes come in other shares; an estimate counts for nothing where its assumption does not hold."""
        return self.label_shift is not None and self.label_shift >= SHIFTED and not (self.estimated and self.far)

    def sentences(self) -> list[str]:
        """The evidence in words."""
        said = [f"{self.source:,} source and {self.target:,} target examples, {self.labelled:,} of these with labels"]
        if self.seen != (self.source, self.target):
            said.append("looked at: {:,} and {:,} of them, drawn at random".format(*self.seen))
        if self.a_distance is not None and self.mmd is not None and self.p_value is not None:
            error = (1 - self.a_distance / 2) / 2
            apart = "the domains differ" if self.differs else "no evidence of a difference"
            said += [
                f"proxy A-distance {self.a_distance:.2f} of 2: a linear classifier takes {100 * error:.0f} in 100 "
                "examples for the other domain's",
                f"squared MMD {self.mmd:.4f}, as large by chance with p = {self.p_value:.3f}: {apart}",
            ]
        else:
            said.append(f"too few examples to measure how the domains differ: {FEWEST} of each are needed")
        if self.accuracy is not None:
            said.append(f"a linear classifier is right on {100 * self.accuracy:.0f} in 100 source examples")
        if self.label_shift is not None:
            how = "counted"
            if self.estimated:
                how = "estimated, as if classes looked alike in both domains" + (", which they do not" * self.far)
            said.append(f"label shares differ by {100 * self.label_shift:.0f} in 100 examples ({how})")
        elif self.accuracy is not None:
            said.append("the target's label shares cannot be told: the classes are too badly told apart")
        return said


@dataclass(frozen=True)
class Rule:
    """When `holds`, `says` why, and the adapters to try; none means to train without any."""

    holds: Callable[[Evidence], bool]
    says: str
    adapters: tuple[str, ...] = ()


RULES = (
    Rule(
        lambda seen: seen.p_value is not None and not seen.differs and not seen.other_shares,
        "No difference is seen, so there is nothing to align: train on the source and measure; alignment would only "
        "add noise.",
    ),
    Rule(
        lambda seen: seen.labelled > 0,
        "There are target labels: learn from them, and keep what is learned near the pretrained network (Li et al. "
        "2018).",
        ("l2_sp", "lora"),
    ),
    Rule(
        lambda seen: seen.labelled > 0 and seen.differs,
        "There are target labels besides a source that differs: weigh source examples by whether they agree with them "
        "(Dai et al. 2007).",
        ("tradaboost",),
    ),
    Rule(
        lambda seen: seen.differs and seen.batch_norm,
        "The domains differ and the network has batch norm: taking its statistics from the target costs nothing (Li et "
        "al. 2016).",
        ("adabn",),
    ),
    Rule(
        lambda seen: seen.differs and seen.other_shares,
        "The domains differ and so do label shares: aligning all features would push classes onto others (Zhao et al. "
        "2019). Prefer methods that look at the model's own answers on the target.",
        ("mcc", "pseudo_label"),
    ),
    Rule(
        lambda seen: seen.differs and not seen.other_shares and (seen.target < FEW or not seen.far),
        "The domains differ, and either overlap or have too few target examples for a discriminator: align moments of "
        "the features (Sun & Saenko 2016, Long et al. 2015).",
        ("coral", "mmd"),
    ),
    Rule(
        lambda seen: seen.differs and not seen.other_shares and seen.target >= FEW and seen.far,
        "The domains hardly overlap, and there are target examples enough to train a discriminator (Ganin et al. 2016, "
        "Long et al. 2018).",
        ("cdan", "dann"),
    ),
    Rule(
        lambda seen: seen.differs and not seen.far and not seen.other_shares,
        "The domains overlap, so that source examples like the target's can count more (Huang et al. 2007).",
        ("kmm", "domain_classifier"),
    ),
)


@dataclass(frozen=True)
class Proposal:
    """A rule that holds, and those of its adapters that are installed and have what they need."""

    says: str
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class Recommendation:
    """The evidence, and what follows from it."""

    evidence: Evidence
    proposals: Sequence[Proposal]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def recommend(
    manifest: Manifest, catalog: Catalog, device: torch.device, limit: int = LIMIT, watch: Watch | None = None
) -> Recommendation:
    """Measure how the target of a manifest differs from its source on the features of its backbone, and propose.

    Raises DataError where there is no source or no target, and UserError where a part of it cannot be had. Of a target
    whose labels are hidden, none is read.
    """
    evidence = measure(manifest, catalog, device, limit, watch)
    return Recommendation(evidence, propose(evidence, catalog))


def propose(evidence: Evidence, catalog: Catalog) -> list[Proposal]:
    """What follows from the evidence; of adapters, only what the catalog has, and what has all it needs."""
    entries = {entry.name: entry for entry in catalog.entries("adapters")}
    found = []
    for rule in RULES:
        if rule.holds(evidence):
            able = tuple(name for name in rule.adapters if name in entries and _suits(entries[name], evidence))
            if able or not rule.adapters:
                found.append(Proposal(rule.says, able))
    return found


def _suits(entry: Entry, evidence: Evidence) -> bool:
    """Whether what an adapter needs is there."""
    fits = entry.cls.modalities is None or evidence.modality in entry.cls.modalities
    return fits and (evidence.labelled > 0 or Need.TARGET_LABELS not in entry.cls.needs)


def measure(
    manifest: Manifest, catalog: Catalog, device: torch.device, limit: int = LIMIT, watch: Watch | None = None
) -> Evidence:
    """The evidence; see `recommend`."""
    watch = watch or Watch()
    sources, targets = open_role(manifest, catalog, "source"), open_role(manifest, catalog, "target")
    if not sources or not targets:
        raise DataError("to compare domains, both a source and a target are needed", "name one of each")
    with preserved():
        seed_all(manifest.train.seed, "backbone")
        backbone = catalog.create("backbones", manifest.backbone.use, manifest.backbone.settings).resolved()
    check_modality(manifest, catalog, backbone)
    model = Model(backbone, Identity(backbone.width), Identity(backbone.width))
    model.to(memory_format=memory_order(device)).to(device).eval()
    classes = next((domain.classes for domain in sources if _one_class(domain)), None)
    if classes is not None:
        sources = [domain.matched(classes) for domain in sources]
        targets = [domain.matched(classes) for domain in targets]
    seed = manifest.train.seed
    some = [[domain.some(limit, seed, "limit") for domain in role] for role in (sources, targets)]
    source, target = _features(model, some, device, watch)
    enough = min(len(source), len(target)) >= FEWEST
    test = mmd_test(source, target, seed=seed) if enough else None
    labels = _label_evidence(some[0], targets, source, target) if enough else _LabelEvidence()
    return Evidence(
        modality=backbone.modality,
        source=sum(map(len, sources)),
        target=sum(map(len, targets)),
        seen=(len(source), len(target)),
        labelled=sum(len(domain) for domain in targets if domain.labels is not None),
        accuracy=labels.accuracy,
        a_distance=proxy_a_distance(source, target, seed) if enough else None,
        mmd=None if test is None else test.squared,
        p_value=None if test is None else test.p_value,
        label_shift=labels.shift,
        estimated=labels.estimated,
        batch_norm=any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()),
    )


def _features(
    model: Model, roles: Sequence[Sequence[Domain]], device: torch.device, watch: Watch
) -> list[torch.Tensor]:
    """`[examples, width]` of every role: what the head would read of its domains, one after the other."""
    found, done = [], 0
    watch.started("features", sum(len(domain) for role in roles for domain in role), 0)
    try:
        for role in roles:
            seen = []
            for domain in role:

                def tell(here: int, before: int = done) -> None:
                    watch.progress(before + here, 1, {})

                seen.append(outputs(model, domain, device, workers("auto", device), tell=tell).features)
                done += len(domain)
            found.append(torch.cat(seen))
    finally:
        watch.stopped()
    return found


@dataclass(frozen=True)
class _LabelEvidence:
    """What `Evidence` says of labels; nothing where the source's are not one class for every example."""

    accuracy: float | None = None
    shift: float | None = None
    estimated: bool = False


def _label_evidence(
    sources: Sequence[Domain], targets: Sequence[Domain], source: torch.Tensor, target: torch.Tensor
) -> _LabelEvidence:
    """From features of sources and targets; label shares of targets that show labels are counted."""
    if not all(_one_class(domain) for domain in sources):
        return _LabelEvidence()
    joint = torch.cat([_labels(domain) for domain in sources])
    known, labels = joint.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    if len(known) < 2 or int(labels.bincount().min()) < 2:
        return _LabelEvidence()
    counted = all(_one_class(domain) for domain in targets)
    theirs = _counted(targets, known) if counted else label_shares(source, labels, target, len(known))
    shift = None if theirs is None else total_variation(labels.bincount() / len(labels), theirs)
    return _LabelEvidence(accuracy(source, labels), shift, not counted)


def _one_class(domain: Domain) -> bool:
    """Whether the domain shows one class for every example."""
    return domain.labels is not None and one_class_each(domain.labels)


def _labels(domain: Domain) -> torch.Tensor:
    assert domain.labels is not None
    return domain.labels


def _counted(domains: Sequence[Domain], known: torch.Tensor) -> torch.Tensor:
    """The shares of these classes in labelled domains."""
    labels = torch.cat([_labels(domain) for domain in domains])
    counts = (labels[:, None] == known).sum(0).double()
    return counts / counts.sum().clamp(min=1)
