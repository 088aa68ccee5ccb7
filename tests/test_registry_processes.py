"""Many processes use one registry at once, and some are killed: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlhub.errors import UserError
from tlhub_registry.fsck import check
from tlhub_registry.garbage import collect
from tlhub_registry.parts import LARGE
from tlhub_registry.registry import Registry

from .models import write_model

pytestmark = pytest.mark.slow

PROCESSES = 10
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__, "tlhub.artifact"])  # what a process needs is imported once


def started(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    process = CONTEXT.Process(target=work, args=arguments)
    process.start()
    return process


def joined(processes: Iterable[ForkServerProcess]) -> list[int | None]:
    """How the processes ended."""
    codes = []
    for process in processes:
        process.join(timeout=240)
        codes.append(process.exitcode)
    return codes


def small_models(folder: Path, count: int) -> list[Path]:
    """Models whose weights no other has."""
    seed = int.from_bytes(folder.name.encode(), "big")
    draws = np.random.default_rng(seed).normal(size=(count, 50)).astype(np.float32)
    return [write_model(folder / str(number), {"weight": weight}) for number, weight in enumerate(draws)]


def open_fresh(root: Path, rounds: int, barrier: Barrier) -> None:
    for number in range(rounds):
        barrier.wait()
        with Registry(root / str(number)).database.writing() as db:
            db.execute("INSERT INTO names VALUES (?, 1)", (str(os.getpid()),))


def add_all(root: Path, folders: Sequence[Path], acknowledged: Path, barrier: Barrier) -> None:
    """Add models one by one, and write down each once it is added."""
    registry = Registry(root)
    barrier.wait()
    with acknowledged.open("a") as log:
        for folder in folders:
            entry = registry.add(folder)
            log.write(f"{entry.ref} {entry.digest}\n")
            log.flush()


def in_log(acknowledged: Iterable[Path]) -> set[tuple[str, ...]]:
    """References and digests; a line that a kill cut short was not acknowledged."""
    lines = [line for path in acknowledged if path.exists() for line in path.read_text().splitlines(keepends=True)]
    return {tuple(line.split()) for line in lines if line.endswith("\n")}


def test_ten_processes_open_a_fresh_registry_at_once_fifty_times(tmp_path: Path) -> None:
    barrier = CONTEXT.Barrier(PROCESSES)
    assert joined([started(open_fresh, tmp_path, 50, barrier) for _ in range(PROCESSES)]) == [0] * PROCESSES
    for number in range(50):
        with Registry(tmp_path / str(number)).database.reading() as db:
            assert db.execute("SELECT count(*) FROM names").fetchone() == (PROCESSES,)


def test_ten_processes_add_a_hundred_models_each(tmp_path: Path) -> None:
    root, logs = tmp_path / "registry", [tmp_path / f"log-{number}" for number in range(PROCESSES)]
    barrier = CONTEXT.Barrier(PROCESSES)
    models = [small_models(tmp_path / f"models-{number}", 100) for number in range(PROCESSES)]
    processes = [started(add_all, root, *each, barrier) for each in zip(models, logs, strict=True)]
    assert joined(processes) == [0] * PROCESSES
    registry = Registry(root)
    entries = registry.entries("digits")
    assert [entry.version for entry in entries] == list(range(100 * PROCESSES, 0, -1))
    assert {(entry.ref, entry.digest) for entry in entries} == in_log(logs)
    report = check(registry)
    assert report.sound
    assert report.orphans == ()


def test_killed_processes_lose_nothing_acknowledged_and_leave_only_garbage(tmp_path: Path) -> None:
    """Seven of ten are killed at random moments, while an eleventh process collects garbage all the time."""
    root, logs = tmp_path / "registry", [tmp_path / f"log-{number}" for number in range(PROCESSES)]
    barrier = CONTEXT.Barrier(PROCESSES + 1)
    models = [small_models(tmp_path / f"models-{number}", 20) for number in range(PROCESSES)]
    processes = [started(add_all, root, *each, barrier) for each in zip(models, logs, strict=True)]
    stop = CONTEXT.Event()
    collector = started(collect_until, root, stop)
    barrier.wait()
    for process in processes[:7]:
        time.sleep(random.uniform(0.01, 0.15))
        process.kill()
    codes = joined(processes)
    stop.set()
    assert codes[7:] == [0, 0, 0]
    assert -signal.SIGKILL in codes[:7]
    assert joined([collector]) == [0]
    registry = Registry(root)
    kept = {(entry.ref, entry.digest) for entry in registry.entries()}
    assert in_log(logs) <= kept
    assert len(in_log(logs[7:])) == 60
    report = check(registry)
    assert report.damages == ()
    assert set(collect(registry).blobs) == set(report.orphans)
    whole = check(registry)
    assert (whole.sound, whole.orphans, whole.entries) == (True, (), len(kept))


def collect_until(root: Path, stop: Any) -> None:
    registry = Registry(root)
    while not stop.is_set():
        collect(registry)


def test_a_kill_at_any_file_operation_is_mended_by_adding_again(tmp_path: Path) -> None:
    draw = np.random.default_rng(0).normal(size=(3, LARGE)).astype(np.float32)
    model = write_model(tmp_path / "model", {"first": draw[0], "second": draw[1], "small": draw[2, :50]})
    operation = 0
    while True:
        registry = Registry(tmp_path / f"registry-{operation}")
        [code] = joined([started(add_until_killed, registry.root, model, operation)])
        left = check(registry)
        assert left.sound
        assert left.entries in (0, 1)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        entry = registry.add(model)
        assert entry.version == 1
        registry.checkout(entry)
        collect(registry)
        assert set(registry.blobs.folder.glob("**/*")) == {
            path for blob in registry.blobs.found() for path in (blob, blob.parent)
        }
        assert check(registry).orphans == ()
        operation += 1
    assert operation > 10


def add_until_killed(root: Path, model: Path, operation: int) -> None:
    """Add a model; before a certain one of the operations on files of the registry, the process is killed."""
    left = operation

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        operations = ("open", "os.rename", "os.mkdir", "os.remove", "os.chmod", "sqlite3.connect")
        if event in operations and str(arguments[0]).startswith(str(root)):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(count)
    Registry(root).add(model)


def test_processes_that_check_out_the_same_model_get_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "registry")
    registry.add(write_model(tmp_path / "model", {"weight": np.ones(LARGE, np.float32)}))
    barrier = CONTEXT.Barrier(5)
    assert joined([started(check_out, registry.root, barrier) for _ in range(5)]) == [0] * 5
    [folder] = registry.checkouts.folder.iterdir()
    assert folder == registry.checkout(registry.find("digits"))


def check_out(root: Path, barrier: Barrier) -> None:
    registry = Registry(root)
    barrier.wait()
    assert (registry.checkout(registry.find("digits")) / "model.safetensors").is_file()


class TestDiskFull:
    """What a full disk refuses is refused as a whole, in one line."""

    @pytest.mark.parametrize("largest", [8_000, 120_000, 200_000])
    def test_adding(self, tmp_path: Path, largest: int) -> None:
        model = write_model(tmp_path / "model", {"weight": np.ones(LARGE, np.float32)})
        registry = Registry(tmp_path / "registry")
        assert joined([started(add_to_full_disk, registry.root, model, largest)]) == [0]
        assert registry.entries() == []
        assert list(registry.blobs.leftovers()) == []
        assert registry.add(model).ref == "digits:1"
        assert check(registry).sound

    def test_checking_out(self, tmp_path: Path) -> None:
        registry = Registry(tmp_path / "registry")
        entry = registry.add(write_model(tmp_path / "model", {"weight": np.ones(LARGE, np.float32)}))
        assert joined([started(check_out_to_full_disk, registry.root)]) == [0]
        assert list(registry.checkouts.folder.iterdir()) == []
        registry.checkout(entry)


def refused(work: Callable[[], object], largest: int) -> None:
    """The work fails in words, where no file can have more bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    with pytest.raises(UserError, match=r"registry.* cannot be (written|used): .+") as error:
        work()
    assert "\n" not in error.value.message
    assert "make room" in str(error.value.hint)


def add_to_full_disk(root: Path, model: Path, largest: int) -> None:
    refused(lambda: Registry(root).add(model), largest)


def check_out_to_full_disk(root: Path) -> None:
    registry = Registry(root)
    entry = registry.find("digits")
    refused(lambda: registry.checkout(entry), 100_000)
