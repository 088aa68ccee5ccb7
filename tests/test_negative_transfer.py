"""Negative transfer is caught: what a run says from 300 labelled examples agrees with what 2,000 others say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tlhub
from tlhub.artifact import read_record
from tlhub.case import Case
from tlhub.contest import contest
from tlhub.data import Dataset, Examples
from tlhub.home import home
from tlhub.measure import Comparison
from tlhub.symptom import Finding, Symptom
from tlhub.testing import toy_catalog


class Clouds(Dataset):
    """Points of two classes side by side; their second coordinate tells the classes too, unless it is moved.

    Args:
        seed: other seeds give other points.
        count: how many.
        moved: the second coordinate's mean, of both classes.
        only: the one class there are examples of.
    """

    name = "clouds"
    modality = "vector"

    def __init__(self, seed: int, count: int = 400, moved: float | None = None, only: int | None = None) -> None:
        self.seed, self.count, self.moved, self.only = seed, count, moved, only

    def splits(self) -> Sequence[str]:
        return ()

    def open(self, split: str | None, labels: bool) -> Examples:
        numbers = np.arange(self.count) % 2 if self.only is None else np.full(self.count, self.only)
        sides = 2 * numbers - 1
        second = 2 * sides if self.moved is None else np.full(self.count, self.moved)
        points = np.stack([1.5 * sides, second], axis=1) + np.random.default_rng(self.seed).normal(size=(self.count, 2))
        return Examples(
            inputs=points.astype(np.float32),
            labels=numbers.tolist() if labels else None,
            classes=("left", "right") if labels else None,
            fingerprint=repr((self.seed, self.count, self.moved, self.only)),
            where="point {}".format,
        )


class Doubt(Symptom):
    """A fault that is always there."""

    name = "doubt"
    voids = True

    def examine(self, case: Case) -> Finding:
        return self.fault("The labels were written in the dark.", "Scores mean nothing.", "Write them by day.")


def manifest_of(target: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    """DANN on an unlabelled target."""
    return {
        "backbone": {"use": "vectors", "inputs": 2},
        "source": {"use": "clouds", "seed": 1},
        "target": {"use": "clouds", "seed": 2, "labels": "none", **target},
        "evaluate": {"use": "clouds", "seed": 3, "count": 300, **test},
        "adapters": [{"use": "head_swap", "bottleneck": 1}, {"use": "dann", "hidden": 16, "strength": 5}],
        "train": {"epochs": 1, "steps_per_epoch": 200, "batch": 32, "lr": 1e-2, "workers": 0, "seed": 1},
    }


def said_and_true(folder: Path, target: dict[str, Any], test: dict[str, Any]) -> tuple[Comparison, Comparison]:
    """What the run says of the test, and what other examples say of the same models."""
    catalog, manifest = toy_catalog(datasets=[Clouds]), manifest_of(target, test)
    said = tlhub.adapt(manifest, out=folder, device="cpu", catalog=catalog, keep=False).comparison
    baseline = home() / "baselines" / read_record(folder)["result"]["baseline"]
    others = [{"use": "clouds", "seed": 4, "count": 2000, **test}]
    true = contest([str(baseline), str(folder)], others, device="cpu", catalog=catalog)[1].comparison
    assert said is not None
    assert true is not None
    return said, true


def test_features_without_what_differs_between_the_domains_help(tmp_path: Path) -> None:
    moved = {"moved": 3.0}
    said, true = said_and_true(tmp_path / "out", target=moved, test=moved)
    assert said.outcome == true.outcome == "helped"


def test_a_target_of_one_class_alone_is_negative_transfer(tmp_path: Path) -> None:
    said, true = said_and_true(tmp_path / "out", target={"only": 1}, test={})
    assert said.outcome == true.outcome == "hurt"


def test_a_gain_is_no_evidence_where_scores_mean_nothing(tmp_path: Path) -> None:
    moved = {"moved": 3.0}
    catalog = toy_catalog(datasets=[Clouds], symptoms=[Doubt])
    found = tlhub.adapt(manifest_of(moved, moved), out=tmp_path / "out", device="cpu", catalog=catalog, keep=False)
    assert found.comparison is not None
    assert found.comparison.low > 0
    assert found.comparison.outcome == "no evidence"
    assert found.sentence.startswith("No evidence that adaptation helped: accuracy rose by ")
    assert [finding.symptom for finding in found.reasons] == ["doubt"]
