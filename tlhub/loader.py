"""Batches of several domains at once, in an order that depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tlhub.backbone import Backbone, Preprocess, stack
from tlhub.data import Domain
from tlhub.errors import DataError, UserError
from tlhub.randomness import permutation, seed_all

STORE_BYTES = 2**30
"""Domains whose preprocessed examples take less than this are preprocessed once and kept in memory."""

EVALUATION_BATCH = 256

READ_AHEAD = 20_000
"""How many examples of a domain are read before training, to find damaged ones."""


@dataclass(frozen=True)
class Batch:
    """One step's inputs, all domains side by side, and every row's position in its domain."""

    inputs: Any
    indices: Sequence[Tensor]


class Order:
    """The endless sequence in which a domain's examples are seen: one permutation after the other, every batch full."""

    def __init__(self, size: int, seed: int, key: str) -> None:
        self.size = size
        self._purpose = (seed, "order", key)
        self._permutations: dict[int, Tensor] = {}

    def batch(self, number: int, rows: int) -> tuple[Tensor, Tensor]:
        """`[rows]` each: the examples of batch `number`, and the domain's epoch in which each is seen."""
        positions = torch.arange(number * rows, (number + 1) * rows)
        epochs = positions // self.size
        picked = torch.empty_like(positions)
        for epoch in sorted(set(epochs.tolist())):
            here = epochs == epoch
            picked[here] = self._permutation(epoch)[positions[here] % self.size]
        return picked, epochs

    def _permutation(self, epoch: int) -> Tensor:
        if epoch not in self._permutations:
            self._permutations = {e: p for e, p in self._permutations.items() if e == epoch - 1}
            self._permutations[epoch] = permutation(self.size, *self._purpose, epoch)
        return self._permutations[epoch]


class Loader:
    """Training batches of `rows` examples of every domain.

    Args:
        stored: per domain, all its examples as one tensor (preprocessed inputs, or features), where they fit in memory;
            otherwise examples are preprocessed anew each time they are seen, by `workers` processes.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        rows: int,
        seed: int,
        device: torch.device,
        stored: Sequence[Tensor] | None = None,
        backbone: Backbone | None = None,
        preprocess: Preprocess | None = None,
        workers: int = 0,
    ) -> None:
        self.domains = domains
        self.rows = rows
        self.orders = [Order(len(domain), seed, domain.key) for domain in domains]
        self._backbone, self._preprocess, self._seed, self._workers = backbone, preprocess, seed, workers
        self._device = device
        self._stored: Tensor | None = None
        if stored is not None:
            self._first_row = [sum(len(s) for s in stored[:number]) for number in range(len(stored))]
            self._stored = (stored[0] if len(stored) == 1 else torch.cat(list(stored))).to(device)

    def batches(self, first: int) -> Iterator[Batch]:
        """Batch number `first` and all that follow it, without end."""
        if self._stored is not None:
            return self._from_memory(self._stored, first)
        return self._streamed(first)

    def _from_memory(self, stored: Tensor, first: int) -> Iterator[Batch]:
        number = first
        while True:
            indices = [order.batch(number, self.rows)[0] for order in self.orders]
            rows = torch.cat([index + start for index, start in zip(indices, self._first_row, strict=True)])
            yield Batch(stored[rows.to(self._device)], indices)
            number += 1

    def _streamed(self, first: int) -> Iterator[Batch]:
        assert self._backbone is not None
        assert self._preprocess is not None
        examples = _Examples(self.domains, self._preprocess, self._seed)
        sampler = _Sampler(self.orders, self.rows, first)
        loader = DataLoader(
            examples,
            batch_sampler=sampler,
            num_workers=self._workers,
            collate_fn=_Collate(self._backbone, len(self.domains)),
            pin_memory=self._device.type == "cuda",
        )
        for batch in loader:
            if isinstance(batch, UserError):
                raise batch
            inputs, indices = batch
            yield Batch(inputs, indices)


def workers(asked: int | str, device: torch.device) -> int:
    """How many processes preprocess examples: as asked; for `auto` up to four, and none where the CPU computes.

    There they would take from the computation the processors it waits for: a run was several times slower with them.
    """
    if isinstance(asked, int):
        return asked
    return 0 if device.type == "cpu" else min(4, torch.get_num_threads())


def fits(domains: Sequence[Domain], backbone: Backbone, preprocess: Preprocess) -> bool:
    """Whether all examples of the domains can be preprocessed once and kept as one tensor."""
    if preprocess.random or not _stacks(backbone):
        return False
    example = _made(domains[0], 0, preprocess)
    if isinstance(example, UserError):
        raise example
    return isinstance(example, Tensor) and example.nbytes * sum(map(len, domains)) <= STORE_BYTES


def store(domain: Domain, backbone: Backbone, preprocess: Preprocess, workers: int) -> Tensor:
    """All examples of a domain as one tensor."""
    return domain.store(preprocess, lambda: torch.cat(list(ordered(domain, backbone, preprocess, workers))))


def read_ahead(domain: Domain, workers: int) -> None:
    """Read the examples of a domain once, the first `READ_AHEAD` of them where there are more.

    Raises DataError naming the first that cannot be read.
    """
    some = range(min(len(domain), READ_AHEAD))
    if len(some) < 4 * EVALUATION_BATCH:
        workers = 0
    for error in DataLoader(_Readable(domain, some), EVALUATION_BATCH, num_workers=workers, collate_fn=_first):
        if error is not None:
            raise error


def ordered(domain: Domain, backbone: Backbone, preprocess: Preprocess, workers: int) -> Iterator[Any]:
    """Collated batches of all examples of a domain, once, in order."""
    if workers and len(domain) < 4 * EVALUATION_BATCH:
        workers = 0  # starting processes would cost more than they save
    sampler = [
        [(0, 0, index) for index in range(start, min(start + EVALUATION_BATCH, len(domain)))]
        for start in range(0, len(domain), EVALUATION_BATCH)
    ]
    loader = DataLoader(
        _Examples([domain], preprocess, seed=0),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_Collate(backbone, 1),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch[0]


Place = tuple[int, int, int]
"""(domain, the domain's epoch, example)"""


class _Sampler:
    """The places of batch `first` and of all that follow it."""

    def __init__(self, orders: Sequence[Order], rows: int, first: int) -> None:
        self.orders, self.rows, self.first = orders, rows, first

    def __iter__(self) -> Iterator[list[Place]]:
        number = self.first
        while True:
            places: list[Place] = []
            for domain, order in enumerate(self.orders):
                indices, epochs = order.batch(number, self.rows)
                places += [(domain, e, i) for e, i in zip(epochs.tolist(), indices.tolist(), strict=True)]
            yield places
            number += 1


def _made(domain: Domain, index: int, make: Callable[[Any], Any]) -> Any | UserError:
    """What `make` makes of an example; what the user must mend is a value too, since workers garble exceptions."""
    try:
        return make(domain.raw(index))
    except UserError as error:
        return error
    except Exception as error:
        return DataError(f"`{domain.key}`: {domain.where(index)} cannot be preprocessed: {error}")


class _Readable(Dataset[Any]):
    """For every example, the error where it cannot be read, else None."""

    def __init__(self, domain: Domain, rows: Sequence[int]) -> None:
        self.domain, self.rows = domain, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> UserError | None:
        return _made(self.domain, self.rows[index], _nothing)


def _nothing(raw: Any) -> None:
    """Of a raw input, nothing is kept."""


def _first(errors: Sequence[UserError | None]) -> UserError | None:
    return next((error for error in errors if error is not None), None)


class _Examples(Dataset[Any]):
    """Preprocessed examples by place."""

    def __init__(self, domains: Sequence[Domain], preprocess: Preprocess, seed: int) -> None:
        self.domains, self.preprocess, self.seed = domains, preprocess, seed

    def __getitem__(self, place: Place) -> tuple[Place, Any] | UserError:
        number, epoch, index = place
        domain = self.domains[number]

        def seeded(raw: Any) -> Any:
            if self.preprocess.random:
                seed_all(self.seed, "augmentation", domain.key, epoch, index)
            return self.preprocess(raw)

        made = _made(domain, index, seeded)
        return made if isinstance(made, UserError) else (place, made)


def _stacks(backbone: Backbone) -> bool:
    """Whether a batch is but its examples stacked."""
    return type(backbone).collate is Backbone.collate


class _Collate:
    """Joins the examples of one batch, and tells the domains' positions apart."""

    def __init__(self, backbone: Backbone, domains: int) -> None:
        # a method would take the whole network along to every worker process
        self.collate: Callable[[Sequence[Any]], Any] = stack if _stacks(backbone) else backbone.collate
        self.domains = domains

    def __call__(self, items: list[tuple[Place, Any] | UserError]) -> tuple[Any, list[Tensor]] | UserError:
        places, examples = [], []
        for item in items:
            if isinstance(item, UserError):
                return item
            places.append(item[0])
            examples.append(item[1])
        indices = [
            torch.tensor([index for domain, _, index in places if domain == number]) for number in range(self.domains)
        ]
        return self.collate(examples), indices
