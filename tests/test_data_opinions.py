"""The built-in pair of text domains: the same opinions in partly other words, always the same reviews."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from typing import Any, ClassVar

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tlhub.catalog import Catalog
from tlhub.data import Examples
from tlhub.errors import DataError, UserError
from tlhub.testing import DatasetContract
from tlhub_data.opinions import SIZES, Opinions

DOMAINS = ("films", "kitchen")
PARTS = [(domain, split) for domain in DOMAINS for split in SIZES]


class TestFilms(DatasetContract):
    component = Opinions
    settings: ClassVar[dict[str, Any]] = {"domain": "films"}


class TestKitchen(DatasetContract):
    component = Opinions
    settings: ClassVar[dict[str, Any]] = {"domain": "kitchen"}


def reviews(domain: str, split: str) -> tuple[list[str], list[int]]:
    examples = Opinions(domain).open(split, labels=True)  # type: ignore[arg-type]
    assert examples.labels is not None
    return list(examples.inputs), [int(number) for number in examples.labels]


@pytest.mark.parametrize(("domain", "split"), PARTS)
def test_reviews_are_short_sentences_and_half_of_them_are_positive(domain: str, split: str) -> None:
    texts, numbers = reviews(domain, split)
    assert len(texts) == SIZES[split]
    assert sum(numbers) == len(texts) / 2
    lengths = [len(re.findall(r"\w+|[.,]", text)) for text in texts]
    assert min(lengths) < 10
    assert 40 < max(lengths) < 80
    assert all(re.fullmatch(r"([A-Z][\w, ]*\. ?)+", text) for text in texts)


@pytest.mark.parametrize(("domain", "split"), PARTS)
def test_the_order_does_not_tell_the_class(domain: str, split: str) -> None:
    _, numbers = reviews(domain, split)
    changes = sum(first != second for first, second in itertools.pairwise(numbers))
    assert abs(changes / len(numbers) - 0.5) < 0.05


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_review_of_a_domain_is_there_twice(domain: str) -> None:
    texts = [text for split in SIZES for text in reviews(domain, split)[0]]
    assert len(set(texts)) == len(texts)


def test_what_films_teach_says_something_about_kitchen_ware_but_not_all() -> None:
    def model(domain: str) -> Any:
        return make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000)).fit(*reviews(domain, "train"))

    tests = reviews("kitchen", "test")
    assert model("kitchen").score(*tests) > 0.95
    assert 0.6 < model("films").score(*tests) < 0.85


def test_reviews_are_the_same_in_every_process() -> None:
    def known() -> list[str]:
        return [Opinions(domain).open("test", labels=True).fingerprint for domain in DOMAINS]  # type: ignore[arg-type]

    code = f"""
from tlhub_data.opinions import Opinions
for domain in {DOMAINS}:
    print(Opinions(domain).open("test", labels=True).fingerprint)
"""
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert known() == there
    assert len(set(there)) == len(DOMAINS)


def test_hidden_labels_change_the_fingerprint_and_nothing_else() -> None:
    shown, hidden = (Opinions("kitchen").open("train", labels) for labels in (True, False))
    assert (hidden.labels, hidden.classes) == (None, None)
    assert shown.classes == ("negative", "positive")
    assert shown.fingerprint != hidden.fingerprint
    assert list(shown.inputs) == list(hidden.inputs)


def test_an_example_is_named_by_domain_split_and_number() -> None:
    examples: Examples = Opinions("films").open("test", labels=True)
    assert examples.where(3) == "opinions of films, test, review 3"


def test_an_unknown_split() -> None:
    with pytest.raises(DataError, match="`opinions` has no split `validation`; it has train, test"):
        Opinions("films").open("validation", labels=True)


def test_an_unknown_domain_is_refused_with_those_there_are() -> None:
    with pytest.raises(UserError, match="expected `films` or `kitchen`, found the text 'books'"):
        Catalog.installed().create("datasets", "opinions", {"domain": "books"})
