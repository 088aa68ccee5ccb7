"""Data sets of the Hub: laid out as there, in a local folder; and what is said where the Hub cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tlhub.errors import DataError
from tlhub.testing import DatasetContract
from tlhub_data.hub import Hub

CARD = """---
configs:
- config_name: short
  data_files: [{split: train, path: short/train.jsonl}, {split: test, path: short/test.jsonl}]
- config_name: long
  data_files: [{split: train, path: long/train.jsonl}]
dataset_info:
- config_name: short
  features:
  - {name: text, dtype: string}
  - {name: label, dtype: {class_label: {names: {"0": bad, "1": good}}}}
- config_name: long
---
"""


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture
def repo(tmp_path: Path) -> str:
    """A folder laid out like a data set of the Hub, with two configurations."""
    for name in ("short/train", "short/test", "long/train"):
        file = tmp_path / "reviews" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": f"{name} {number}", "label": number % 2} for number in range(4)]
        file.write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "reviews" / "README.md").write_text(CARD)
    return str(tmp_path / "reviews")


class TestContract(DatasetContract):
    component = Hub

    @pytest.fixture(autouse=True)
    def _repo(self, repo: str) -> None:
        self.settings = {"repo": repo, "config": "short"}  # type: ignore[misc]


def test_splits_texts_and_class_names(repo: str) -> None:
    data = Hub(repo, config="short")
    assert (data.splits(), data.modality, data.class_names()) == (["train", "test"], "text", ("bad", "good"))
    examples = data.open("test", labels=True)
    assert list(examples.inputs) == [f"short/test {number}" for number in range(4)]
    assert (examples.labels, examples.classes) == ([0, 1, 0, 1], ("bad", "good"))
    assert examples.where(2).endswith("split test, row 3")


def test_hidden_labels_are_dropped_from_the_table(repo: str) -> None:
    examples = Hub(repo, config="short").open("train", labels=False)
    assert (examples.labels, examples.classes) == (None, None)
    assert examples.inputs.rows.column_names == ["text"]  # type: ignore[attr-defined]


def test_the_fingerprint_is_about_content(repo: str) -> None:
    known = [Hub(repo, config="short").open(split, labels=True).fingerprint for split in ("train", "test", "train")]
    assert known[0] == known[2] != known[1]


def test_a_large_one_is_known_without_reading_it(repo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlhub_data.hub.CONTENT_LIMIT", 0)
    monkeypatch.setattr("tlhub_data.inputs.Column.digests", None)
    known = [Hub(repo, config="short").open(split, labels=True).fingerprint for split in ("train", "test", "train")]
    assert known[0] == known[2] != known[1]


def test_without_a_configuration_the_ones_there_are_named(repo: str) -> None:
    with pytest.raises(DataError, match=r"(?s)cannot be opened: .*short.*long.*help: name one of them with `config:`"):
        Hub(repo).splits()


def test_an_unknown_configuration(repo: str) -> None:
    with pytest.raises(DataError, match=r"(?s)'shrt' not found. Available: .*short.*long.*help: name one of them"):
        Hub(repo, config="shrt").splits()


def test_a_missing_column(repo: str) -> None:
    with pytest.raises(DataError, match="split train has no column `review`; it has `text`, `label`"):
        Hub(repo, config="short", text="review").open("train", labels=True)


def test_an_unknown_split(repo: str) -> None:
    with pytest.raises(DataError, match=r"cannot be opened: .*tset"):
        Hub(repo, config="short").open("tset", labels=True)


def test_without_a_network_it_says_so() -> None:
    with pytest.raises(
        DataError, match=r"`nobody/nothing` cannot be opened: Couldn't reach.*\nhelp: check the connection"
    ):
        Hub("nobody/nothing").splits()


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot be opened: .*doesn't contain any data files"):
        Hub(str(tmp_path / "empty")).splits()


def test_the_constructor_asks_nobody() -> None:
    assert Hub("nobody/nothing", text="review").modality == "text"
