"""A bench: methods x tasks x seeds from one file, resumable, and one table."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from tests.commands import Commands
from tests.conftest import ROOT, Command
from tlhub.bench import Cell, Outcome, load, slug
from tlhub.bench_table import table
from tlhub.catalog import Catalog
from tlhub.errors import ManifestError, UserError
from tlhub.manifest import from_dict

FILE = """
name: small
base:
  backbone: lenet
  train: {epochs: 2, steps_per_epoch: 1, batch: 8, lr: 0.003}
tasks:
  photo: {source: digits, target: digits_photo, evaluate: {use: digits_photo, split: "train[:60]"}}
  clean: {source: digits_photo, target: digits, evaluate: {use: digits, split: "train[:60]"}}
methods:
  source only: {}
  mmd: {adapters: [mmd], train: {lr: 0.002}}
seeds: 2
"""
ONE_TASK = "".join(line for line in FILE.splitlines(keepends=True) if not line.startswith("  clean:"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "bench.yaml"
    path.write_text(FILE)
    return path


def outcomes(scores: dict[str, dict[str, list[float]]]) -> list[Outcome]:
    """Finished cells, by method and task a score for each seed; the oracle is a point better."""
    manifest = from_dict({"backbone": "lenet", "source": "digits"})
    return [
        Outcome(Cell(task, method, seed, manifest, Path(task)), "accuracy", score, score + 1)
        for method, of_method in scores.items()
        for task, of_task in of_method.items()
        for seed, score in enumerate(of_task)
    ]


def test_a_cell_is_the_base_with_the_task_and_the_method_over_it(file: Path, tmp_path: Path) -> None:
    cells = load(file, Catalog.installed(), tmp_path / "out")
    assert len(cells) == 8
    [cell] = [cell for cell in cells if (cell.task, cell.method, cell.seed) == ("clean", "mmd", 1)]
    train = cell.manifest.train
    assert (train.lr, train.batch, train.seed) == (0.002, 8, 1)
    assert [part.use for part in cell.manifest.source] == ["digits_photo"]
    assert [part.use for part in cell.manifest.adapters] == ["mmd"]
    assert cell.folder == tmp_path / "out/clean/mmd/seed-1"


def test_the_example_is_a_bench() -> None:
    assert len(load(ROOT / "examples/digits/bench.yaml", Catalog.installed())) == 24


def test_everything_wrong_with_a_bench_is_told_before_anything_runs(file: Path) -> None:
    file.write_text(FILE.replace("adapters: [mmd]", "adapters: [mmmd]").replace("batch: 8", "batsch: 8"))
    with pytest.raises(ManifestError) as caught:
        load(file, Catalog.installed())
    told = " ".join(f"{problem.file} {problem.message}" for problem in caught.value.problems)
    assert "photo, mmd" in told
    assert "`mmmd`" in told
    assert "`batsch`" in told


def test_an_unknown_key_of_a_bench_is_told_with_its_place(file: Path) -> None:
    file.write_text(FILE.replace("methods:", "method:"))
    with pytest.raises(ManifestError) as caught:
        load(file, Catalog.installed())
    assert any("did you mean `methods`?" in (problem.hint or "") for problem in caught.value.problems)


def test_a_task_without_labelled_data_to_score_on_is_refused(file: Path) -> None:
    file.write_text(FILE.replace(', evaluate: {use: digits, split: "train[:60]"}', ""))
    with pytest.raises(ManifestError, match="`clean` has no labelled data"):
        load(file, Catalog.installed())


def test_names_that_would_share_a_folder_are_refused(file: Path) -> None:
    assert slug("M→U: hard") == slug("M U hard") == "M-U-hard"
    file.write_text(FILE.replace("  mmd: {", "  source-only: {"))
    with pytest.raises(UserError, match="would hold two runs"):
        load(file, Catalog.installed())


def test_means_deviations_and_paired_tests_are_those_of_the_textbook() -> None:
    a, b = (
        {"one": [50.0, 60.0, 70.0], "two": [40.0, 44.0, 48.0]},
        {"one": [55.0, 61.0, 78.0], "two": [41.0, 50.0, 47.0]},
    )
    made = table(outcomes({"first": a, "second": b}))
    assert str(made.scores["first"]["one"]) == "60.0 ± 10.0"
    assert str(made.means["first"]) == "52.0 ± 7.0"  # the means of the tasks are 45, 52 and 59
    assert str(made.oracle_means["first"]) == "53.0 ± 7.0"
    gain = made.gains["second"]
    assert gain is not None
    assert gain.pairs == 6
    paired: Any = stats.ttest_rel([*b["one"], *b["two"]], [*a["one"], *a["two"]])
    assert gain.p == pytest.approx(paired.pvalue)
    interval = paired.confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((interval.low, interval.high))


def test_rows_and_columns_that_are_identical_are_told() -> None:
    same = table(outcomes({"a": {"x": [1.0, 2.0], "y": [3.0, 4.0]}, "b": {"x": [1.0, 2.0], "y": [3.0, 4.0]}}))
    assert same.warnings == ["the methods a and b have the same numbers everywhere: are they the same?"]
    columns = table(outcomes({"a": {"x": [1.0], "y": [1.0]}, "b": {"x": [2.0], "y": [2.0]}}))
    assert columns.warnings == ["the tasks x and y have the same numbers everywhere: are they the same?"]
    assert not table(outcomes({"a": {"x": [1.0], "y": [2.0]}, "b": {"x": [1.0], "y": [3.0]}})).warnings


def bench(file: Path, out: Path) -> list[str]:
    return ["bench", str(file), "--out", str(out), "--threads", "1", "--json"]


@pytest.mark.slow
def test_a_killed_bench_goes_on_without_repeating_a_run_and_has_the_same_table(
    commands: Commands, tlhub: Command, file: Path, tmp_path: Path
) -> None:
    file.write_text(ONE_TASK)
    whole = tlhub(*bench(file, tmp_path / "whole"))
    out = tmp_path / "killed"
    running = commands.start(*bench(file, out), env=os.environ)
    while not (done := _finished(out)):
        assert not running.ended
        time.sleep(0.02)
    running.send(signal.SIGKILL)
    assert running.finished().returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in done}
    assert len(before) < 4
    again = tlhub(*bench(file, out))
    assert {path: path.stat().st_mtime_ns for path in done} == before
    tables = [json.loads(finished.stdout) for finished in (whole, again)]
    for each in tables:
        assert len(each.pop("runs")) == 4
    assert tables[0] == tables[1]
    scores, oracles = tables[0]["scores"], tables[0]["oracles"]
    assert all(oracles[m][t]["mean"] >= scores[m][t]["mean"] - 1e-9 for m in scores for t in scores[m])


def _finished(out: Path) -> list[Path]:
    return [path for path in out.rglob("tlhub.json") if '"result"' in path.read_text()]


@pytest.mark.slow
def test_a_run_that_fails_is_told_and_the_others_go_on(tlhub: Command, file: Path, tmp_path: Path) -> None:
    before, _, _ = ONE_TASK.partition("  source only: {}")
    file.write_text(before + "  large: {train: {batch: 5000}}\n  source only: {}\nseeds: [3]\n")
    finished = tlhub("bench", file, "--out", tmp_path / "out", "--threads", "1")
    assert finished.returncode == 2
    assert "fewer than one batch of 5000" in finished.stdout
    assert "Traceback" not in finished.stderr + finished.stdout
    assert len(_finished(tmp_path / "out")) == 1


@pytest.mark.slow
def test_a_folder_of_another_manifest_is_not_taken_for_the_run(tlhub: Command, file: Path, tmp_path: Path) -> None:
    file.write_text(ONE_TASK.replace("seeds: 2", "seeds: 1").replace("  mmd: {", "  m: {"))
    assert tlhub("bench", file, "--out", tmp_path / "out", "--threads", "1").returncode == 0
    file.write_text(file.read_text().replace("lr: 0.003", "lr: 0.004"))
    finished = tlhub("bench", file, "--out", tmp_path / "out", "--threads", "1")
    assert finished.returncode == 2
    assert "holds a run of another manifest" in finished.stderr
