"""A killed training continues to the same weights, bit for bit, and an interrupted one leaves in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tlhub.checkpoint import Checkpoints, State, sha256
from tlhub.errors import TrainingError

from .commands import Commands, Running
from .conftest import Command
from .tables import write_images

pytestmark = pytest.mark.slow

MANIFEST = """\
backbone: {{use: timm, model: test_resnet, pretrained: false, input_size: 32, augment: resized_crop}}
source: {{use: imagefolder, path: {images}}}
target: {{use: imagefolder, path: {images}}}
adapters:
  - {{use: head_swap, bottleneck: 16, dropout: 0.5}}
  - mmd
  - dann
train: {{epochs: 3, steps_per_epoch: 12, batch: 6, checkpoint_every: 2, workers: {workers}, seed: 3}}
"""


ADAPT = ("adapt", "manifest.yaml", "--out", "out", "--no-baseline")


@pytest.fixture
def started(commands: Commands) -> Callable[..., Running]:
    """Begins an adaptation in a folder."""
    return lambda folder, *arguments: commands.start(*ADAPT, *arguments, cwd=folder, env=os.environ)


def wait_for_checkpoint(folder: Path, running: Running, number: int) -> None:
    """Until a checkpoint of at least `number` steps is whole."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not running.ended:
        there = folder / "out/checkpoints"
        names = [path.name for path in there.iterdir()] if there.is_dir() else []
        if any(name.isdigit() and int(name) >= number for name in names):
            return
        time.sleep(0.005)
    running.send(signal.SIGKILL)
    pytest.fail(f"no checkpoint {number}: {running.finished()}")


@pytest.fixture
def folders(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, Path]:
    images = write_images(tmp_path / "images", each=7, side=40)
    made = tmp_path / "whole", tmp_path / "killed"
    for folder in made:
        folder.mkdir()
        (folder / "manifest.yaml").write_text(MANIFEST.format(images=images, workers=getattr(request, "param", 0)))
    return made


@pytest.mark.parametrize("folders", [0, 2], indirect=True, ids=["0 workers", "2 workers"])
def test_sigkill_and_resume_end_in_the_same_weights(
    folders: tuple[Path, Path], started: Callable[..., Running]
) -> None:
    whole, killed = folders
    assert started(whole).finished().returncode == 0
    for number in (2, 6):
        running = started(killed, "--resume")
        wait_for_checkpoint(killed, running, number)
        running.send(signal.SIGKILL)
        assert running.finished().returncode == -signal.SIGKILL
        assert not (killed / "out/tlhub.json").exists(), "it was killed in the middle"
    done = started(killed, "--resume").finished()
    assert done.returncode == 0, done
    assert sha256(killed / "out/model.safetensors") == sha256(whole / "out/model.safetensors")


def test_results_do_not_depend_on_the_number_of_workers(folders: tuple[Path, Path], tlhub: Command) -> None:
    whole, other = folders
    for folder, workers in ((whole, 0), (other, 3)):
        done = tlhub(*ADAPT, "--set", f"train.workers={workers}", cwd=folder)
        assert done.returncode == 0, done.stderr
    assert sha256(whole / "out/model.safetensors") == sha256(other / "out/model.safetensors")


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_training_leaves_a_checkpoint_and_no_traceback(
    folders: tuple[Path, Path], started: Callable[..., Running], sent: signal.Signals, status: int
) -> None:
    folder = folders[0]
    running = started(folder, "--set", "train.epochs=500", "--set", "train.checkpoint_every=1")
    wait_for_checkpoint(folder, running, 1)
    running.send(sent)
    done = running.finished()
    assert done.returncode == status
    assert "Traceback" not in done.stdout + done.stderr
    assert "--resume" in done.stdout + done.stderr
    assert any(path.name.isdigit() for path in (folder / "out/checkpoints").iterdir())


class TestCheckpoints:
    """A checkpoint is read only if every byte is as it was written."""

    @pytest.fixture
    def checkpoints(self, tmp_path: Path) -> Checkpoints:
        saved = Checkpoints(tmp_path / "checkpoints")
        for number in (1, 2, 3):
            saved.save(number, State({"weight": torch.full((50,), float(number))}, {"step": number}))
        return saved

    def test_the_newest_is_read_and_two_are_kept(self, checkpoints: Checkpoints) -> None:
        state, damaged = checkpoints.latest()
        assert state is not None
        assert (state.facts["step"], damaged) == (3, [])
        assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["0000000002", "0000000003"]

    @pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
    @pytest.mark.parametrize("damage", ["missing", "half", "empty", "flipped bit"])
    def test_a_damaged_one_is_named_and_the_older_one_used(
        self, checkpoints: Checkpoints, name: str, damage: str
    ) -> None:
        path = checkpoints.folder / "0000000003" / name
        content = bytearray(path.read_bytes())
        if damage == "missing":
            path.unlink()
        elif damage == "flipped bit":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        else:
            path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
        state, damaged = checkpoints.latest()
        assert state is not None
        assert state.facts["step"] == 2
        assert str(path) in damaged[0]

    def test_a_half_written_one_is_not_seen(self, checkpoints: Checkpoints) -> None:
        (checkpoints.folder / "0000000004.partial").mkdir()
        state, damaged = checkpoints.latest()
        assert state is not None
        assert (state.facts["step"], damaged) == (3, [])

    def test_a_disk_that_refuses_leaves_the_older_ones(self, checkpoints: Checkpoints) -> None:
        (checkpoints.folder / "0000000004.partial").write_text("in the way")
        with pytest.raises(TrainingError, match="cannot be written"):
            checkpoints.save(4, State({"weight": torch.ones(1)}, {"step": 4}))
        state, _ = checkpoints.latest()
        assert state is not None
        assert state.facts["step"] == 3


class TestGoingOn:
    """What `--resume` continues, and what it refuses."""

    def test_changed_data_is_refused_by_name(
        self, folders: tuple[Path, Path], tlhub: Command, started: Callable[..., Running]
    ) -> None:
        folder = folders[0]
        running = started(folder, "--set", "train.checkpoint_every=1", "--set", "train.epochs=500")
        wait_for_checkpoint(folder, running, 1)
        running.send(signal.SIGKILL)
        assert running.finished().returncode == -signal.SIGKILL
        write_images(folder.parent / "images", each=9, side=40)
        done = tlhub(*ADAPT, "--resume", "--set", "train.epochs=500", cwd=folder)
        assert done.returncode == 2
        assert "the data of `source`, `target` changed since the checkpoints" in done.stderr

    def test_a_folder_that_is_no_run_is_refused(self, folders: tuple[Path, Path], tlhub: Command) -> None:
        done = tlhub("adapt", "manifest.yaml", "--out", ".", "--resume", cwd=folders[0])
        assert done.returncode == 2
        assert "nothing to resume" in done.stderr

    def test_runs_of_one_manifest_at_once_take_folders_of_their_own(self, folders: tuple[Path, Path]) -> None:
        folder = folders[0]
        command = [sys.executable, "-m", "tlhub_cli", "adapt", "manifest.yaml", "--no-baseline"]
        command += ["--set", "train.epochs=1"]
        runs = [subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) for _ in range(3)]
        assert [run.wait(timeout=240) for run in runs] == [0, 0, 0]
        assert sorted(path.name for path in (folder / "runs").iterdir()) == ["whole", "whole-2", "whole-3"]
        assert len(list((folder / "runs").glob("*/tlhub.json"))) == 3
