"""What training must not see is not there: hidden labels, and the `evaluate` part before training ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tlhub.adaptation import adapt
from tlhub.checkpoint import sha256
from tlhub.data import Examples
from tlhub.errors import DataError
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
    assert OPENED == [
        ("target", False),
        ("training ended", False),  # the baseline's
        ("training ended", False),
        ("evaluate", True),
    ]


def test_a_target_that_nobody_looks_at_is_never_opened(tmp_path: Path) -> None:
    written = manifest([{"use": "partial_freeze", "stages": 1}])
    del written["evaluate"]
    adapt(written, out=tmp_path / "out", catalog=toy_catalog(datasets=[Watched]))
    assert OPENED == []


def test_garbage_in_place_of_the_targets_labels_changes_the_final_score_alone(tmp_path: Path) -> None:
    catalog = toy_catalog(datasets=[Watched])
    results = [
        adapt(
            manifest([{"use": "mmd"}, {"use": "dann", "hidden": 8}], noise), out=tmp_path / str(noise), catalog=catalog
        )
        for noise in (False, True)
    ]
    assert sha256(results[0].folder / "model.safetensors") == sha256(results[1].folder / "model.safetensors")
    assert results[0].rows[1].score != results[1].rows[1].score


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
