"""What is wrong with a manifest that can be read: between its keys, and with the components it names."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tlhub.catalog import Catalog, Entry
from tlhub.diagnostics import Problem, closest, in_order, listed, quoted
from tlhub.errors import SettingError, UserError
from tlhub.faults import Location
from tlhub.parts import ROLES, Part
from tlhub.settings import check_settings, create
from tlhub.yaml_tree import Node

if TYPE_CHECKING:
    from tlhub.manifest import Manifest


def check(
    manifest: Manifest,
    catalog: Catalog | None,
    wrong: Collection[str | int] = (),
    nameless: Collection[Location] = (),
) -> list[Problem]:
    """Everything that is wrong with a manifest for the components of a catalog, in the order of the file.

    Adapters, tasks, validators and data sets are constructed, which touches no data.

    Args:
        catalog: where None, components are not looked at.
        wrong: keys at the top that are known to be wrong; nothing is said between them and others.
        nameless: parts that are known to name no component; nothing is said of them.
    """
    problems = _rule_problems(manifest, wrong)
    if catalog is not None:
        problems += _component_problems(manifest, catalog, nameless)
    return in_order(problems)


def _rule_problems(manifest: Manifest, wrong: Collection[str | int]) -> list[Problem]:
    """What is wrong between the keys of the core; nothing is said of keys that are wrong themselves."""
    tree = manifest.tree
    problems = []
    domains = [*manifest.source, *manifest.target]
    if not any(domain.labels == "all" for domain in domains) and not {"source", "target"} & set(wrong):
        place = tree.place(("source",) if manifest.source else ("target",), key=True)
        hint = "add a `source`, or a `target` with `labels: all`"
        problems.append(Problem.at(place, "there are no labels to learn from", hint))
    if manifest.train.patience is not None and manifest.select is None and "select" not in wrong:
        hint = "add `select`, or remove `patience`"
        message = "`patience` waits for a better selection score, but there is no `select`"
        problems.append(Problem.at(tree.place(("train", "patience"), key=True), message, hint))
    return problems


@dataclass(frozen=True)
class _Made:
    """A component of the manifest that could be made; a backbone stays a class, since making one takes time."""

    location: Location
    use: str
    component: Any


def _component_problems(manifest: Manifest, catalog: Catalog, nameless: Collection[Location]) -> list[Problem]:
    """What is wrong with the components, each for itself and then together."""
    problems: list[Problem] = []
    made: dict[str, list[_Made]] = {role: [] for role in ROLES}
    for role, location, part in _parts(manifest):
        if location in nameless:
            continue
        try:
            entry = catalog.find(ROLES[role].kind, part.use)
        except UserError as error:
            problems.append(Problem.at(manifest.tree.place((*location, "use")), error.message, error.hint))
            continue
        found = _setting_problems(manifest.tree, location, part, entry)
        component = entry.cls
        if not found and role != "backbone":
            try:
                component = create(entry.cls, part.settings)
            except UserError as error:
                found = [_refusal(manifest.tree, location, part, error)]
        problems += found
        made[role].append(_Made(location, part.use, component))
    problems += _unmet_needs(manifest, [*made["adapters"], *made["select"]])
    problems += _mismatches(manifest, catalog, made)
    in_rounds = [each for each in made["adapters"] if each.component.rounds > 1]
    for each in in_rounds[1:]:
        message = (
            f"{quoted(in_rounds[0].use)} and {quoted(each.use)} both train in rounds; only one adapter of a run may"
        )
        problems.append(Problem.at(manifest.tree.place((*each.location, "use")), message, "remove one of them"))
    return problems


def _parts(manifest: Manifest) -> Iterator[tuple[str, Location, Part]]:
    """Every part with its role and location."""
    for role in ROLES:
        value = getattr(manifest, role)
        if isinstance(value, list):
            yield from ((role, (role, number), part) for number, part in enumerate(value))
        elif value is not None:
            yield role, (role,), value


def _setting_problems(tree: Node, location: Location, part: Part, entry: Entry) -> list[Problem]:
    problems = []
    for fault in check_settings(entry.cls, part.settings):
        hint = fault.hint
        at = (*location, *fault.location)
        if fault.kind == "missing":
            at = (*location, "use")
        elif fault.kind == "unknown":
            near = closest(str(fault.location[0]), type(part).model_fields)
            hint = f"did you mean `{near}`?" if near and not (hint or "").startswith("did you mean") else hint
        problems.append(Problem.at(tree.place(at, key=fault.kind == "unknown"), fault.message, hint))
    return problems


def _refusal(tree: Node, location: Location, part: Part, error: UserError) -> Problem:
    """What a constructor raised, at the setting it names."""
    message, step = error.message, "use"
    if isinstance(error, SettingError):
        message = f"`{error.setting}` of {quoted(part.use)}: {error.message}"
        step = error.setting if error.setting in part.settings else "use"
    return Problem.at(tree.place((*location, step)), message, error.hint)


def _unmet_needs(manifest: Manifest, components: Iterable[_Made]) -> Iterator[Problem]:
    met = {
        "SOURCE": any(domain.labels == "all" for domain in manifest.source),
        "TARGET": bool(manifest.target),
        "TARGET_LABELS": any(domain.labels == "all" for domain in manifest.target),
    }
    mend = {
        "SOURCE": "show the labels of a `source`" if manifest.source else "add a `source`",
        "TARGET": "add a `target`",
        "TARGET_LABELS": "write `labels: all` in the `target`"
        if manifest.target
        else "add a `target` with `labels: all`",
    }
    for each in components:
        for need in sorted(each.component.needs):
            if not met[need.name]:
                place = manifest.tree.place((*each.location, "use"))
                yield Problem.at(place, f"{quoted(each.use)} needs {need.value}", mend[need.name])


def _mismatches(manifest: Manifest, catalog: Catalog, made: Mapping[str, Sequence[_Made]]) -> Iterator[Problem]:
    """Data sets and adapters that are not for what the backbone reads."""
    for backbone in made["backbone"]:
        reads = backbone.component.modality
        if not reads:  # known once the run is put together
            continue
        for each in [*made["source"], *made["target"], *made["evaluate"]]:
            place = manifest.tree.place((*each.location, "use"))
            try:
                gives = getattr(each.component, "modality", None)
            except UserError as error:  # it may follow from what the data set is told to read
                yield Problem.at(place, error.message, error.hint)
                continue
            if isinstance(gives, str) and gives != reads:
                readers = [entry.name for entry in catalog.entries("backbones") if entry.cls.modality == gives]
                hint = f"backbones for {gives}: {listed(readers)}" if readers else None
                message = f"{quoted(each.use)} gives {gives}, but the backbone {quoted(backbone.use)} reads {reads}"
                yield Problem.at(place, message, hint)
        for each in made["adapters"]:
            fits = each.component.modalities
            if fits is not None and reads not in fits:
                name = quoted(backbone.use)
                message = (
                    f"{quoted(each.use)} is for {' and '.join(sorted(fits))}, but the backbone {name} reads {reads}"
                )
                yield Problem.at(manifest.tree.place((*each.location, "use")), message)
