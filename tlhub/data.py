"""Data sets, and the domains they play in a run: which examples, and whether their labels may be seen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from tlhub.component import Component
from tlhub.errors import DataError
from tlhub.ragged import Ragged, padded
from tlhub.randomness import permutation
from tlhub.splits import parse_split, select_rows

if TYPE_CHECKING:
    from tlhub.backbone import Preprocess
    from tlhub.parts import DomainPart

Role = Literal["source", "target", "evaluate"]

NO_LABEL = -100
"""In the place of a class number: there is no word here, or none that counts; what torch's losses ignore."""


@dataclass(frozen=True)
class Examples:
    """One split of a data set.

    Attributes:
        inputs: raw inputs (PIL images, texts, vectors), decoded when they are asked for. One that cannot be read
            raises a DataError naming its file or row.
        labels: None where the data set was opened without labels. Otherwise the form tells what they are.
            `[examples]` whole: the number of every example's class. `[examples, longest]` whole: the number of every
            word's class, and `NO_LABEL` where an example has no word. `[examples, classes]` floating: 1 where an
            example is of a class, else 0. `[examples]` floating: a number to be predicted.
        classes: the class names the labels count through, or None.
        fingerprint: changes when the examples change.
        where: names an example for the user, such as its file.
        task: the component that fits the labels.
        notes: what the user should hear of the examples, such as how many there are twice.
    """

    inputs: Sequence[Any]
    labels: Sequence[int] | Tensor | None
    classes: tuple[str, ...] | None
    fingerprint: str
    where: Callable[[int], str]
    task: str = "classification"
    notes: tuple[str, ...] = ()


class Dataset(Component, ABC):
    """Examples with class names; `open` is where anything is read, the constructor only takes note of the settings."""

    modality: str

    @abstractmethod
    def splits(self) -> Sequence[str]:
        """Names of the splits of the data set; empty where it has none. Raises DataError where nothing is there."""

    @abstractmethod
    def open(self, split: str | None, labels: bool) -> Examples:
        """The examples of a split (None: of a data set without splits).

        With `labels` false the labels are not read at all, so that nothing trained on the result can know them.
        """

    def class_names(self) -> tuple[str, ...] | None:
        """The class names that the data set declares, read without any example's label; None where it declares none.

        May raise DataError where it is plain without reading any that there are no labels.
        """
        return None


@dataclass(eq=False)
class Domain:
    """A data set in a role.

    Attributes:
        key: the domain's place in the manifest, such as `source` or `target.1`; part of the seed of its order.
        rows: positions of the domain's examples in `examples`.
        labels: one for each of `rows`, in the form that `Examples` describes, or None where labels are hidden.
        classes: the class names that `labels` count through, or None where labels are hidden or numbers.
    """

    key: str
    role: Role
    examples: Examples
    rows: Tensor
    labels: Tensor | None
    classes: tuple[str, ...] | None
    _stored: dict[Any, Tensor | Ragged] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, index: int) -> Any:
        """The raw input of the domain's example number `index`."""
        return self.examples.inputs[int(self.rows[index])]

    def where(self, index: int) -> str:
        """Names example number `index` for the user."""
        return self.examples.where(int(self.rows[index]))

    def store(self, preprocess: Preprocess, make: Callable[[], Tensor | Ragged]) -> Tensor | Ragged:
        """All examples as `preprocess` makes them, made once for runs that share this domain and preprocess alike."""
        if preprocess not in self._stored:
            self._stored = {preprocess: make()}  # one is kept: two preprocessings of a large domain would not fit
        return self._stored[preprocess]

    def hold_out(self, share: float, seed: int) -> tuple[Domain, Domain]:
        """The domain in two parts without a common example: the rest, and a random `share` of at least one.

        Where labels are shown, every class gives its share, and never its last example. Raises DataError where no class
        has two.
        """
        order = permutation(len(self), seed, "validation", self.key)
        held = max(1, round(len(self) * share))
        if self.labels is not None and one_class_each(self.labels):
            order, held = _by_class(order, self.labels, held)
            if not held:
                raise DataError(
                    f"`{self.key}` has one example of every class: none can be held out for `select`",
                    "add examples, or remove `select`",
                )
        kept, out = order[held:].sort().values, order[:held].sort().values
        return self.part(kept), replace(self.part(out), key=f"{self.key} held out", _stored={})

    def part(self, index: Tensor) -> Domain:
        """The examples of the domain at these positions."""
        labels = None if self.labels is None else self.labels[index]
        return replace(self, rows=self.rows[index], labels=labels, _stored={})

    def some(self, most: int, *purpose: int | str) -> Domain:
        """At most so many examples, in order; for one purpose always the same."""
        return self.part(permutation(len(self), *purpose, self.key)[:most].sort().values)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_stored": {}}  # processes that load examples need none of the stored ones

    def matched(self, classes: tuple[str, ...]) -> Domain:
        """The domain with its labels counted through `classes`; classes are matched by name.

        Raises DataError where the domain has a class that `classes` lacks.
        """
        if self.labels is None or self.classes is None or self.classes == classes:
            return self
        check_classes(self.key, self.classes, classes)
        numbers = torch.tensor([classes.index(name) for name in self.classes])
        return replace(self, labels=_renumbered(self.labels, numbers, len(classes)), classes=classes)


def one_class_each(labels: Tensor) -> bool:
    """Whether these are labels of examples of exactly one class: see `Examples.labels`."""
    return labels.ndim == 1 and not labels.is_floating_point()


def _renumbered(labels: Tensor, numbers: Tensor, classes: int) -> Tensor:
    """Labels whose class number i is now `numbers[i]`, of so many classes; `NO_LABEL`: it is none."""
    if labels.is_floating_point():
        new = labels.new_zeros(len(labels), classes)
        for column, number in enumerate(numbers.tolist()):
            if number >= 0:
                new[:, number] = torch.maximum(new[:, number], labels[:, column])
        return new
    return torch.where(labels < 0, NO_LABEL, numbers[labels.clamp(min=0)])


def _by_class(order: Tensor, labels: Tensor, held: int) -> tuple[Tensor, int]:
    """`order` so changed that its beginning holds every class by its share, and how many of `held` can be spared."""
    labels = labels[order]
    sizes = labels.bincount()
    grouped = labels.argsort(stable=True)
    rank = torch.empty_like(labels)  # of an example among those of its class
    rank[grouped] = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[labels[grouped]]
    size = sizes[labels]
    turn = (rank.double() + 0.5) / size
    turn[rank == size - 1] = torch.inf  # the last of its class is never held out
    return order[turn.argsort(stable=True)], min(held, int(turn.isfinite().sum()))


def check_classes(key: str, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Raise a DataError that prints both lists where `theirs`, a domain's, has a name that `ours`, the run's, lacks."""
    unknown = [name for name in theirs if name not in ours]
    if unknown:
        like = next((name for name in ours if name not in theirs), ours[0])
        raise DataError(
            f"`{key}` has classes that are not among the run's: {', '.join(unknown)}\n"
            f"  `{key}`: {', '.join(theirs)}\n  the run: {', '.join(ours)}",
            f"name them alike with `classes: {{{unknown[0]}: {like}}}` in `{key}`, or leave their examples out with "
            f"`classes: {{{unknown[0]}: null}}`",
        )


def mapped_names(names: Sequence[str], mapping: Mapping[str, str | None], key: str) -> tuple[str, ...]:
    """The class names after the manifest's `classes:` mapping, each once, in order.

    Raises DataError where the mapping names a class that the data set lacks.
    """
    for name in mapping:
        if name not in names:
            raise DataError(f"`{key}.classes` names `{name}`, which the data set lacks; it has {', '.join(names)}")
    kept = [mapping.get(name, name) for name in names]
    return tuple(dict.fromkeys(name for name in kept if name is not None))


def open_domain(dataset: Dataset, part: DomainPart, key: str, role: Role) -> Domain:
    """The examples a part of the manifest asks for. Hidden labels are not read.

    Raises DataError where the split is unknown, no example is left, or `classes` are mapped though labels are hidden.
    """
    show = part.labels != "none"
    if part.classes and not show:
        raise DataError(
            f"`{key}` maps `classes`, but its labels are hidden",
            f"remove `classes` from `{key}`, or write `labels: all` in it",
        )
    names = dataset.splits()
    wanted = check_split(names, part, key, role)
    opened: dict[str | None, Examples] = {}
    first_row: dict[str | None, int] = {}
    chunks: list[Tensor] = []
    for chunk in parse_split(wanted):
        own = chunk.name if chunk.name in names else None
        if own not in opened:
            first_row[own] = sum(len(examples.inputs) for examples in opened.values())
            opened[own] = dataset.open(own, labels=show)
        rows = torch.arange(len(opened[own].inputs))
        if own is None and chunk.name != "all":
            order = permutation(len(rows), part.split_seed, "test split")
            tests = round(len(rows) * part.test_ratio)
            rows = (order[:tests] if chunk.name == "test" else order[tests:]).sort().values
        chunks.append(first_row[own] + rows[select_rows(chunk, len(rows))])
    examples = _joined(list(opened.values()), key)
    rows = torch.cat(chunks)
    labels: Tensor | None = None
    classes: tuple[str, ...] | None = None
    if show:
        if examples.labels is None:
            raise DataError(f"`{key}` has no labels", "write `labels: none`, or name the column that holds them")
        labels, classes = torch.as_tensor(examples.labels)[rows], examples.classes
        if part.classes and classes is None:
            raise DataError(f"`{key}` maps `classes`, but its labels are numbers", f"remove `classes` from `{key}`")
        if part.classes and classes is not None:
            labels, classes, rows = _mapped(labels, classes, part.classes, rows, key)
    if not len(rows):
        raise DataError(f"`{key}` has no example in the split `{wanted}`")
    return Domain(key, role, examples, rows, labels, classes)


def check_split(names: Sequence[str], part: DomainPart, key: str, role: Role) -> str:
    """The split that a part means, of a data set with splits of these `names`.

    Raises DataError where there is no such split.
    """
    wanted = part.split or _default_split(names, role, key)
    for chunk in parse_split(wanted):
        if chunk.name not in names and (names or chunk.name not in ("all", "train", "test")):
            there = ", ".join(names) or "no splits of its own, so `all`, or `train` and `test` made by `test_ratio`"
            raise DataError(f"`{key}` asks for the split `{chunk.name}`; the data set has {there}")
    return wanted


def _joined(parts: Sequence[Examples], key: str) -> Examples:
    """Several splits of one data set, one after the other."""
    if len(parts) == 1:
        return parts[0]
    if any(part.classes != parts[0].classes for part in parts):
        lists = "\n".join(f"  {', '.join(part.classes or ())}" for part in parts)
        raise DataError(
            f"the splits that `{key}` joins have different classes:\n{lists}", "list them as two domains instead"
        )
    owner = [(part, row) for part in parts for row in range(len(part.inputs))]
    rows = _Rows(owner)
    return replace(
        parts[0],
        inputs=rows,
        labels=None if parts[0].labels is None else padded([torch.as_tensor(p.labels) for p in parts], NO_LABEL),
        fingerprint="+".join(part.fingerprint for part in parts),
        where=rows.where,
        notes=tuple(note for part in parts for note in part.notes),
    )


class _Rows(Sequence[Any]):
    """Inputs of several splits as one sequence."""

    def __init__(self, owner: Sequence[tuple[Examples, int]]) -> None:
        self.owner = owner

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, index: Any) -> Any:
        part, row = self.owner[index]
        return part.inputs[row]

    def where(self, index: int) -> str:  # no lambda: worker processes may have to unpickle it
        part, row = self.owner[index]
        return part.where(row)


EVALUATION_SPLITS = ("test", "validation", "valid", "val", "dev", "eval")


def _default_split(names: Sequence[str], role: Role, key: str) -> str:
    """The split a part means that names none. Raises DataError where scoring would guess."""
    if not names:
        return "all"
    if role == "evaluate":
        wanted = next((name for name in EVALUATION_SPLITS if name in names), None)
        if wanted is None:
            raise DataError(
                f"`{key}` does not say which split to score on", f"add `split:`; there is {', '.join(names)}"
            )
        return wanted
    return "train" if "train" in names else names[0]


def _mapped(
    labels: Tensor, names: Sequence[str], mapping: Mapping[str, str | None], rows: Tensor, key: str
) -> tuple[Tensor, tuple[str, ...], Tensor]:
    """Labels under the manifest's `classes:` mapping, the names they count through, and the rows it keeps."""
    classes = mapped_names(names, mapping, key)
    kept = [mapping.get(name, name) for name in names]
    numbers = torch.tensor([NO_LABEL if name is None else classes.index(name) for name in kept])
    labels = _renumbered(labels, numbers, len(classes))
    if not one_class_each(labels):
        return labels, classes, rows
    return labels[labels >= 0], classes, rows[labels >= 0]
