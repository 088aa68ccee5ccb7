"""Runs what docs/tutorial.md shows, and writes what the commands print into it.

    python docs/make_tutorial.py

Every block of commands and of Python is run in one scratch folder, from top to bottom; the lines below a command are
replaced by what it printed. A comment above a block steers that:

    <!-- keep 8, 12 -->    of more output, keep the first 8 lines and the last 12
    <!-- exit 2 -->        the command ends with this code instead of 0
    <!-- interrupt -->     press Ctrl-C when training is under way; the command ends with code 130
    <!-- output -->        the block shows what the Python above printed
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs/tutorial.md"
BLOCK = re.compile(
    r"(?P<notes>(?:<!-- [^\n]* -->\n)*)```(?P<language>console|python|text)\n(?P<body>.*?)```\n", re.DOTALL
)


class Runner:
    """Somebody who types what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.printed = ""
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "TLHUB_HOME": str(folder / ".home"),
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "COLUMNS": "100",
        }

    def block(self, match: re.Match[str]) -> str:
        notes, language, body = match["notes"], match["language"], match["body"]
        if language == "python":
            self.printed = self.run([sys.executable, "-c", body], notes)
        elif language == "console":
            body = "".join(self.command(lines, notes) for lines in commands(body))
        elif "<!-- output -->" in notes:
            body = self.printed
        return f"{notes}```{language}\n{body}```\n"

    def command(self, typed: str, notes: str) -> str:
        print(typed, end="", flush=True)
        said = self.run(["bash", "-c", typed.removeprefix("$ ")], notes)
        keep = re.search(r"keep (\d+), (\d+)", notes)
        lines = [f"{line.rstrip()}\n" for line in said.splitlines()]
        if keep and len(lines) > int(keep[1]) + int(keep[2]):
            lines = [*lines[: int(keep[1])], "…\n", *lines[len(lines) - int(keep[2]) :]]
        return typed + "".join(lines)

    def run(self, command: list[str], notes: str) -> str:
        interrupt = "<!-- interrupt -->" in notes
        known = re.search(r"exit (\d+)", notes)
        expected = 130 if interrupt else int(known[1]) if known else 0
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if interrupt and ": step" in line:
                time.sleep(0.5)
                os.killpg(process.pid, signal.SIGINT)
                interrupt = False
        if process.wait() != expected:
            raise SystemExit(f"{said}\nended with {process.returncode} instead of {expected}")
        return said


def commands(body: str) -> list[str]:
    """The commands of a block, each with the lines it goes on to, without what they printed."""
    found: list[str] = []
    goes_on = False
    for line in body.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(line)
        elif goes_on:
            found[-1] += line
        else:
            continue
        goes_on = line.rstrip("\n").endswith("\\")
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "examples").symlink_to(ROOT / "examples")
        runner = Runner(folder)
        page = BLOCK.sub(runner.block, FILE.read_text(encoding="utf-8"))
    if str(ROOT) in page or name in page:
        raise SystemExit("the page would name a folder of this machine")
    FILE.write_text(page, encoding="utf-8")
    print(f"wrote {FILE.name}")


if __name__ == "__main__":
    main()
