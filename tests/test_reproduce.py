"""Making a run again from its record: to the bit where nothing differs, and told what differs where something does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import Command
from tests.tables import write_images
from tlhub import UserError, adapt
from tlhub.artifact import read_record, write_record
from tlhub.watch import Watch
from tlhub_registry.registry import Registry
from tlhub_registry.reproduce import reproduce

DIGITS: dict[str, Any] = {
    "name": "digits",
    "backbone": {"use": "lenet", "grey": False, "dropout": 0.5},
    "source": {"use": "digits"},
    "evaluate": {"use": "digits", "split": "test"},
    "train": {"epochs": 1, "steps_per_epoch": 4, "batch": 32, "lr": 0.01, "workers": 0},
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def digits() -> Path:
    """A finished run, kept as `digits:1`."""
    return adapt(DIGITS, device="cpu").folder


def rewritten(folder: Path, change: dict[str, Any]) -> str:
    """The run as if its record said something else; `a.b` is `b` in `a`."""
    record = read_record(folder)
    for path, value in change.items():
        *above, last = path.split(".")
        at = record
        for step in above:
            at = at[int(step) if isinstance(at, list) else step]
        at[last] = value
    write_record(folder, record)
    return str(folder)


class Notes(Watch):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


@pytest.mark.parametrize("place", ["digits:1", "runs/digits"])
def test_a_run_is_reproduced_to_the_bit(digits: Path, place: str) -> None:
    again = reproduce(place)
    assert (again.changed, again.differences, again.files) == (0, [], [])
    assert again.reproduced
    assert again.sentence == f"Reproduced to the bit: all {again.tensors} tensors are equal."
    assert read_record(again.folder)["files"] == read_record(digits)["files"]
    assert [entry.ref for entry in Registry().entries()] == ["digits:1"], "the second run is not kept beside it"


def test_it_runs_with_as_many_threads_as_then(digits: Path) -> None:
    torch.set_num_threads(2)
    try:
        again = reproduce("digits")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert read_record(again.folder)["composed"]["threads"] == 1
    assert again.differences == []


def test_other_versions_are_named_before_training(digits: Path) -> None:
    notes = Notes()
    place = rewritten(digits, {"versions.torch": "2.0.1", "versions.gone": "1.0", "composed.hardware": "abacus"})
    again = reproduce(place, watch=notes)
    here = torch.__version__.partition("+")[0]
    expected = [f"torch: 2.0.1 there, {here} here", "gone: 1.0 there, not installed here"]
    assert [each.replace("+cpu", "") for each in again.differences[:2]] == expected
    assert again.differences[2].startswith("hardware: abacus there")
    assert notes.told[:3] == list(again.differences)
    assert again.reproduced, "what counts is what came of it"


def test_other_data_are_named(digits: Path) -> None:
    place = rewritten(digits, {"data.source.fingerprint": "0" * 64})
    assert reproduce(place).differences == ["source: these are other data than then: the fingerprint differs"]


def test_another_run_within_the_interval(digits: Path) -> None:
    place = rewritten(digits, {"result.rows.0.low": 0.0, "result.rows.0.high": 1.0})
    again = reproduce(place, ["train.seed=7"])
    assert again.differences == ["changed here: train.seed=7"]
    assert again.changed > 0
    assert again.reproduced
    assert again.sentence.startswith("Reproduced within the interval, not to the bit")


def test_another_run_outside_the_interval(digits: Path) -> None:
    place = rewritten(digits, {"result.rows.0.low": 1.0, "result.rows.0.high": 1.0})
    again = reproduce(place, ["train.seed=7"])
    assert not again.reproduced
    assert again.sentence.startswith("Not reproduced: accuracy is outside the recorded interval")


def test_paths_that_publishing_took_out_are_asked_for(tmp_path: Path) -> None:
    write_images(tmp_path / "photos")
    photos = {"use": "imagefolder", "path": str(tmp_path / "photos")}
    network = {"use": "timm", "model": "test_resnet", "pretrained": False, "input_size": 32}
    train = {"epochs": 1, "steps_per_epoch": 1, "batch": 2, "workers": 0}
    folder = adapt({"backbone": network, "source": photos, "train": train, "name": "photos"}, device="cpu").folder
    place = rewritten(folder, {"manifest.source.0.path": "…/photos"})
    with pytest.raises(UserError, match=r"source\.path=…/photos") as told:
        reproduce(place)
    assert "--set source.path=PATH" in str(told.value.hint)
    again = reproduce(place, [f"source.path={tmp_path / 'photos'}"])
    assert again.changed == 0


def test_it_begins_with_the_very_model_that_the_first_run_began_with(digits: Path) -> None:
    """A name without a version means another model by now."""
    going_on = {**DIGITS, "name": "more", "backbone": {"use": "artifact", "ref": "digits"}}
    adapt(going_on, device="cpu")
    adapt({**DIGITS, "train": {**DIGITS["train"], "seed": 5}}, device="cpu")
    assert Registry().find("digits").version == 2
    again = reproduce("more")
    assert (again.changed, again.differences[1:]) == (0, [])


def test_the_command_ends_as_it_came_out(digits: Path, tlhub: Command) -> None:
    done = tlhub("reproduce", "digits:1")
    assert done.returncode == 0, done.stderr
    assert "Reproduced to the bit" in done.stdout
    assert "within" in done.stdout
    place = Path(rewritten(digits, {"result.rows.0.low": 1.0, "result.rows.0.high": 1.0})).resolve()
    done = tlhub("reproduce", place, "--set", "train.seed=7", "--json")
    assert done.returncode == 2
    told = json.loads(done.stdout)
    assert (told["reproduced"], told["differences"]) == (False, ["changed here: train.seed=7"])
