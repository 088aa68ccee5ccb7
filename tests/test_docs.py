"""The documentation is held to the code: its examples run, its manifests pass the check, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tlhub import manifest as manifests
from tlhub.catalog import KINDS, Catalog
from tlhub.testing import (
    AdapterContract,
    BackboneContract,
    DatasetContract,
    HeadContract,
    SymptomContract,
    ValidatorContract,
)
from tlhub_cli.main import app

from .conftest import ROOT

RESULTS = ROOT / "docs/results"  # written by benchmarks
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if RESULTS not in page.parents),
]
BLOCK = re.compile(
    r"(?P<notes>(?:<!-- [^\n]* -->\n)*)```(?P<language>\w+)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)
CONTRACTS = (AdapterContract, BackboneContract, DatasetContract, HeadContract, SymptomContract, ValidatorContract)


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """The notes above each block of a language, and its text."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(match["notes"], match["body"]) for match in found if match["language"] == language]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def with_blocks(language: str) -> list[Any]:
    return [pytest.param(page, id=named(page)) for page in PAGES if blocks(page, language)]


def executed(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The page's Python, run from top to bottom as one module."""
    module = types.ModuleType(f"page_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(folder)
    for notes, body in blocks(page, "python"):
        code = compile(body, named(page), "exec")
        if "<!-- not run -->" not in notes:
            exec(code, vars(module))
    return module


@pytest.mark.parametrize("page", [param for param in with_blocks("python") if param.id != "docs/tutorial.md"])
def test_python_on_a_page_runs_and_holds_the_contracts(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = executed(page, tmp_path, monkeypatch)
    contracts = [cls for name, cls in vars(module).items() if name.startswith("Test") and issubclass(cls, CONTRACTS)]
    for contract in contracts:
        for name in [name for name in dir(contract) if name.startswith("test_")]:
            test = getattr(contract(), name)
            folder = tmp_path / f"{contract.__name__}-{name}"
            folder.mkdir()
            test(**({"tmp_path": folder} if "tmp_path" in inspect.signature(test).parameters else {}))


@pytest.mark.parametrize("page", with_blocks("yaml"))
def test_manifests_on_a_page_pass_the_check(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog.installed()
    module = executed(page, tmp_path, monkeypatch) if page.name != "tutorial.md" else types.ModuleType("empty")
    if any(hasattr(module, f"tlhub_{kind}") for kind in KINDS):
        catalog.add("page", module)
    assert catalog.broken == []
    for notes, body in blocks(page, "yaml"):
        if "<!-- a part -->" in notes:
            continue
        manifests.loads(body, named(page), catalog=catalog)


def test_the_quickstart_passes_the_check() -> None:
    for example in ("digits", "text"):
        manifests.load(ROOT / f"examples/{example}/manifest.yaml", catalog=Catalog.installed())


@pytest.mark.parametrize("page", [pytest.param(page, id=named(page)) for page in PAGES])
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", link):
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if RESULTS in target.parents:
            continue
        assert target.exists(), f"{named(page)}: {link}"
        if heading:
            assert heading in headings(target), f"{named(page)}: {link}"


def headings(page: Path) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    lines = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines]


@pytest.mark.parametrize("page", [*with_blocks("console"), *with_blocks("sh")])
def test_commands_on_a_page_exist_and_have_the_options(page: Path) -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    typed = [body for _, body in [*blocks(page, "console"), *blocks(page, "sh")]]
    lines = [line for body in typed for line in body.replace("\\\n", "").splitlines()]
    for line in lines:
        for part in re.findall(r"(?:^\$ |^|/|&& )tlhub ([^&|>#]*)", line):
            words = shlex.split(part)
            if not words or words[0].startswith("-"):
                continue
            assert words[0] in known, f"{named(page)}: {line}"
            command = known[words[0]]
            if hasattr(command, "commands"):
                assert words[1] in command.commands, f"{named(page)}: {line}"
                command = command.commands[words[1]]
            options = {option for each in command.params for option in each.opts}
            used = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert used <= {*options, "--help"}, f"{named(page)}: {line}"


def test_the_readme_has_two_commands_each_on_one_line() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    fresh = [body for _, body in blocks(ROOT / "README.md", "sh") if body.startswith("python3 -m venv")]
    assert [len(body.splitlines()) for body in fresh] == [1, 1]
    assert [line for line in text.splitlines() if "python -m pytest" in line] == [fresh[1].strip()]


@pytest.mark.parametrize("page", ["reference", "methods", "pairs"])
def test_a_generated_page_is_what_the_code_says(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", ROOT / f"docs/make_{page}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    assert module.text() == written, f"run `python docs/make_{page}.py`"


@pytest.mark.parametrize("page", [pytest.param(page, id=named(page)) for page in PAGES])
def test_no_score_is_written_by_hand(page: Path) -> None:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    text = re.sub(r"<!-- result:(\w+) -->.*?<!-- /result:\1 -->", "", text, flags=re.DOTALL)
    assert re.findall(r"\d+\.\d+\s?%", text) == []
