"""What a run is made of, as its YAML file says it.

Everything that can be wrong with a manifest is told at once, before data or weights are touched.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from tlhub.catalog import Catalog, Entry, Kind
from tlhub.diagnostics import Position, Problem, closest, in_order, listed, quoted
from tlhub.errors import ManifestError, SettingError, UserError
from tlhub.settings import STRICT, Fault, Location, as_json, check_settings, create, describe, faults, model
from tlhub.splits import parse_split
from tlhub.yaml_tree import MAX_DEPTH, Node, dump, read_file, read_text


def _checked_split(text: str) -> str:
    parse_split(text)
    return text


Name = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(ge=0)]


class Part(BaseModel):
    """A component by name; every other key is a setting of it."""

    model_config = ConfigDict({**STRICT, "extra": "allow"})

    use: Name = Field(description="Name of the component, or `plugin/name` where two plugins offer that name.")

    @property
    def settings(self) -> dict[str, Any]:
        """The component's own settings, as given."""
        return dict(self.model_extra or {})


class DomainPart(Part):
    """A data set in a role."""

    labels: Literal["all", "none"] = Field(
        default="all",
        description="Whether labels are shown; hidden ones are never read.",
    )
    split: Annotated[str, AfterValidator(_checked_split)] | None = Field(
        default=None, description="Which examples: `train`, `test[:100]`, `train[:10%]`, `train+validation`."
    )
    classes: dict[str, str | None] | None = Field(
        default=None, description="The data set's class name to the run's name for it; null leaves its examples out."
    )
    test_ratio: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.2,
        description="Share of the split `test`, where the data set has no splits of its own.",
    )
    split_seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Seed of the split made by `test_ratio`.")


class TargetPart(DomainPart):
    """A data set to adapt to; its labels are hidden unless the manifest shows them."""

    labels: Literal["all", "none"] = Field(
        default="none", description="Whether labels are shown; hidden ones are never read."
    )


class EvaluatePart(DomainPart):
    """Labelled examples for the final score, opened after training."""

    labels: Literal["all"] = Field(default="all", description="A score needs the labels.")


class Train(BaseModel):
    """How to train."""

    model_config = STRICT

    epochs: Annotated[int, Field(gt=0)] = Field(default=10, description="How often training goes through the data.")
    steps_per_epoch: Annotated[int, Field(gt=0)] | None = Field(
        default=None,
        description="Optimizer steps in an epoch; null: what the largest labelled domain has.",
    )
    batch: Annotated[int, Field(gt=0)] = Field(default=32, description="Examples of every domain in one step.")
    lr: Annotated[float, Field(gt=0)] = Field(
        default=1e-3, description="Learning rate of what is new, such as the head."
    )
    backbone_lr: Share | Annotated[list[Share], Field(min_length=1)] = Field(
        default=0.1,
        description="The backbone's learning rate as a fraction of `lr`; a list has one a stage, from the input.",
    )
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="`sgd` is with Nesterov momentum.")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.9, description="Momentum of `sgd`.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=1e-4, description="Decay of the weights.")
    schedule: Literal["constant", "cosine", "dann"] = Field(default="cosine", description="How `lr` falls.")
    warmup: Annotated[int, Field(ge=0)] = Field(default=0, description="Steps in which the learning rate rises from 0.")
    clip: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Largest norm of the gradient.")
    accumulate: Annotated[int, Field(gt=0)] = Field(
        default=1, description="Parts in which a batch is computed, to save memory."
    )
    batch_norm: Literal["joint", "separate"] = Field(
        default="joint",
        description="Whether batch normalization sees the domains together or each for itself.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`auto`: bf16 where the hardware has it."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Everything random follows from it.")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="Processes that load data; results do not depend on it."
    )
    patience: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Epochs without a better selection score before training stops; needs `select`."
    )
    validation: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.1, description="Share of every labelled source that is held out for the score of `select`."
    )
    checkpoint_every: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Steps between checkpoints; null: one at the end of every epoch."
    )


@dataclass(frozen=True)
class _Origin:
    """Where a manifest was read; manifests that say the same are equal, wherever they were read."""

    file: str = field(default="", compare=False)
    tree: Node = field(default_factory=lambda: Node({}, Position("manifest")), compare=False)


class Manifest(BaseModel):
    """A run, as its author wrote it: equal to another that says the same.

    A part may be written as a bare name, and a single domain without a list; here they are always parts and lists.
    """

    model_config = STRICT

    name: Name | None = Field(default=None, description="Name of the run.")
    backbone: Part = Field(description="The pretrained network.")
    source: list[DomainPart] = Field(default=[], description="Labelled data to learn from: one data set or a list.")
    target: list[TargetPart] = Field(default=[], description="Data to adapt to, labels hidden: one data set or a list.")
    evaluate: list[EvaluatePart] = Field(default=[], description="Labelled data for the final score.")
    task: Part | None = Field(default=None, description="What the head answers; null: what fits the labels.")
    adapters: list[Part] = Field(default=[], description="Methods of transfer; they add up.")
    select: Part | None = Field(default=None, description="How to choose an epoch; null: the last one.")
    train: Train = Field(default=Train(), description="How to train.")

    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @property
    def file(self) -> str:
        """The file the manifest was read from, or what the caller named it."""
        return self._origin.file

    @property
    def tree(self) -> Node:
        """What was read, with the position of every key and value."""
        return self._origin.tree

    def as_dict(self) -> dict[str, Any]:
        """The manifest as plain data, defaults of the core written out; `from_dict` makes an equal one of it."""
        written = self.model_dump(mode="json")
        return {key: value for key, value in written.items() if value not in (None, [])}

    def as_yaml(self) -> str:
        """The manifest as YAML; `loads` makes an equal one of it."""
        return dump(self.as_dict())


def load(path: str | os.PathLike[str], overrides: Sequence[str] = (), catalog: Catalog | None = None) -> Manifest:
    """The manifest in a YAML file.

    Args:
        path: the file.
        overrides: changes such as `train.lr=1e-4` or `adapters.0.strength=2`; values are YAML.
        catalog: where given, components and their settings are checked too, and all problems are told at once.

    Raises ManifestError with everything that is wrong.
    """
    return _build(read_file(Path(path)), os.fspath(path), overrides, catalog)


def loads(
    text: str, file: str = "manifest.yaml", overrides: Sequence[str] = (), catalog: Catalog | None = None
) -> Manifest:
    """The manifest in a YAML text, as `load`; problems name `file`. Raises ManifestError with all that is wrong."""
    return _build(read_text(text, file), file, overrides, catalog)


def from_dict(data: Mapping[str, Any], overrides: Sequence[str] = (), catalog: Catalog | None = None) -> Manifest:
    """The manifest in a mapping, as `load`; problems name the key. Raises ManifestError with all that is wrong."""
    return _build(_python_tree(data), "manifest", overrides, catalog)


def ensure_valid(manifest: Manifest, catalog: Catalog) -> None:
    """Raise ManifestError with everything that `check` finds."""
    problems = check(manifest, catalog)
    if problems:
        raise ManifestError(problems)


def check(manifest: Manifest, catalog: Catalog) -> list[Problem]:
    """Everything that is wrong with a manifest for the components of a catalog, in the order of the file.

    Adapters, tasks, validators and data sets are constructed, which touches no data.
    """
    return in_order([*_rule_problems(manifest), *_component_problems(manifest, catalog)])


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """A JSON Schema (2020-12) of manifests with the components of a catalog, for editors to complete and check them."""
    definitions: dict[str, Any] = {}
    properties: dict[str, Any] = Manifest.model_json_schema()["properties"]
    properties["train"] = {"anyOf": [Train.model_json_schema(), {"type": "null"}]}
    for name, role in _ROLES.items():
        definitions[name] = _part_schema(name, catalog, definitions)
        allowed: list[dict[str, Any]] = [{"$ref": f"#/$defs/{name}"}]
        if role.many:
            allowed.append({"type": "array", "items": allowed[0]})
        if not Manifest.model_fields[name].is_required():
            allowed.append({"type": "null"})
        properties[name] = {"anyOf": allowed, "description": Manifest.model_fields[name].description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tlhub manifest",
        "type": "object",
        "properties": properties,
        "required": ["backbone"],
        "anyOf": [{"required": ["source"]}, {"required": ["target"]}],
        "additionalProperties": False,
        "$defs": definitions,
    }


class _Role(NamedTuple):
    """What a key of the manifest names."""

    kind: Kind
    part: type[Part]
    many: bool = False


_ROLES = {
    "backbone": _Role("backbones", Part),
    "source": _Role("datasets", DomainPart, many=True),
    "target": _Role("datasets", TargetPart, many=True),
    "evaluate": _Role("datasets", EvaluatePart, many=True),
    "task": _Role("tasks", Part),
    "adapters": _Role("adapters", Part, many=True),
    "select": _Role("validators", Part),
}


def _build(tree: Node, file: str, overrides: Sequence[str], catalog: Catalog | None) -> Manifest:
    """The manifest of a tree; raises ManifestError with all problems, given a catalog those of the components too."""
    if tree.value is None:
        raise ManifestError([Problem("the manifest is empty", file, hint="`tlhub init` writes one to start from")])
    if not isinstance(tree.value, dict):
        found = "a list" if isinstance(tree.value, list) else "a single value"
        raise _error(
            tree.position, f"a manifest is a mapping, this is {found}", "it begins with a key, such as `backbone:`"
        )
    for text in overrides:
        _override(tree, text)
    problems = _respell(tree)
    data = _normalised(tree.plain())
    found_faults = faults(Manifest, data, "the manifest")
    problems += [_core_problem(tree, fault) for fault in found_faults]
    unusable = _without(data, found_faults)
    try:
        manifest = Manifest.model_validate_json(as_json(data))
    except ValidationError:
        if not problems:
            raise
        raise ManifestError(in_order(problems)) from None  # more is wrong than was told of
    manifest._origin = _Origin(file, tree)
    problems += _rule_problems(manifest, {fault.location[0] for fault in found_faults if fault.location})
    if catalog is not None:
        problems += _component_problems(manifest, catalog, unusable)
    if problems:
        raise ManifestError(in_order(problems))
    return manifest


def _respell(tree: Node) -> list[Problem]:
    """Correct misspelt keys at the top, so that what stands under them is checked too."""
    problems = []
    for key in [key for key in tree.value if key not in Manifest.model_fields and key not in Train.model_fields]:
        meant = closest(key, Manifest.model_fields)
        if meant and meant not in tree.value:
            message = f"unknown setting {quoted(key)} of the manifest"
            problems.append(Problem.at(tree.keys[key], message, f"did you mean `{meant}`?"))
            tree.value[meant], tree.keys[meant] = tree.value.pop(key), tree.keys.pop(key)
    return problems


def _normalised(data: dict[str, Any]) -> dict[str, Any]:
    """The manifest with parts for bare names, lists where several may stand, and without keys that have no value."""
    shaped = {}
    for key, value in data.items():
        role = _ROLES.get(key)
        if role and role.many and value is not None:
            shaped[key] = [_as_part(item) for item in (value if isinstance(value, list) else [value])]
        elif value is not None or key not in Manifest.model_fields:
            shaped[key] = _as_part(value) if role else value
    return shaped


def _as_part(value: Any) -> Any:
    return {"use": value} if isinstance(value, str) else value


def _without(data: dict[str, Any], found: Iterable[Fault]) -> set[Location]:
    """Replace or take out what is wrong, so that the rest can be checked; gives the parts that name no component."""
    nameless: set[Location] = set()
    for location in (fault.location for fault in found):
        depth = _depth(location)
        if location in ((), ("backbone",)):
            nameless.add(("backbone",))
        elif depth and (len(location) == depth or location[depth:] == ("use",)):
            nameless.add(location[:depth])
        else:
            _take_out(data, location)
    for location in nameless:
        _put(data, location, {"use": "nameless"})
    return nameless


def _depth(location: Location) -> int:
    """How long the location of the part is that holds this one; 0 where it is in no part."""
    role = _ROLES.get(str(location[0])) if location else None
    return 0 if role is None or len(location) < 1 + role.many else 1 + role.many


def _take_out(data: dict[str, Any], location: Location) -> None:
    """Remove the innermost key of a location, with all of its value."""
    last = max(number for number, step in enumerate(location) if isinstance(step, str))
    holder: Any = data
    for step in location[:last]:
        holder = holder.get(step, {}) if isinstance(step, str) else holder[step]
    holder.pop(location[last], None)


def _put(data: dict[str, Any], location: Location, value: Any) -> None:
    holder: Any = data
    for step in location[:-1]:
        holder = holder[step]
    holder[location[-1]] = value


def _core_problem(tree: Node, fault: Fault) -> Problem:
    """A fault in what the core itself reads, with its place."""
    location, message, hint = fault.location, fault.message, fault.hint
    depth = _depth(location)
    if depth and fault.kind == "missing":
        message = f"{message.partition(' needs ')[0]} does not say which component it is"
        hint = hint or "add `use: NAME`"
    elif fault.kind == "missing":
        hint = hint or "add `backbone: {use: NAME}`"
    elif fault.kind == "unknown" and len(location) == 1 and location[0] in Train.model_fields:
        hint = f"`{location[0]}` belongs under `train`"
    if depth == 2 and not isinstance(tree.value[location[0]].value, list):
        message = message.replace(f"`{location[0]}.0", f"`{location[0]}", 1)  # written without a list
    return Problem.at(_place(tree, location, key=fault.kind != "wrong"), message, hint)


def _rule_problems(manifest: Manifest, wrong: Collection[str | int] = ()) -> list[Problem]:
    """What is wrong between the keys of the core; nothing is said of keys that are wrong themselves."""
    tree = manifest.tree
    problems = []
    domains = [*manifest.source, *manifest.target]
    if not any(domain.labels == "all" for domain in domains) and not {"source", "target"} & set(wrong):
        place = _place(tree, ("source",) if manifest.source else ("target",), key=True)
        hint = "add a `source`, or a `target` with `labels: all`"
        problems.append(Problem.at(place, "there are no labels to learn from", hint))
    if manifest.train.patience is not None and manifest.select is None and "select" not in wrong:
        hint = "add `select`, or remove `patience`"
        message = "`patience` waits for a better selection score, but there is no `select`"
        problems.append(Problem.at(_place(tree, ("train", "patience"), key=True), message, hint))
    return problems


@dataclass(frozen=True)
class _Made:
    """A component of the manifest that could be made; a backbone stays a class, since making one takes time."""

    location: Location
    use: str
    component: Any


def _component_problems(manifest: Manifest, catalog: Catalog, nameless: Collection[Location] = ()) -> list[Problem]:
    """What is wrong with the components, each for itself and then together."""
    problems: list[Problem] = []
    made: dict[str, list[_Made]] = {role: [] for role in _ROLES}
    for role, location, part in _parts(manifest):
        if location in nameless:
            continue
        try:
            entry = catalog.find(_ROLES[role].kind, part.use)
        except UserError as error:
            problems.append(Problem.at(_place(manifest.tree, (*location, "use")), error.message, error.hint))
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
    problems += _unmet_needs(manifest, made["adapters"])
    problems += _mismatches(manifest, catalog, made)
    in_rounds = [each for each in made["adapters"] if each.component.rounds > 1]
    for each in in_rounds[1:]:
        message = (
            f"{quoted(in_rounds[0].use)} and {quoted(each.use)} both train in rounds; only one adapter of a run may"
        )
        problems.append(Problem.at(_place(manifest.tree, (*each.location, "use")), message, "remove one of them"))
    return problems


def _parts(manifest: Manifest) -> Iterator[tuple[str, Location, Part]]:
    """Every part with its role and location."""
    for role in _ROLES:
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
        problems.append(Problem.at(_place(tree, at, key=fault.kind == "unknown"), fault.message, hint))
    return problems


def _refusal(tree: Node, location: Location, part: Part, error: UserError) -> Problem:
    """What a constructor raised, at the setting it names."""
    message, step = error.message, "use"
    if isinstance(error, SettingError):
        message = f"`{error.setting}` of {quoted(part.use)}: {error.message}"
        step = error.setting if error.setting in part.settings else "use"
    return Problem.at(_place(tree, (*location, step)), message, error.hint)


def _unmet_needs(manifest: Manifest, adapters: Iterable[_Made]) -> Iterator[Problem]:
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
    for each in adapters:
        for need in sorted(each.component.needs):
            if not met[need.name]:
                place = _place(manifest.tree, (*each.location, "use"))
                yield Problem.at(place, f"{quoted(each.use)} needs {need.value}", mend[need.name])


def _mismatches(manifest: Manifest, catalog: Catalog, made: Mapping[str, Sequence[_Made]]) -> Iterator[Problem]:
    """Data sets and adapters that are not for what the backbone reads."""
    for backbone in made["backbone"]:
        reads = backbone.component.modality
        for each in [*made["source"], *made["target"], *made["evaluate"]]:
            place = _place(manifest.tree, (*each.location, "use"))
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
                yield Problem.at(_place(manifest.tree, (*each.location, "use")), message)


def _place(tree: Node, location: Location, key: bool = False) -> Position:
    """Where the value of a location stands, or its key; where the location ends early, what is there."""
    node, position = tree, tree.position
    for step in location:
        if isinstance(node.value, dict) and step in node.value:
            position = node.keys[str(step)] if key else node.value[step].position
            node = node.value[step]
        elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            position = node.position
        elif isinstance(step, str):
            break
    return position


def _override(tree: Node, text: str) -> None:
    """Change the tree as `--set` asks; raises ManifestError where the text is no change or finds no place."""
    position = Position(f"--set {text}")
    path, equals, value = text.partition("=")
    steps = path.strip().split(".")
    if not equals or not all(steps):
        raise _error(position, "this is not a change", "write it like `train.lr=1e-4`")
    try:
        new = _moved(read_text(value, position.file), position)
    except ManifestError as error:
        raise ManifestError([Problem(each.message, position.file, hint=each.hint) for each in error.problems]) from None
    node = tree
    for number, step in enumerate(steps):
        here = quoted(".".join(steps[:number]))
        child: Node | None
        if isinstance(node.value, list):
            if not step.isdecimal() or int(step) >= len(node.value):
                count = f"a list of {len(node.value)}, counted from 0"
                raise _error(position, f"{here} is {count}: there is no {quoted(step)} in it")
            child = node.value[int(step)]
        elif isinstance(node.value, dict):
            child = node.value.get(step)
            if child is None or number == len(steps) - 1:
                node.keys[step] = position
        else:
            raise _error(position, f"{here} is a single value, there is no {quoted(step)} in it")
        last = number == len(steps) - 1
        if last or child is None or child.value is None:
            child = new if last else Node({}, position)
        elif isinstance(child.value, str) and steps[0] in _ROLES:
            child = Node({"use": child}, child.position, {"use": child.position})  # a bare name gets settings
        if isinstance(node.value, list):
            node.value[int(step)] = child
        else:
            node.value[step] = child
        node = child


def _moved(node: Node, position: Position) -> Node:
    """The same values, all at one position."""
    if isinstance(node.value, dict):
        children = {key: _moved(child, position) for key, child in node.value.items()}
        return Node(children, position, dict.fromkeys(children, position))
    return Node(
        [_moved(child, position) for child in node.value] if isinstance(node.value, list) else node.value, position
    )


def _python_tree(value: Any, path: str = "manifest", depth: int = 0) -> Node:
    """A tree of Python data, whose positions name the keys that lead to a value."""
    position = Position(path)
    if depth > MAX_DEPTH:
        raise _error(position, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise _error(position, f"a key is text, found {quoted(repr(wrong[0]))}")
        children = {key: _python_tree(child, f"{path}.{key}", depth + 1) for key, child in value.items()}
        return Node(children, position, {key: child.position for key, child in children.items()})
    if isinstance(value, (list, tuple)):
        return Node(
            [_python_tree(child, f"{path}.{number}", depth + 1) for number, child in enumerate(value)], position
        )
    try:
        as_json(value)
    except ValueError:
        raise _error(position, f"a manifest cannot hold {quoted(repr(value))}") from None
    return Node(str(value) if isinstance(value, Path) else value, position)


def _part_schema(role_name: str, catalog: Catalog, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a part: a bare name, or a mapping whose keys depend on `use`; every component gets a definition."""
    role = _ROLES[role_name]
    entries = catalog.entries(role.kind)
    names = [entry.name for entry in entries]
    core = role.part.model_json_schema()["properties"]
    without_settings, every_use, branches = [], [], []
    for entry in entries:
        uses = [entry.name] if names.count(entry.name) == 1 else []
        uses.append(f"{entry.plugin}/{entry.name}")
        key = f"{role_name}.{entry.plugin}.{entry.name}"
        settings = model(entry.cls).model_json_schema(ref_template=f"#/$defs/{key}.{{model}}")
        definitions |= {f"{key}.{inner}": schema for inner, schema in settings.pop("$defs", {}).items()}
        definitions[key] = {
            "description": describe(entry.cls).summary,
            "properties": {**core, **settings.get("properties", {})},
            "required": ["use", *settings.get("required", [])],
            "additionalProperties": False,
        }
        every_use += uses
        without_settings += [] if settings.get("required") else uses
        branches.append(
            {"if": {"properties": {"use": {"enum": uses}}, "required": ["use"]}, "then": {"$ref": f"#/$defs/{key}"}}
        )
    mapping = {"type": "object", "properties": {"use": {"enum": every_use}}, "required": ["use"], "allOf": branches}
    return {"anyOf": [{"enum": without_settings}, mapping if branches else False]}


def _error(position: Position, message: str, hint: str | None = None) -> ManifestError:
    return ManifestError([Problem.at(position, message, hint)])
