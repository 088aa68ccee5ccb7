"""Runs to publish and to pull: one in each form, and the pretrained models they began with on the test Hub.

They are made once, in a process of their own, because the client reads its environment when it is imported.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.commands import Commands
from tests.hub.server import Hub

ROOT = Path(__file__).resolve().parent.parent
FORMS = ("timm", "text", "peft", "tlhub")


def client(hub: Hub, home: Path, token: str | None = None) -> dict[str, str]:
    """The environment of a command whose client and registry live under `home`."""
    return {**hub.env(home / "hf", token), "TLHUB_HOME": str(home / "tlhub"), "OMP_NUM_THREADS": "1"}


def make_runs(folder: Path, hub: Hub) -> dict[str, Path]:
    """The folders of finished runs by form; the bases are `you/tiny-resnet` and `you/tiny-bert` on the Hub.

    `timm`, `text` (transformers' form, of whose backbone nothing changed) and `peft` begin with those, pinned; `tlhub`
    is a digit network from random weights. `timm` and `tlhub` were compared with a baseline.
    """
    subprocess.run(
        [sys.executable, "-m", "tests.sharing", str(folder)],
        cwd=ROOT,
        env=client(hub, folder / "home", hub.token),
        check=True,
    )
    return {form: folder / form for form in FORMS}


class World(NamedTuple):
    """A Hub, the runs whose bases it has, and `tlhub` as its user `you` runs it."""

    hub: Hub
    runs: Mapping[str, Path]
    home: Path
    tlhub: Commands


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One Hub for all tests of a session: each publishes to repositories of its own."""
    folder = tmp_path_factory.mktemp("world")
    with Hub(folder / "hub") as hub:
        runs = make_runs(folder / "runs", hub)
        with Commands(folder / "commands", client(hub, folder / "you", hub.token)) as tlhub:
            yield World(hub, runs, folder / "you", tlhub)


def _publish_bases(folder: Path) -> dict[str, str]:
    """Put the pretrained models on the Hub; gives the commit of each."""
    import timm
    import torch
    from huggingface_hub import CommitOperationAdd, HfApi
    from timm.models import save_for_hf
    from transformers import BertConfig, BertModel, BertTokenizer

    from tlhub_bert.tokenizer import VOCABULARY

    torch.manual_seed(0)
    bert, resnet = folder / "tiny-bert", folder / "tiny-resnet"
    tokenizer = BertTokenizer(vocab=str(VOCABULARY))
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(bert)
    tokenizer.save_pretrained(bert)
    save_for_hf(timm.create_model("test_resnet", num_classes=7), resnet, safe_serialization=True)
    card = b"---\nlicense: mit\nlanguage: en\n---\n# A tiny model\n"
    api, commits = HfApi(), {}
    for place in (bert, resnet):
        repo = f"you/{place.name}"
        files: dict[str, Any] = {
            path.name: path for path in place.iterdir() if path.suffix in (".json", ".safetensors")
        }
        operations = [CommitOperationAdd(name, content) for name, content in {**files, "README.md": card}.items()]
        api.create_repo(repo)
        commits[repo] = api.create_commit(repo, operations, commit_message="The weights").oid
    return commits


def _main(folder: Path) -> None:
    import torch

    from tlhub import adapt
    from tlhub.testing import toy_catalog, toy_manifest

    torch.set_num_threads(1)
    commits = _publish_bases(folder / "bases")
    resnet = {"use": "timm", "model": "hf_hub:you/tiny-resnet", "input_size": 32}
    bert = {"use": "bert", "model": "you/tiny-bert", "revision": commits["you/tiny-bert"], "max_length": 32}
    frozen = {"use": "partial_freeze", "stages": "all"}
    lora = {"use": "lora", "rank": 2, "save": "adapter"}
    manifests: dict[str, dict[str, Any]] = {
        "timm": {**toy_manifest([{"use": "coral"}]), "backbone": resnet},
        "text": {**toy_manifest([frozen], "text"), "backbone": bert},
        "peft": {**toy_manifest([lora], "text"), "backbone": bert},
        "tlhub": {**toy_manifest([{"use": "coral"}]), "backbone": {"use": "lenet", "grey": False}},
    }
    catalog = toy_catalog()
    for form, manifest in manifests.items():
        adapt({**manifest, "name": f"toy-{form}"}, out=folder / form, catalog=catalog, device="cpu")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    _main(Path(sys.argv[1]))
