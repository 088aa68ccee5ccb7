"""Runs `tlhub` many times: every command in a process of its own, without the seconds that the imports take.

A server process imports everything once, under the environment that the client reads then, and forks for each command.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent

IMPORTED = (
    "huggingface_hub.hf_api",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "peft",
    "sklearn.datasets",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "tlhub_cli.main",
    "tlhub_registry.publish",
    "timm",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
)
"""What commands import."""


class Finished(NamedTuple):
    """How a command ended; the code is negative where a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


class Running:
    """A command that has begun; `finished` before the next one begins."""

    def __init__(self, server: Commands, process: int) -> None:
        self.server, self.pid = server, process

    @property
    def ended(self) -> bool:
        return bool(select.select([self.server.told], [], [], 0)[0])

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def finished(self) -> Finished:
        """How it ended, once it has."""
        code = int(self.server.told.readline())
        return Finished(code, *((self.server.folder / name).read_text() for name in ("stdout", "stderr")))


class Commands:
    """A server of commands.

    Args:
        folder: where the output of commands is kept, and where they run unless told otherwise.
        env: the environment of all commands.
        imported: what the server imports, for all of them.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], imported: Sequence[str] = IMPORTED) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        known = {name: value for name, value in env.items() if name != "COLUMNS"}  # as where there is no terminal
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.commands", *imported],
            cwd=ROOT,
            env={**known, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": _first(ROOT, known.get("PYTHONPATH"))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.server.stdout is not None
        self.told = self.server.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)

    def start(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        begun: Callable[[int], None] | None = None,
    ) -> Running:
        """Begin `tlhub` with arguments, as `__call__` does; one at a time."""
        (self.folder / "stdin").write_bytes(stdin)
        job = {
            "arguments": list(map(str, arguments)),
            "cwd": str(cwd or self.folder),
            "env": dict(env or {}),
            "folder": str(self.folder),
        }
        self._say(json.dumps(job))
        running = Running(self, int(self.told.readline()))
        if begun is not None:
            begun(running.pid)
        self._say("go")
        return running

    def __call__(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        begun: Callable[[int], None] | None = None,
    ) -> Finished:
        """Run `tlhub` with arguments, and further variables in its environment; `begun` is told the process."""
        return self.start(*arguments, cwd=cwd, env=env, stdin=stdin, begun=begun).finished()

    def _say(self, line: str) -> None:
        assert self.server.stdin is not None
        self.server.stdin.write(line + "\n")
        self.server.stdin.flush()


def _first(folder: Path, path: str | None) -> str:
    return os.pathsep.join(filter(None, (str(folder), path)))


def _serve() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    if "torch" in sys.modules:
        from tlhub.catalog import Catalog

        Catalog.installed().entries()
    gc.freeze()  # no collection in a command copies the pages of all that was imported
    while line := sys.stdin.readline():
        job = json.loads(line)
        ready, go = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(go)
            os.read(ready, 1)
            _run(job)
        os.close(ready)
        sys.stdout.write(f"{process}\n")
        sys.stdout.flush()
        sys.stdin.readline()
        os.close(go)
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(job: Mapping[str, object]) -> None:
    """Be the command; never returns."""
    from tlhub_cli.main import main

    folder, code = Path(str(job["folder"])), 1
    os.dup2(os.open(folder / "stdin", os.O_RDONLY), 0)
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    try:
        os.environ.update(job["env"])  # type: ignore[call-overload]
        os.chdir(str(job["cwd"]))
        sys.argv = ["tlhub", *job["arguments"]]  # type: ignore[misc]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
