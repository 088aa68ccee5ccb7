"""Real data sets of full size, where they are at hand (`TLHUB_SHARED`)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlhub_data.csv import Csv
from tlhub_data.imagefolder import ImageFolder
from tlhub_data.jsonl import JsonLines
from tlhub_data.parquet import Parquet

SHARED = Path(os.environ.get("TLHUB_SHARED", Path(__file__).parents[2] / "shared")) / "data"

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data at {SHARED} (set TLHUB_SHARED)")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.mark.parametrize(
    ("name", "train", "test", "size"),
    [("mnist", 60_000, 10_000, (28, 28)), ("usps", 7_291, 2_007, (16, 16)), ("mnist_m", 12_000, 9_001, (32, 32))],
)
def test_digits_in_parquet(name: str, train: int, test: int, size: tuple[int, int]) -> None:
    data = Parquet(str(SHARED / name))
    assert (data.splits(), data.modality) == (["train", "test"], "image")
    for split, count in (("train", train), ("test", test)):
        start = time.monotonic()
        examples = data.open(split, labels=True)
        assert time.monotonic() - start < 20
        assert len(examples.inputs) == len(examples.labels or ()) == count
        assert examples.classes == tuple("0123456789")
        assert examples.inputs[count - 1].size == size


def test_office_caltech() -> None:
    counts = {"amazon": 958, "caltech10": 1_123, "dslr": 157, "webcam": 295}
    for name, count in counts.items():
        examples = ImageFolder(str(SHARED / "office_caltech10" / name)).open(None, labels=True)
        assert (len(examples.inputs), len(examples.classes or ())) == (count, 10)
        assert examples.inputs[0].size


def test_texts() -> None:
    news = JsonLines(str(SHARED / "20news_bydate"))
    assert [len(news.open(split, labels=True).inputs) for split in news.splits()] == [11_315, 7_532]
    sst2 = Csv(str(SHARED / "sst2"))
    assert sst2.splits() == ["train", "dev"]
    assert [len(sst2.open(split, labels=True).inputs) for split in sst2.splits()] == [67_349, 872]
    books = JsonLines(str(SHARED / "amazon_reviews" / "books.jsonl"))
    assert books.open(None, labels=True).classes == ("negative", "positive")
