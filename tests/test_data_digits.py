"""The built-in pair of domains: the same classes, other images, always the same."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tlhub.errors import DataError
from tlhub.testing import DatasetContract
from tlhub_data.digits import SIZE, Digits, DigitsPhoto, _halves


class TestDigits(DatasetContract):
    component = Digits


class TestDigitsPhoto(DatasetContract):
    component = DigitsPhoto


PARTS = [(data, split) for data in (Digits, DigitsPhoto) for split in ("train", "test")]


@pytest.mark.parametrize(("data", "split"), PARTS)
def test_images_are_coloured_and_of_one_size_and_classes_are_balanced(
    data: type[Digits | DigitsPhoto], split: str
) -> None:
    examples = data().open(split, labels=True)
    assert {(image.mode, image.size) for image in examples.inputs} == {("RGB", (SIZE, SIZE))}
    assert examples.classes == tuple("0123456789") == data().class_names()
    counts = np.bincount(list(examples.labels or ()))
    assert counts.max() - counts.min() <= 8
    assert pickle.loads(pickle.dumps(examples)).inputs[0] == examples.inputs[0]


@pytest.mark.parametrize(("data", "split"), PARTS)
def test_the_order_does_not_tell_the_class(data: type[Digits | DigitsPhoto], split: str) -> None:
    labels = np.array(data().open(split, labels=True).labels)
    assert (labels == np.arange(len(labels)) % 10).mean() < 0.2


def test_every_digit_is_in_exactly_one_domain_and_split() -> None:
    sizes = [len(data().open(split, labels=False).inputs) for data, split in PARTS]
    assert sum(sizes) == 1797
    first, second = _halves(load_digits().target)
    assert sorted([*first, *second]) == list(range(1797))


def test_pixels_are_the_same_on_every_machine() -> None:
    known = [data().open(split, labels=True).fingerprint for data, split in PARTS]
    assert len(set(known)) == 4
    assert [data().open(split, labels=True).fingerprint for data, split in PARTS] == known


def test_hidden_labels_change_the_fingerprint_and_nothing_else() -> None:
    shown, hidden = (DigitsPhoto().open("train", labels) for labels in (True, False))
    assert (hidden.labels, hidden.classes) == (None, None)
    assert shown.fingerprint != hidden.fingerprint
    assert list(shown.inputs) == list(hidden.inputs)


def test_an_unknown_split() -> None:
    with pytest.raises(DataError, match="`digits` has no split `validation`; it has train, test"):
        Digits().open("validation", labels=True)
