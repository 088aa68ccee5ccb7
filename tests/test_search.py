"""Finding models: on this disk, on the Hub, by what they say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Commands
from tests.hub.server import Hub
from tests.models import write_model
from tests.sharing import client
from tlhub import Origin
from tlhub_registry.registry import Registry

pytestmark = pytest.mark.hub

LIGHT = ("huggingface_hub.hf_api", "tlhub_cli.main", "tlhub_registry.registry")
"""What a search imports: nothing that takes long."""

CARD = """---
library_name: timm
pipeline_tag: image-classification
tags: [tlhub, domain-adaptation, dann, partial-freeze]
base_model: timm/resnet18.a1_in1k
datasets: [you/photos]
model-index:
- name: {name}
  results:
  - task: {{type: image-classification}}
    dataset: {{type: imagefolder, name: "imagefolder sketches"}}
    metrics: [{{type: accuracy, value: 0.875}}]
---
# {name}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Commands]]:
    """A Hub with a model of ours and one of somebody else's, and a registry with two entries."""
    folder = tmp_path_factory.mktemp("search")
    registry = Registry(folder / "tlhub" / "registry")
    origin = Origin("backbone", "timm/vit_tiny.in21k", "0" * 40)
    numbers = {"weight": [1.0, 2.0]}
    registry.add(write_model(folder / "a", numbers, name="digits", adapters=["mmd"]))
    entry = registry.add(write_model(folder / "b", numbers, name="birds", adapters=["dann"], lineage=[origin]))
    registry.tag(entry, "best")
    with Hub(folder / "hub") as hub:
        hub.create("somebody/sketches", {"README.md": CARD.format(name="sketches").encode()})
        hub.create("somebody/other", {"README.md": b"---\ntags: [dann]\n---\n"})
        hub.create("secret/sketches", {"README.md": CARD.format(name="secret").encode()}, private=True)
        with Commands(folder / "commands", client(hub, folder), LIGHT) as tlhub:
            yield hub, tlhub


def places(world: tuple[Hub, Commands], *arguments: str) -> list[str]:
    done = world[1]("search", *arguments, "--json")
    assert done.returncode == 0, done
    return [model["place"] for model in json.loads(done.stdout)["models"]]


BIRDS, DIGITS, SKETCHES = "birds:1", "digits:1", "hub:somebody/sketches"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [BIRDS, DIGITS, SKETCHES]),
        (["--local"], [BIRDS, DIGITS]),
        (["--hub"], [SKETCHES]),
        (["SKETCH"], [SKETCHES]),
        (["photos"], [BIRDS, DIGITS, SKETCHES]),  # all of them were trained on such
        (["--adapter", "dann"], [BIRDS, SKETCHES]),
        (["--adapter", "partial_freeze"], [SKETCHES]),
        (["--base", "vit_tiny"], [BIRDS]),
        (["--base", "resnet18"], [DIGITS, SKETCHES]),
        (["--data", "you/photos"], [SKETCHES]),
        (["--task", "classification"], [BIRDS, DIGITS, SKETCHES]),
        (["--task", "regression"], []),
        (["--tag", "best"], [BIRDS]),
        (["--tag", "domain-adaptation"], [SKETCHES]),
        (["dann", "--base", "resnet18"], [SKETCHES]),
        (["--limit", "1"], [BIRDS, SKETCHES]),
    ],
    ids=" ".join,
)
def test_it_finds_what_says_so(world: tuple[Hub, Commands], arguments: list[str], expected: list[str]) -> None:
    assert places(world, *arguments) == expected


def test_a_table_shows_what_matters(world: tuple[Hub, Commands]) -> None:
    told = world[1]("search").stdout
    assert "tlhub show birds:1" in told, "what to do next"
    [birds] = [line for line in told.splitlines() if line.startswith("birds:1")]
    assert re.search(r"accuracy 91.3 % +accuracy 70.0 %$", birds)
    [sketches] = [line for line in told.splitlines() if line.startswith("hub:somebody")]
    assert "timm/resnet18.a1_in1k" in sketches
    assert "accuracy 87.5 %" in sketches


def test_a_hub_that_fails_is_an_error_only_where_it_alone_was_asked(world: tuple[Hub, Commands]) -> None:
    hub, tlhub = world
    hub.fail("GET", "/api/models", status=400, times=2)
    done = tlhub("search")
    assert done.returncode == 0
    assert "birds:1" in done.stdout
    assert "note: this is only what is on this disk" in done.stdout
    assert tlhub("search", "--hub").returncode == 2
    hub.faults.clear()


def test_markup_in_what_others_write_is_inert(world: tuple[Hub, Commands], tmp_path: Path) -> None:
    hub, tlhub = world
    hub.create("evil/model", {"README.md": b'---\ntags: [tlhub]\nbase_model: "[red]x[/red]\\e[31m"\n---\n'})
    told = tlhub("search", "--hub", "evil").stdout
    assert "[red]x[/red]" in told
    assert "\x1b" not in told
    del hub.repos["model", "evil/model"]
