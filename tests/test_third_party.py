"""A plugin of a stranger, installed from its own package into an environment of its own, is as good as ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from .conftest import ROOT

pytestmark = pytest.mark.slow

BROKEN = {
    "pyproject.toml": """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "tlhub-broken"
version = "9.9"

[project.entry-points.tlhub]
broken = "tlhub_broken"

[tool.hatch.build.targets.wheel]
packages = ["tlhub_broken"]
""",
    "tlhub_broken/__init__.py": "import a_module_that_nobody_has\n",
}


class Environment:
    """A virtual environment that sees this one's packages."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.folder = folder
        self.python = folder / "venv/bin/python"
        site = next((folder / "venv/lib").glob("python*/site-packages"))
        parents = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        # addsitedir, so that editable installs over there count here too
        (site / "parent.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in parents))

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.python, *arguments], cwd=cwd or self.folder, capture_output=True, text=True, timeout=300, check=False
        )

    def install(self, package: Path) -> None:
        done = self.run("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", package)
        assert done.returncode == 0, done.stderr

    def tlhub(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return self.run("-m", "tlhub_cli", *arguments)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """One with the example plugin and a broken one."""
    folder = tmp_path_factory.mktemp("scratch")
    made = Environment(folder)
    copied = folder / "plugin"
    subprocess.run(["cp", "-r", str(ROOT / "examples/plugin"), str(copied)], check=True)  # building writes beside it
    made.install(copied)
    for name, content in BROKEN.items():
        path = folder / "broken" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    made.install(folder / "broken")
    return made


def test_it_is_listed_with_its_provider_and_the_broken_one_with_its_reason(environment: Environment) -> None:
    done = environment.tlhub("plugins", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    ours = {item["name"]: (item["kind"], item["distribution"], item["version"]) for item in listed["components"]}
    assert ours["average_pool"] == ("backbones", "tlhub-moments", "0.3.0")
    assert ours["moments"] == ("adapters", "tlhub-moments", "0.3.0")
    assert ours["rings"] == ("datasets", "tlhub-moments", "0.3.0")
    (broken,) = listed["broken"]
    assert (broken["distribution"], broken["version"]) == ("tlhub-broken", "9.9")
    assert "a_module_that_nobody_has" in broken["reason"]
    assert "a_module_that_nobody_has" in environment.tlhub("plugins").stdout


def test_it_is_described(environment: Environment) -> None:
    done = environment.tlhub("describe", "moments")
    assert done.returncode == 0, done.stderr
    assert "Zellinger" in done.stdout
    assert "orders" in done.stdout


def test_its_settings_are_checked_like_ours(environment: Environment) -> None:
    manifest = (ROOT / "examples/plugin/manifest.yaml").read_text()
    (environment.folder / "bad.yaml").write_text(manifest.replace("strength: 2.0", "strenght: 2.0"))
    done = environment.tlhub("check", "bad.yaml")
    assert done.returncode == 2
    assert "did you mean `strength`?" in done.stdout + done.stderr


def test_it_is_used(environment: Environment) -> None:
    done = environment.tlhub("adapt", ROOT / "examples/plugin/manifest.yaml", "--out", "adapted")
    assert done.returncode == 0, done.stderr
    record = json.loads((environment.folder / "adapted/tlhub.json").read_text())
    assert record["backbone"]["use"] == "average_pool"
    assert record["versions"]["tlhub-moments"] == "0.3.0"
    assert record["history"][-1]["loss"]["moments"] > 0
    assert [row["model"] for row in record["result"]["rows"]] == ["source-only", "adapted"]


def test_it_passes_the_shipped_contracts_with_two_lines_a_component(environment: Environment) -> None:
    tests = environment.folder / "plugin/tests"
    done = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tests), tests)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_broken_plugin_is_named_where_a_manifest_asks_for_it(environment: Environment) -> None:
    manifest = (ROOT / "examples/plugin/manifest.yaml").read_text()
    (environment.folder / "asks.yaml").write_text(manifest.replace("use: moments", "use: broken/moments"))
    done = environment.tlhub("check", "asks.yaml")
    assert done.returncode == 2
    assert "was set aside" in done.stdout + done.stderr


def test_our_environment_is_as_it_was() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "tlhub_cli", "plugins", "--json"], capture_output=True, text=True, check=True
    )
    assert "tlhub-moments" not in listed.stdout
    assert os.environ["TLHUB_HOME"]
