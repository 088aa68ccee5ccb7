"""One manifest under several seeds, and one verdict over them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats

import tlhub
from tests.conftest import Command
from tlhub.errors import UserError
from tlhub.measure import Comparison, over_seeds
from tlhub.testing import toy_catalog, toy_manifest


def comparison(difference: float, half: float) -> Comparison:
    outcome = "helped" if difference > half else "no evidence"
    return Comparison(difference, difference - half, difference + half, outcome)


def test_seeds_with_a_fault_are_no_evidence_that_adaptation_helped() -> None:
    doubted = Comparison(0.08, 0.07, 0.09, "no evidence")
    found = over_seeds([doubted, comparison(0.08, 0.01)])
    assert found.outcome == "no evidence"
    assert found.sentence("accuracy", 2).startswith("No evidence that adaptation helped: accuracy rose by 8.0 points")


def test_the_interval_has_the_chance_of_the_seeds_and_that_of_the_examples() -> None:
    gains, half = [0.08, 0.10, 0.06], 0.02
    found = over_seeds([comparison(gain, half) for gain in gains])
    of_seeds = stats.t.interval(0.95, 2, loc=0.08, scale=0.02 / math.sqrt(3))
    wanted = math.hypot(half, float(of_seeds[1]) - 0.08)
    assert found.difference == pytest.approx(0.08)
    assert (found.low, found.high) == pytest.approx((0.08 - wanted, 0.08 + wanted))
    assert found.outcome == "helped"


def test_seeds_that_disagree_are_no_evidence_however_sure_each_is() -> None:
    assert over_seeds([comparison(gain, 0.001) for gain in (0.3, -0.2, 0.1)]).outcome == "no evidence"
    assert over_seeds([comparison(gain, 0.001) for gain in (-0.10, -0.11, -0.09)]).outcome == "hurt"


def test_seeds_that_agree_are_no_surer_than_the_examples_they_share() -> None:
    assert over_seeds([comparison(0.01, 0.02)] * 5).outcome == "no evidence"


def test_the_sentence_names_the_seeds() -> None:
    said = over_seeds([comparison(gain, 0.01) for gain in (0.08, 0.09, 0.07)]).sentence("accuracy", 3)
    assert said.startswith("Adaptation helped: accuracy rose by 8.0 points (95 % interval")
    assert said.endswith("3 seeds).")


def test_every_seed_is_a_run_of_its_own_that_is_not_repeated(tmp_path: Path) -> None:
    catalog = toy_catalog()
    manifest = {**toy_manifest([{"use": "mmd"}]), "name": "toys"}
    manifest["train"] = {**manifest["train"], "seed": 7}
    found = tlhub.adapt_seeds(manifest, 2, out=tmp_path / "out", catalog=catalog)
    assert found.seeds == [7, 8]
    runs = [tmp_path / "out" / f"seed-{seed}" for seed in (7, 8)]
    assert [result.folder for result in found.results] == runs
    assert [tlhub.load(folder, catalog=catalog).record["manifest"]["train"]["seed"] for folder in runs] == [7, 8]
    assert found.comparison is not None
    alone = [result.comparison.difference for result in found.results if result.comparison is not None]
    assert found.comparison.difference == pytest.approx(sum(alone) / 2)
    written = [(folder / "tlhub.json").stat().st_mtime_ns for folder in runs]
    again = tlhub.adapt_seeds(manifest, 2, out=tmp_path / "out", catalog=catalog)
    assert [(folder / "tlhub.json").stat().st_mtime_ns for folder in runs] == written
    assert again.as_dict() == found.as_dict()


def test_runs_of_another_manifest_are_not_taken_for_these(tmp_path: Path) -> None:
    catalog, manifest = toy_catalog(), toy_manifest([{"use": "mmd"}])
    tlhub.adapt_seeds(manifest, 1, out=tmp_path / "out", catalog=catalog)
    with pytest.raises(UserError, match="a run of another manifest"):
        tlhub.adapt_seeds(manifest, 1, out=tmp_path / "out", catalog=catalog, overrides=["train.lr=0.5"])


def test_without_labelled_data_seeds_cannot_be_compared(tmp_path: Path) -> None:
    manifest = toy_manifest([{"use": "mmd"}])
    del manifest["evaluate"]
    with pytest.raises(UserError, match="compared by their scores"):
        tlhub.adapt_seeds(manifest, 2, out=tmp_path / "out", catalog=toy_catalog())


@pytest.mark.slow
def test_the_command_says_whether_it_helped_over_all_seeds(tlhub: Command, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "backbone: lenet\nsource: digits\ntarget: digits_photo\nadapters: [mmd]\n"
        "evaluate: {use: digits_photo, split: test}\ntrain: {epochs: 1, steps_per_epoch: 1, batch: 8}\n"
    )
    finished = tlhub("adapt", "m.yaml", "--seeds", "2")
    assert finished.returncode == 0, finished.stderr
    assert "2 seeds)." in finished.stdout
    assert "standard deviation over seeds" in finished.stdout
    assert (tmp_path / "runs/m-seeds/seed-1/tlhub.json").is_file()
