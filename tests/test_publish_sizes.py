"""What a delta of a large network costs, head swapped and all else frozen; weights are random."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.server import Hub
from tests.sharing import ROOT, client

pytestmark = [pytest.mark.hub, pytest.mark.slow]

LIMITS = {"bert": 50_000, "resnet": 300_000}


@pytest.mark.parametrize("network", LIMITS)
def test_a_delta_is_small_and_the_whole_comes_back(hub: Hub, tmp_path: Path, network: str) -> None:
    env = client(hub, tmp_path / "home", hub.token)
    make = [sys.executable, "-m", __name__, network, str(tmp_path)]
    subprocess.run([*make, "base"], cwd=ROOT, env=env, check=True)
    base = {path.name: path.read_bytes() for path in (tmp_path / "base").iterdir()}
    hub.create("you/base", base)
    subprocess.run([*make, "run"], cwd=ROOT, env=env, check=True)

    done = subprocess.run(
        [sys.executable, "-m", "tlhub_cli", "publish", tmp_path / "run", "you/delta", "--delta", "--yes", "--json"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    sent = {name: len(content) for name, content in hub.repo("you/delta").files().items() if name != ".gitattributes"}
    assert sum(sent.values()) < LIMITS[network], sent
    costs = json.loads(done.stdout)["costs"]
    assert costs["delta"] == sum(sent.values())
    assert costs["whole"] > 90_000_000


def _base(network: str, folder: Path) -> None:
    import torch

    torch.manual_seed(0)
    if network == "bert":
        from transformers import BertConfig, BertModel, BertTokenizer

        from tlhub_bert.tokenizer import VOCABULARY

        # as many tensors as BERT-base has, at half its width: what is sent grows with their number and with the head
        BertModel(BertConfig(hidden_size=384, intermediate_size=1536)).save_pretrained(folder)
        BertTokenizer(vocab=str(VOCABULARY)).save_pretrained(folder)
    else:
        import timm
        from timm.models import save_for_hf

        save_for_hf(timm.create_model("resnet50"), folder, safe_serialization=True)


def _run(network: str, folder: Path) -> None:
    from PIL import Image

    from tlhub import adapt
    from tlhub.testing import toy_catalog, toy_manifest

    frozen = {"use": "partial_freeze", "stages": "all"}
    if network == "bert":
        manifest = {
            **toy_manifest([frozen], "text"),
            "backbone": {"use": "bert", "model": "you/base", "max_length": 16},
        }
    else:
        photos = folder / "photos"  # of as many classes as Office-31 has
        for number in range(31):
            (photos / f"class-{number}").mkdir(parents=True)
            for shade in range(2):
                Image.new("RGB", (32, 32), (8 * number, 99 * shade, 0)).save(photos / f"class-{number}/{shade}.png")
        data = {"use": "imagefolder", "path": str(photos)}
        backbone = {"use": "timm", "model": "hf_hub:you/base", "input_size": 32}
        manifest = {**toy_manifest([frozen]), "backbone": backbone, "source": data, "evaluate": data}
        del manifest["target"]
    adapt(manifest, out=folder / "run", catalog=toy_catalog(), device="cpu")


if __name__ == "__main__":
    network, folder = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3] == "base":
        _base(network, folder / "base")
    else:
        _run(network, folder)
