"""What is held out of a domain, and what its part of the manifest may ask for."""

from __future__ import annotations

import pytest
import torch

from tlhub.data import Domain, Examples, open_domain
from tlhub.errors import DataError
from tlhub.parts import DomainPart
from tlhub.testing.toys import ToyStripes


def labelled(*counts: int) -> Domain:
    """A domain with so many examples of every class."""
    labels = [number for number, count in enumerate(counts) for _ in range(count)]
    names = tuple(f"class {number}" for number in range(len(counts)))
    examples = Examples([0] * len(labels), labels, names, "", "example {}".format)
    return Domain("source", "source", examples, torch.arange(len(labels)), torch.tensor(labels), names)


def held_of(domain: Domain, share: float, seed: int = 0) -> list[int]:
    kept, held = domain.hold_out(share, seed)
    assert sorted([*kept.rows.tolist(), *held.rows.tolist()]) == domain.rows.tolist()
    assert held.labels is not None
    assert kept.labels is not None
    assert set(held.labels.tolist()) <= set(kept.labels.tolist())
    return held.labels.bincount(minlength=len(domain.classes or ())).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gives_its_share_and_keeps_an_example(seed: int) -> None:
    assert held_of(labelled(100, 40, 20), 0.1, seed) == [10, 4, 2]
    assert held_of(labelled(60, 1, 2), 0.5, seed) == [31, 0, 1]
    assert sum(held_of(labelled(*[5] * 10), 0.1, seed)) == 5
    assert sum(held_of(labelled(3, 1), 0.01, seed)) == 1


def test_what_is_held_out_is_random_and_repeats() -> None:
    first, again, other = (labelled(50, 50).hold_out(0.2, seed)[1].rows.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_classes_of_one_example_can_spare_none() -> None:
    with pytest.raises(DataError, match="`source` has one example of every class"):
        labelled(1, 1, 1).hold_out(0.5, 0)


def test_without_labels_any_example_is_held_out() -> None:
    hidden = open_domain(ToyStripes(), DomainPart(use="toy_stripes", labels="none"), "source", "source")
    assert [len(part) for part in hidden.hold_out(0.25, 0)] == [36, 12]


def test_hidden_labels_cannot_be_mapped() -> None:
    part = DomainPart(use="toy_stripes", labels="none", classes={"flat": None})
    with pytest.raises(DataError, match=r"`target` maps `classes`, but its labels are hidden\nhelp: remove `classes`"):
        open_domain(ToyStripes(), part, "target", "target")
