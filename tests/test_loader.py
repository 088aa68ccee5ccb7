"""Batches by worker processes, however they are started, and what may be kept in memory."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from itertools import islice

import pytest
import torch
from torch import Tensor

from tlhub.data import Domain, open_domain
from tlhub.loader import LengthOrder, Loader, _Collate, fits, store
from tlhub.parts import DomainPart
from tlhub.ragged import Ragged
from tlhub.randomness import permutation
from tlhub.testing.toys import ToyNet, ToyStripes


def stripes(count: int = 24) -> Domain:
    part = DomainPart(use="toy_stripes")
    return open_domain(ToyStripes(count), part, "source", "source")


def batches(domain: Domain, workers: int) -> list[Tensor]:
    net = ToyNet()
    loader = Loader([domain], 8, 0, torch.device("cpu"), None, net, net.preprocess(train=True), workers)
    return [batch.inputs for batch in islice(loader.batches(0), 4)]


@pytest.fixture
def spawned() -> Iterator[None]:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("spawn", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.usefixtures("spawned")
def test_spawned_workers_give_the_same_batches() -> None:
    domain = stripes()
    for alone, spawned in zip(batches(domain, 0), batches(domain, 2), strict=True):
        assert torch.equal(alone, spawned)


def test_workers_are_sent_neither_stored_examples_nor_the_network() -> None:
    domain, net = stripes(), ToyNet(width=20_000)
    small = len(pickle.dumps(domain))
    store(domain, net, net.preprocess(train=False), workers=0)
    assert domain._stored
    assert len(pickle.dumps(domain)) == small
    assert len(pickle.dumps(_Collate(net, 1))) < 1000


def test_augmented_examples_are_not_kept_in_memory() -> None:
    net = ToyNet()
    assert fits([stripes()], net, net.preprocess(train=False))
    assert not fits([stripes()], net, net.preprocess(train=True))


LENGTHS = permutation(1000, 0, "lengths") % 120 + 3


def test_batches_of_like_length_hold_every_example_once_an_epoch() -> None:
    order = LengthOrder(1000, 0, "source", LENGTHS)
    for epoch in range(2):
        picked = torch.cat([order.batch(epoch * 31 + number, 32)[0] for number in range(31)])
        assert len(picked) == len(set(picked.tolist())) == 992
        assert order.batch(epoch * 31, 32)[1].tolist() == [epoch] * 32


def test_batches_of_like_length_are_little_padding_and_come_in_no_order_of_length() -> None:
    order = LengthOrder(1000, 0, "source", LENGTHS)
    lengths = torch.stack([LENGTHS[order.batch(number, 32)[0]] for number in range(31)])
    assert lengths.max(1).values.sum() * 32 <= 1.05 * lengths.sum()
    longest = lengths.max(1).values.tolist()
    assert longest not in (sorted(longest), sorted(longest, reverse=True))


def test_domains_take_their_long_batches_at_the_same_steps() -> None:
    one, other = LengthOrder(1000, 0, "source", LENGTHS), LengthOrder(640, 0, "target", LENGTHS[:640] * 2)
    pairs = [(one.batch(n, 32)[0], other.batch(n, 32)[0]) for n in range(31 * 4)]
    means = torch.tensor([[LENGTHS[a].float().mean(), (LENGTHS[:640] * 2)[b].float().mean()] for a, b in pairs])
    assert torch.corrcoef(means.T)[0, 1] > 0.9


def test_the_order_of_lengths_is_a_function_of_the_number_of_the_batch() -> None:
    whole = LengthOrder(1000, 0, "source", LENGTHS)
    expected = [whole.batch(number, 32)[0].tolist() for number in range(70)]
    assert LengthOrder(1000, 0, "source", LENGTHS).batch(69, 32)[0].tolist() == expected[69]
    assert LengthOrder(1000, 1, "source", LENGTHS).batch(69, 32)[0].tolist() != expected[69]


def test_ragged_examples_are_padded_when_they_meet() -> None:
    examples = [torch.arange(1, 1 + 2 * length).view(length, 2) for length in (3, 1, 2)]
    batch = Ragged.of(examples).batch(torch.tensor([1, 2]))
    assert batch["lengths"].tolist() == [1, 2]
    assert batch["tokens"].tolist() == [[[1, 2], [0, 0]], [[1, 2], [3, 4]]]
