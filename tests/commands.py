"""Runs `tlhub` many times: every command in a process of its own, without the seconds that the imports take.

A server process imports everything once, under the environment that the client reads then, and forks for each command.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent


class Finished(NamedTuple):
    """How a command ended; the code is negative where a signal ended it."""

    returncode: int
    stdout: str
    stderr: str


class Commands:
    """A server of commands.

    Args:
        folder: where the output of commands is kept.
        env: the environment of all commands.
    """

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        known = {name: value for name, value in env.items() if name != "COLUMNS"}  # as where there is no terminal
        self.server = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            cwd=ROOT,
            env={**known, "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait(30)

    def __call__(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, begun: Callable[[int], None] | None = None
    ) -> Finished:
        """Run `tlhub` with arguments, and further variables in its environment; `begun` is told the process."""
        job = {"arguments": list(map(str, arguments)), "env": dict(env or {}), "folder": str(self.folder)}
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(job) + "\n")
        self.server.stdin.flush()
        process = int(self.server.stdout.readline())
        if begun is not None:
            begun(process)
        self.server.stdin.write("go\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return Finished(code, (self.folder / "stdout").read_text(), (self.folder / "stderr").read_text())


IMPORTED = (
    "huggingface_hub.hf_api",
    "matplotlib.backends.backend_agg",
    "peft",
    "tlhub_cli.main",
    "tlhub_registry.publish",
    "timm",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
)
"""What commands import."""


def _serve() -> None:
    from tlhub.catalog import Catalog

    for name in IMPORTED:
        importlib.import_module(name)
    Catalog.installed().entries()
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
    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    try:
        os.environ.update(job["env"])  # type: ignore[call-overload]
        os.chdir(folder)
        sys.argv = ["tlhub", *job["arguments"]]  # type: ignore[misc]
        main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
