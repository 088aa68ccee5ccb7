"""Models compared on the same examples."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tlhub
from tests.conftest import Command
from tlhub.contest import contest
from tlhub.errors import UserError
from tlhub.testing import toy_catalog, toy_manifest

TAUGHT = [toy_manifest([])["source"]]
"""What the first model learned from."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two models of the toys: one that learned, and one that did not."""
    folder = tmp_path_factory.mktemp("runs")
    for name, lr in (("learned", 0.05), ("idle", 1e-9)):
        manifest = toy_manifest([], epochs=8, lr=lr)
        tlhub.adapt(manifest, out=folder / name, catalog=toy_catalog(), baseline=False)
    return [str(folder / "learned"), str(folder / "idle")]


def test_each_is_compared_with_the_first_on_the_same_examples(runs: list[str]) -> None:
    learned, idle = contest(runs, TAUGHT, catalog=toy_catalog())
    assert learned.comparison is None
    assert idle.comparison is not None
    gain = idle.rows[0].score.value - learned.rows[0].score.value
    assert idle.comparison.difference == pytest.approx(gain)
    assert idle.comparison.outcome == "hurt"
    back = contest(runs[::-1], TAUGHT, catalog=toy_catalog())[1]
    assert back.comparison is not None
    assert back.comparison.outcome == "helped"


def test_a_model_does_not_differ_from_itself(runs: list[str]) -> None:
    again = contest([runs[0], runs[0]], catalog=toy_catalog())[1]
    assert again.comparison is not None
    assert (again.comparison.difference, again.comparison.outcome) == (0.0, "no evidence")


def test_models_of_other_tasks_are_refused(runs: list[str], tmp_path: Path) -> None:
    manifest = toy_manifest([])
    manifest["task"] = "regression"
    for role in ("source", "target", "evaluate"):
        manifest[role] = {**manifest[role], "classes": {"flat": "0", "left": "1", "right": "2"}}
    tlhub.adapt(manifest, out=tmp_path / "other", catalog=toy_catalog(), baseline=False)
    with pytest.raises(UserError, match=r"answers a `classification` and .* a `regression`"):
        contest([runs[0], str(tmp_path / "other")], catalog=toy_catalog())


@pytest.mark.slow
def test_the_command_names_what_it_compares(tlhub: Command, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "backbone: lenet\nsource: digits\nevaluate: {use: digits_photo, split: test}\n"
        "train: {epochs: 1, steps_per_epoch: 1, batch: 8}\n"
    )
    assert tlhub("adapt", "m.yaml", "--out", "one").returncode == 0
    found = tlhub("compare", "one", "one")
    assert found.returncode == 0, found.stderr
    assert "one is not known to differ from one" in found.stdout
    told = json.loads(tlhub("compare", "one", "one", "--json", "--data", "use=digits_photo,split=train").stdout)
    assert told[1]["comparison"]["difference"] == 0
    alone = tlhub("compare", "one")
    assert alone.returncode == 2
    assert "name two or more" in alone.stderr
