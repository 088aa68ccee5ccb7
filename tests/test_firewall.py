"""What training must not see is not there: hidden labels, and the `evaluate` part before training ends."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tables import write_images
from tlhub import bench
from tlhub.adaptation import adapt
from tlhub.artifact import read_record
from tlhub.catalog import Catalog
from tlhub.checkpoint import sha256
from tlhub.data import Examples
from tlhub.errors import DataError
from tlhub.seeds import adapt_seeds
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.testing.toys import ToyStripes
from tlhub.watch import Watch

OPENED: list[tuple[str, bool]] = []


class Watched(ToyStripes):
    """Stripes that note who opens them.

    Args:
        noise: whether labels are overwritten.
    """

    name = "watched"

    def __init__(self, tag: str = "", noise: bool = False, brightness: int = 60, seed: int = 1) -> None:
        super().__init__(48, brightness, seed)
        self.tag, self.noise = tag, noise

    def open(self, split: str | None, labels: bool) -> Examples:
        OPENED.append((self.tag, labels))
        examples = super().open(split, labels)
        if self.noise and examples.labels is not None:
            garbled = [0] * len(examples.labels)
            return Examples(examples.inputs, garbled, examples.classes, examples.fingerprint, examples.where)
        return examples


def manifest(adapters: Sequence[Any], noise: bool = False) -> dict[str, Any]:
    written = toy_manifest(adapters, epochs=3)
    written["select"] = "source_score"
    written["target"] = {"use": "watched", "tag": "target", "noise": noise}
    written["evaluate"] = {"use": "watched", "tag": "evaluate", "noise": noise}
    return written


@pytest.fixture(autouse=True)
def _forget() -> None:
    OPENED.clear()


def test_the_target_is_opened_without_labels_and_evaluate_after_training(tmp_path: Path) -> None:
    class Ended(Watch):
        def stopped(self) -> None:
            OPENED.append(("training ended", False))

    adapt(manifest([{"use": "mmd"}]), out=tmp_path / "out", catalog=toy_catalog(datasets=[Watched]), watch=Ended())
    assert OPENED[:4] == [
        ("target", False),
        ("training ended", False),  # the baseline's
        ("training ended", False),
        ("evaluate", True),
    ]
    assert ("target", True) not in OPENED, "nor does the doctor look at its labels, who looks at the data again"


def test_a_target_that_nobody_looks_at_is_not_opened_for_training(tmp_path: Path) -> None:
    written = manifest([{"use": "partial_freeze", "stages": 1}])
    del written["evaluate"]

    class Ended(Watch):
        def stopped(self) -> None:
            assert OPENED == []

    adapt(written, out=tmp_path / "out", catalog=toy_catalog(datasets=[Watched]), watch=Ended())
    assert ("target", True) not in OPENED


def test_garbage_in_place_of_the_targets_labels_changes_the_final_score_alone(tmp_path: Path) -> None:
    catalog = toy_catalog(datasets=[Watched])
    adapters = [{"use": "mmd"}, {"use": "dann", "hidden": 8}]
    results = [adapt(manifest(adapters, noise), out=tmp_path / str(noise), catalog=catalog) for noise in (False, True)]
    first, second = (trained(result.folder) for result in results)
    assert first == second
    assert first["history"][0]["measures"], "what the doctor hears while a model trains is in its history alone"
    assert results[0].rows[1].score != results[1].rows[1].score


def trained(folder: Path) -> dict[str, Any]:
    """What training made, to the last bit: weights, and history but for the time it took."""
    timed = ("examples_per_second",)
    history = [{key: row[key] for key in row if key not in timed} for row in read_record(folder)["history"]]
    return {"weights": sha256(folder / "model.safetensors"), "history": history}


class TestFiles:
    """The same where the labels are replaced by noise in the files, and by whatever way they are trained on."""

    def test_images_in_folders_of_other_classes(self, tmp_path: Path) -> None:
        source, target = write_images(tmp_path / "source"), write_images(tmp_path / "target", each=8)
        for file in target.glob("dog/*.png"):
            file.rename(file.with_name(f"1{file.name}"))  # no name is there twice, whatever the folder
        results = []
        for noise in (False, True):
            if noise:
                shuffle_folders(target)
            data = {"use": "imagefolder", "path": str(target)}
            written = {"backbone": "lenet", "source": {**data, "path": str(source)}, "target": data, "evaluate": data}
            written |= {"adapters": ["dann"], "select": "auto", "train": {"epochs": 2, "batch": 4, "workers": 0}}
            results.append(adapt(written, out=tmp_path / str(noise), oracle=True))
        first, second = (trained(result.folder) for result in results)
        assert first == second
        assert results[0].rows[1].metrics != results[1].rows[1].metrics

    def test_several_seeds(self, tmp_path: Path) -> None:
        write_vectors(tmp_path / "source.jsonl", seed=0)
        found = []
        for noise in (False, True):
            write_vectors(tmp_path / "target.jsonl", seed=1, noise=noise)
            written = {**vectors(tmp_path, "target"), "select": "auto"}
            found.append(adapt_seeds(written, 2, out=tmp_path / str(noise)))
        for first, second in zip(found[0].results, found[1].results, strict=True):
            assert trained(first.folder) == trained(second.folder)
        assert found[0].means != found[1].means

    def test_a_bench_with_every_validator(self, tmp_path: Path) -> None:
        """Twenty target examples keep their labels, which the manifest shows; the oracle looks, and changes nothing."""
        write_vectors(tmp_path / "source.jsonl", seed=0)
        for name in ("true", "noise"):
            write_vectors(tmp_path / f"{name}.jsonl", seed=1, noise=name == "noise", kept=20)
        validators = [entry.name for entry in Catalog.installed().entries("validators")]
        common = {key: value for key, value in vectors(tmp_path, "true").items() if key not in ("target", "evaluate")}
        written = {
            "name": "firewall",
            "base": common,
            "tasks": {name: shown(tmp_path / f"{name}.jsonl") for name in ("true", "noise")},
            "methods": {name: {"select": name} for name in validators},
            "seeds": 1,
        }
        (tmp_path / "bench.yaml").write_text(yaml.safe_dump(written))
        outcomes = bench.run(bench.load(tmp_path / "bench.yaml", Catalog.installed(), tmp_path / "out"), threads=1)
        assert [outcome.failure for outcome in outcomes] == [""] * 2 * len(validators)
        found = {(outcome.cell.task, outcome.cell.method): outcome for outcome in outcomes}
        for name in validators:
            first, second = found["true", name], found["noise", name]
            assert trained(first.cell.folder) == trained(second.cell.folder), name
            assert first.score != second.score, name
            truth, garbled = (read_record(each.cell.folder)["result"]["oracle"]["each"] for each in (first, second))
            assert truth != garbled, f"{name}: the oracle sees the labels"


def write_vectors(file: Path, seed: int, noise: bool = False, kept: int = 0) -> None:
    """Vectors of three classes; of a seed but 0 they are shifted. With `noise`, labels but the first `kept` are any."""
    draw = random.Random(seed)
    lines = []
    for number in range(60):
        label = number % 3
        vector = [draw.gauss(2.0 * (place == label) + (seed > 0), 1.0) for place in range(4)]
        lines.append({"vector": vector, "label": "abc"[label]})
    guess = random.Random(9)
    for line in lines[kept:] if noise else ():
        line["label"] = guess.choice("aaab")
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def vectors(folder: Path, target: str) -> dict[str, Any]:
    """A manifest from one file of vectors to another."""
    data = {"use": "jsonl", "path": str(folder / f"{target}.jsonl"), "vector": "vector"}
    return {
        "backbone": {"use": "vectors", "inputs": 4},
        "source": {**data, "path": str(folder / "source.jsonl")},
        "target": data,
        "evaluate": data,
        "adapters": [{"use": "head_swap", "bottleneck": 4}, {"use": "mmd"}],
        "train": {"epochs": 3, "steps_per_epoch": 2, "batch": 10, "lr": 0.05, "workers": 0, "validation": 0.5},
    }


def shown(file: Path) -> dict[str, Any]:
    """The first twenty examples of a file are a target with labels, the others one without."""
    data = {"use": "jsonl", "path": str(file), "vector": "vector"}
    parts = [{**data, "split": "all[:20]", "labels": "all"}, {**data, "split": "all[20:]"}]
    return {"target": parts, "evaluate": {**data, "split": "all[20:]"}}


def shuffle_folders(folder: Path) -> None:
    """Move most images of cats to the dogs, and one of the dogs to the cats; names stay."""
    cats, dogs = (sorted((folder / name).iterdir()) for name in ("cat", "dog"))
    for file in cats[:6]:
        file.rename(folder / "dog" / file.name)
    dogs[3].rename(folder / "cat" / dogs[3].name)


def test_class_names_are_compared_before_training_without_reading_a_label(tmp_path: Path) -> None:
    class Other(Watched):
        """Stripes under other names."""

        name = "other"

        def class_names(self) -> tuple[str, ...]:
            return ("flat", "left", "up")

    written = manifest([{"use": "mmd"}])
    written["evaluate"] = {"use": "other", "tag": "evaluate"}
    with pytest.raises(DataError) as error:
        adapt(written, out=tmp_path / "out", catalog=toy_catalog(datasets=[Watched, Other]))
    assert "flat, left, up" in error.value.message
    assert "flat, left, right" in error.value.message
    assert ("evaluate", True) not in OPENED
    assert not (tmp_path / "out").exists()
