"""What a run is made of, as its YAML file says it.

Everything that can be wrong with a manifest is told at once, before data or weights are touched.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, PrivateAttr, ValidationError

from tlhub.catalog import Catalog
from tlhub.checking import check
from tlhub.diagnostics import Position, Problem, closest, in_order, quoted
from tlhub.errors import ManifestError
from tlhub.faults import STRICT, Fault, Location, as_json, faults
from tlhub.overrides import override
from tlhub.parts import ROLES, DomainPart, EvaluatePart, Name, Part, TargetPart
from tlhub.yaml_tree import MAX_DEPTH, Node, dump, error_at, read_file, read_text

Share = Annotated[float, Field(ge=0)]

Baseline = Literal["source_only", "scratch", "target_only"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Baselines = Annotated[
    list[Baseline], Field(min_length=1), BeforeValidator(_as_list, json_schema_input_type=Baseline | list[Baseline])
]


class Train(BaseModel):
    """How to train."""

    model_config = STRICT

    epochs: Annotated[int, Field(gt=0)] = Field(default=10, description="How often training goes through the data.")
    steps_per_epoch: Annotated[int, Field(gt=0)] | None = Field(
        default=None,
        description="Optimizer steps in an epoch; null: as many as the largest source has batches.",
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
        description="Whether batch normalization sees all domains of a step together, or sources and targets apart.",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`auto`: bf16 on a GPU that computes in it, else fp32."
    )
    seed: Annotated[int, Field(ge=0)] = Field(default=0, description="Everything random follows from it.")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto", description="Processes that load data; results do not depend on it."
    )
    patience: Annotated[int, Field(gt=0)] | None = Field(
        default=None, description="Epochs without a better selection score before training stops; needs `select`."
    )
    validation: Annotated[float, Field(gt=0, le=0.5)] = Field(
        default=0.1,
        description="Share of the labelled examples held out for `select`: the source's, or shown ones of the target.",
    )
    checkpoint_every: Annotated[int, Field(gt=0)] | None = Field(
        default=None,
        description="Steps between checkpoints; null: at the end of an epoch, where the last is half a minute old.",
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
    baseline: Baselines = Field(
        default=["source_only"],
        description="What else to train, to compare with: `source_only`, without the target; `scratch`, from random "
        "weights; `target_only`, with the target's labels: the ceiling.",
    )
    train: Train = Field(default=Train(), description="How to train.")

    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    @property
    def file(self) -> str:
        """The file the manifest was read from, or what the caller named it."""
        return self._origin.file

    @property
    def title(self) -> str:
        """The run's name: as written, or its file's, or its folder's where the file is just `manifest.yaml`."""
        if self.name:
            return self.name
        path = Path(self.file or "run")
        stem = path.resolve().parent.name if path.stem == "manifest" and path.suffix else path.stem
        return stem or "run"

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


def of(
    given: str | os.PathLike[str] | Mapping[str, Any] | Manifest, overrides: Sequence[str], catalog: Catalog
) -> Manifest:
    """The manifest in a file, or what one would hold, checked. Raises ManifestError with all that is wrong."""
    if isinstance(given, Manifest):
        given = given.as_dict()
    return from_dict(given, overrides, catalog) if isinstance(given, Mapping) else load(given, overrides, catalog)


def _build(tree: Node, file: str, overrides: Sequence[str], catalog: Catalog | None) -> Manifest:
    """The manifest of a tree; raises ManifestError with all problems, given a catalog those of the components too."""
    if tree.value is None:
        raise ManifestError([Problem("the manifest is empty", file, hint="`tlhub init` writes one to start from")])
    if not isinstance(tree.value, dict):
        found = "a list" if isinstance(tree.value, list) else "a single value"
        raise error_at(
            tree.position, f"a manifest is a mapping, this is {found}", "it begins with a key, such as `backbone:`"
        )
    for text in overrides:
        override(tree, text)
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
    problems += check(manifest, catalog, {fault.location[0] for fault in found_faults if fault.location}, unusable)
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
        role = ROLES.get(key)
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
    role = ROLES.get(str(location[0])) if location else None
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
    return Problem.at(tree.place(location, key=fault.kind != "wrong"), message, hint)


def _python_tree(value: Any, path: str = "manifest", depth: int = 0) -> Node:
    """A tree of Python data, whose positions name the keys that lead to a value."""
    position = Position(path)
    if depth > MAX_DEPTH:
        raise error_at(position, f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise error_at(position, f"a key is text, found {quoted(repr(wrong[0]))}")
        children = {key: _python_tree(child, f"{path}.{key}", depth + 1) for key, child in value.items()}
        return Node(children, position, {key: child.position for key, child in children.items()})
    if isinstance(value, (list, tuple)):
        return Node(
            [_python_tree(child, f"{path}.{number}", depth + 1) for number, child in enumerate(value)], position
        )
    try:
        as_json(value)
    except ValueError:
        raise error_at(position, f"a manifest cannot hold {quoted(repr(value))}") from None
    return Node(str(value) if isinstance(value, Path) else value, position)
