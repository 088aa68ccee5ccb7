"""What all tests share: few threads, a store of their own, and commands as a user runs them."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.commands import Commands, Finished
from tests.hub.server import Hub

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in every command that a test runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
KEPT = tempfile.mkdtemp(prefix="tlhub-tests-")
atexit.register(shutil.rmtree, KEPT, ignore_errors=True)
os.environ["TLHUB_HOME"] = str(Path(KEPT) / "session")  # what fixtures of a session keep
NUMBERS = itertools.count()  # a folder for each test

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TLHUB_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for kept baselines, which is made when something is kept."""
    folder = Path(KEPT) / str(next(NUMBERS))
    monkeypatch.setenv("TLHUB_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


class Command(Protocol):
    """Runs `tlhub` with arguments in a folder, in a process of its own."""

    def __call__(self, *arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> Finished: ...


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """What forks processes for commands; every test says its own folder and environment."""
    with Commands(tmp_path_factory.mktemp("commands"), os.environ) as commands:
        yield commands


@pytest.fixture
def tlhub(commands: Commands, tmp_path: Path) -> Command:
    """The command, run as a user runs it; by default in the test's own folder."""

    def run(*arguments: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> Finished:
        return commands(*arguments, cwd=cwd or tmp_path, env=os.environ, stdin=stdin)

    return run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """A Hub on the loopback, for clients in processes of their own."""
    with Hub(tmp_path / "hub") as hub:
        yield hub


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}: set TLHUB_SHARED")
    return SHARED
