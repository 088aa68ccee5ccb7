"""What all tests share: few threads, a store of their own, and commands as a user runs them."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.hub.server import Hub

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, here and in every command that a test runs
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"
os.environ["TLHUB_HOME"] = tempfile.mkdtemp(prefix="tlhub-tests-")  # what fixtures of a session keep
atexit.register(shutil.rmtree, os.environ["TLHUB_HOME"], ignore_errors=True)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("TLHUB_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store for kept baselines."""
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("TLHUB_HOME", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


class Command(Protocol):
    """Runs `tlhub` with arguments in a folder and returns the finished process."""

    def __call__(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]: ...


@pytest.fixture
def tlhub(tmp_path: Path) -> Command:
    """The command, run as a user runs it; by default in the test's own folder."""

    def run(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tlhub_cli", *map(str, arguments)],
            cwd=cwd or tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

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
