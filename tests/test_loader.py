"""Batches by worker processes, however they are started, and what may be kept in memory."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from tlhub.data import Domain, open_domain
from tlhub.loader import Loader, _Collate, fits, store
from tlhub.parts import DomainPart
from tlhub.testing.toys import ToyNet, ToyStripes


class Padding(ToyNet):
    """The toy, with batches that are more than stacked examples."""

    name = "padding"

    def collate(self, examples: Sequence[Any]) -> Mapping[str, Tensor]:
        return {"images": torch.stack(list(examples))}


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


def test_only_what_is_stacked_is_kept_in_memory() -> None:
    for net, kept in ((ToyNet(), True), (Padding(), False)):
        assert fits([stripes()], net, net.preprocess(train=False)) is kept
        assert not fits([stripes()], net, net.preprocess(train=True))
