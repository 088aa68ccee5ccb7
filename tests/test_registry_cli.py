"""`tlhub registry` as a user types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlhub.lineage import Origin
from tlhub_registry.registry import Registry

from .commands import Finished
from .conftest import Command
from .models import write_model

COMMIT = "c" * 40


@pytest.fixture
def registry(store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry that commands use; what they print is not folded here."""
    monkeypatch.setenv("COLUMNS", "200")
    return Registry(store / "registry")


@pytest.fixture
def chain(registry: Registry, tmp_path: Path) -> Registry:
    """A student of a teacher that stands on a published backbone."""
    backbone = Origin("backbone", "timm/[red]resnet50", COMMIT)
    teacher = registry.add(
        write_model(tmp_path / "teacher", {"w": np.ones(3, np.float32)}, name="teacher", lineage=[backbone])
    )
    taught = Origin("teacher", "teacher", teacher.digest, (backbone,))
    loose = Origin("backbone", "timm/loose", None)
    registry.add(
        write_model(
            tmp_path / "student",
            {"w": np.zeros(3, np.float32)},
            name="student",
            lineage=[loose, taught],
            adapters=["distillation"],
        )
    )
    return registry


def told(done: Finished) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(done: Finished | subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def damage(registry: Registry) -> None:
    path = max(registry.blobs.found(), key=lambda path: path.stat().st_size)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])


def test_an_empty_registry_says_how_it_is_filled(registry: Registry, tlhub: Command) -> None:
    shown = tlhub("registry", "list").stdout
    assert "Nothing is kept here yet." in shown
    assert "tlhub adapt MANIFEST" in shown
    assert not registry.root.exists()


def test_list_shows_the_newest_first_and_filters(chain: Registry, tlhub: Command) -> None:
    shown = tlhub("registry", "list").stdout
    assert re.search(r"^student:1 .* classification +distillation +accuracy 91.3 % ", shown, re.MULTILINE)
    assert shown.index("student:1") < shown.index("teacher:1")
    assert [each["ref"] for each in told(tlhub("registry", "list", "--adapter", "DISTILL", "--json"))] == ["student:1"]
    assert told(tlhub("registry", "list", "teacher", "--adapter", "distill", "--json")) == []
    assert "matches" in tlhub("registry", "list", "--tag", "best").stdout


def test_show_says_where_an_entry_comes_from(chain: Registry, tlhub: Command, tmp_path: Path) -> None:
    chain.note_published(chain.find("student"), f"hub:you/student@{COMMIT}")
    shown = tlhub("registry", "show", "student").stdout
    assert re.search(rf"^from +{re.escape(str(tmp_path / 'student'))}$", shown, re.MULTILINE)
    assert f"hub:you/student@{COMMIT}" in shown
    assert re.search(r"^model\.safetensors +[\d,]+$", shown, re.MULTILINE)
    assert "tlhub publish student:1 OWNER/NAME" in shown
    facts = told(tlhub("registry", "show", "student:1", "--json"))
    assert facts["record"] == chain.find("student").record
    assert "did you mean `student`?" in refusal(tlhub("registry", "show", "studnet"))


def test_lineage_is_a_tree_with_every_revision(chain: Registry, tlhub: Command) -> None:
    student, teacher = chain.find("student"), chain.find("teacher")
    assert tlhub("registry", "lineage", "student").stdout.startswith(
        f"adapted: student:1 @ {student.digest}\n"
        "├── backbone: timm/loose @ not pinned\n"
        f"└── teacher: teacher @ {teacher.digest}, here teacher:1\n"
        f"    └── backbone: timm/[red]resnet50 @ {COMMIT}\n"
    )
    tree = told(tlhub("registry", "lineage", "student", "--json"))
    [loose, taught] = tree["lineage"]
    assert (loose["revision"], taught["entry"], taught["lineage"][0]["revision"]) == (None, "teacher:1", COMMIT)


def test_a_tag_is_given_and_taken(chain: Registry, tlhub: Command) -> None:
    assert "student:best means student:1." in tlhub("registry", "tag", "student", "best").stdout
    assert chain.find("student:best").ref == "student:1"
    assert "is no tag" in refusal(tlhub("registry", "tag", "student", "12"))
    assert "is removed" in tlhub("registry", "tag", "--delete", "student:best").stdout
    assert "which tag" in refusal(tlhub("registry", "tag", "--delete", "student"))


def test_what_another_was_made_from_is_not_removed_by_mistake(chain: Registry, tlhub: Command) -> None:
    assert "teacher:1 is what student:1 was made from" in refusal(tlhub("registry", "remove", "teacher"))
    assert "--yes removes it without asking" in refusal(tlhub("registry", "remove", "student"))
    assert "teacher:1 is removed." in tlhub("registry", "remove", "teacher", "--yes").stdout
    assert [entry.ref for entry in chain.entries()] == ["student:1"]
    freed = tlhub("registry", "gc", "--dry-run").stdout
    assert re.search(r"^To remove: 1 file, \d+ bytes\.$", freed, re.MULTILINE)
    assert re.search(r"^Removed: 1 file, \d+ bytes\.$", tlhub("registry", "gc").stdout, re.MULTILINE)


def test_fsck_exits_with_2_until_all_is_mended(chain: Registry, tlhub: Command, tmp_path: Path) -> None:
    assert "Everything is as it was written: 2 models" in tlhub("registry", "fsck").stdout
    damage(chain)
    found = tlhub("registry", "fsck")
    assert found.returncode == 2
    assert re.search(r"^(student|teacher):1 +model\.safetensors +truncated +not mended$", found.stdout, re.MULTILINE)
    assert "tlhub registry fsck --repair" in found.stdout
    mended = tlhub("registry", "fsck", "--repair")
    assert mended.returncode == 0
    assert re.search(rf" truncated +{re.escape(str(tmp_path))}/(student|teacher)$", mended.stdout, re.MULTILINE)
    assert tlhub("registry", "fsck").returncode == 0


def test_fsck_names_what_no_entry_needs(chain: Registry, tlhub: Command) -> None:
    chain.remove(chain.find("student"))
    lost = sorted(str(path) for path in chain.blobs.found())
    shown = tlhub("registry", "fsck")
    assert shown.returncode == 0
    assert sum(path in shown.stdout for path in lost) == 1
    assert "tlhub registry gc" in shown.stdout


def test_a_run_can_be_added_later(registry: Registry, tlhub: Command, tmp_path: Path) -> None:
    write_model(tmp_path / "run", {"w": np.ones(3, np.float32)})
    assert "It is kept as mine:1." in tlhub("registry", "add", "run", "--name", "mine").stdout
    assert registry.find("mine").run == str(tmp_path / "run")


def test_a_full_disk_is_told_in_one_line(registry: Registry, tmp_path: Path) -> None:
    write_model(tmp_path / "run", {"w": np.ones(100_000, np.float32)})
    limited = f"ulimit -f 300 && exec '{sys.executable}' -m tlhub_cli registry add run"
    done = subprocess.run(["sh", "-c", limited], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert re.fullmatch(
        r"error: the registry in \S+ cannot be written: File too large\n  help: make room there, then do it again\n",
        refusal(done),
    )
    assert registry.entries() == []


def test_looking_is_quick(chain: Registry) -> None:
    """Nothing heavy is imported to list, to show, or to check."""
    program = """
import sys
from tlhub_cli.main import app
for arguments in (["list"], ["show", "student"], ["lineage", "student"], ["fsck"], ["gc"]):
    try:
        app(["registry", *arguments])
    except SystemExit as end:
        assert not end.code
found = {"torch", "timm", "transformers", "datasets", "numpy", "huggingface_hub"} & set(sys.modules)
assert not found, found
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
