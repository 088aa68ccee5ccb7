"""Batches of several domains at once, in an order that depends on the seed and the step alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tlhub.backbone import Backbone, Preprocess
from tlhub.data import Domain
from tlhub.errors import DataError, UserError
from tlhub.ragged import Ragged
from tlhub.randomness import permutation, seed_all, uniform

STORE_BYTES = 2**30
"""Domains whose preprocessed examples take less than this are preprocessed once and kept in memory."""

EVALUATION_BATCH = 256
RAGGED_EVALUATION_BATCH = 64
"""Fewer, since an example has many tokens."""

SAMPLE = 64
"""How many examples of different lengths tell how large all are together."""

_TURNS = 4096
"""So many turns of batches are drawn at once."""

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


class LengthOrder(Order):
    """An order in which the examples of a batch have much the same length, so that little of it is padding.

    Each epoch leaves out, at random, what does not fill a batch, sorts the others by length, and takes the batches at
    random. Every domain of a run takes its shorter and longer batches at the same steps: otherwise the joint batch
    would be padded after all, and its domains would differ by length.
    """

    def __init__(self, size: int, seed: int, key: str, lengths: Tensor) -> None:
        super().__init__(size, seed, key)
        self.lengths = lengths
        self._seed = seed
        self._grouped: tuple[int, int, Tensor] | None = None
        self._drawn: dict[int, Tensor] = {}

    def batch(self, number: int, rows: int) -> tuple[Tensor, Tensor]:
        epoch, turn = divmod(number, self.size // rows)
        if self._grouped is None or self._grouped[:2] != (epoch, rows):
            self._grouped = (epoch, rows, self._batches(epoch, rows))
        return self._grouped[2][turn], torch.full((rows,), epoch)

    def _batches(self, epoch: int, rows: int) -> Tensor:
        """`[batches, rows]`: the examples of every batch of an epoch."""
        count = self.size // rows
        kept = permutation(self.size, *self._purpose, epoch)[: count * rows]
        by_length = kept[self.lengths[kept].argsort(stable=True)].view(count, rows)
        return by_length[self._turns(epoch * count, count).argsort().argsort()]

    def _turns(self, first: int, count: int) -> Tensor:
        """How long the examples of these batches are to be, among those of the epoch; the same for all domains."""
        blocks = range(first // _TURNS, (first + count - 1) // _TURNS + 1)
        drawn = torch.cat([uniform(_TURNS, self._seed, "length", block) for block in blocks])
        start = first - blocks[0] * _TURNS
        return drawn[start : start + count]


class Loader:
    """Training batches of `rows` examples of every domain.

    Args:
        stored: per domain, all its examples (preprocessed inputs, or features), where they fit in memory; otherwise
            examples are preprocessed anew each time they are seen, by `workers` processes.
    """

    def __init__(
        self,
        domains: Sequence[Domain],
        rows: int,
        seed: int,
        device: torch.device,
        stored: Sequence[Tensor | Ragged] | None = None,
        backbone: Backbone | None = None,
        preprocess: Preprocess | None = None,
        workers: int = 0,
    ) -> None:
        self.domains = domains
        self.rows = rows
        self.orders: Sequence[Order] = [Order(len(domain), seed, domain.key) for domain in domains]
        self._backbone, self._preprocess, self._seed, self._workers = backbone, preprocess, seed, workers
        self._device = device
        self._stored: Tensor | Ragged | None = None
        if stored is not None:
            self._first_row = [sum(len(s) for s in stored[:number]) for number in range(len(stored))]
            self._stored = joined(stored).to(device)
        if isinstance(self._stored, Ragged):
            lengths = [part.lengths for part in stored or () if isinstance(part, Ragged)]
            keyed = zip(domains, lengths, strict=True)
            self.orders = [LengthOrder(len(domain), seed, domain.key, length) for domain, length in keyed]

    def batches(self, first: int) -> Iterator[Batch]:
        """Batch number `first` and all that follow it, without end."""
        if self._stored is not None:
            return self._from_memory(self._stored, first)
        return self._streamed(first)

    def _from_memory(self, stored: Tensor | Ragged, first: int) -> Iterator[Batch]:
        number = first
        while True:
            indices = [order.batch(number, self.rows)[0] for order in self.orders]
            rows = torch.cat([index + start for index, start in zip(indices, self._first_row, strict=True)])
            yield Batch(stored.batch(rows) if isinstance(stored, Ragged) else stored[rows.to(self._device)], indices)
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
    """Whether all examples of the domains can be preprocessed once and kept in memory."""
    if preprocess.random:
        return False
    total = 0.0
    for domain in domains:
        rows = range(0, len(domain), max(1, len(domain) // SAMPLE)) if backbone.ragged else range(1)
        sizes = [_must(domain, row, preprocess).nbytes for row in rows]
        total += len(domain) * sum(sizes) / len(sizes)
    return total <= STORE_BYTES


def store(domain: Domain, backbone: Backbone, preprocess: Preprocess, workers: int) -> Tensor | Ragged:
    """All examples of a domain."""
    return domain.store(preprocess, lambda: _prepared(domain, backbone, preprocess, workers))


def _prepared(domain: Domain, backbone: Backbone, preprocess: Preprocess, workers: int) -> Tensor | Ragged:
    if not backbone.ragged:
        return torch.cat([inputs for _, inputs in ordered(domain, backbone, preprocess, workers)])
    many = getattr(preprocess, "many", None)
    made = [_must(domain, row, _same if many else preprocess) for row in range(len(domain))]
    prepared: Ragged = many(made) if many else Ragged.of(made)
    return prepared


def joined(parts: Sequence[Tensor | Ragged]) -> Tensor | Ragged:
    """Stored examples of several domains, one after the other."""
    if len(parts) == 1:
        return parts[0]
    ragged = [part for part in parts if isinstance(part, Ragged)]
    return Ragged.joined(ragged) if ragged else torch.cat([part for part in parts if isinstance(part, Tensor)])


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


def ordered(domain: Domain, backbone: Backbone, preprocess: Preprocess, workers: int) -> Iterator[tuple[Tensor, Any]]:
    """Every example of a domain once: the positions of a batch's examples, and the collated batch.

    They come in order; examples of different lengths that fit in memory come sorted by length, the longest first.
    """
    if backbone.ragged and fits([domain], backbone, preprocess):
        stored = store(domain, backbone, preprocess, workers)
        assert isinstance(stored, Ragged)
        for rows in torch.split(stored.lengths.argsort(descending=True, stable=True), RAGGED_EVALUATION_BATCH):
            yield rows, stored.batch(rows)
        return
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
        inputs, (rows,) = batch
        yield rows, inputs


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


def _must(domain: Domain, index: int, make: Callable[[Any], Any]) -> Any:
    """What `make` makes of an example. Raises what the user must mend."""
    made = _made(domain, index, make)
    if isinstance(made, UserError):
        raise made
    return made


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


def _same(raw: Any) -> Any:
    return raw


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


class _Collate:
    """Joins the examples of one batch, and tells the domains' positions apart."""

    def __init__(self, backbone: Backbone, domains: int) -> None:
        self.collate = type(backbone).collate  # of the class: an instance would be sent to every worker process
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
