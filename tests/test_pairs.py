"""Adapters compose: every ordered pair trains together, is saved, and loads to the same logits."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from tlhub import manifest as manifests
from tlhub.artifact import load, save
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints
from tlhub.measure import to_device
from tlhub.run import Run, open_data
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.train import train
from tlhub.watch import Watch

SETTINGS: dict[str, dict[str, Any]] = {
    "head_swap": {"bottleneck": 6},
    "partial_freeze": {"stages": 1},
    "gradual_unfreeze": {},
    "lora": {"layers": ["layer?.0"]},
    "mlm": {},
    "mmd": {},
    "dann": {"hidden": 8},
}
ON_TEXT: dict[str, dict[str, Any]] = {"lora": {}}
"""Settings that differ where a real encoder of texts is adapted."""

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
BERT = {"use": "bert", "config": SMALL, "max_length": 8}
CATALOG = toy_catalog()
ADAPTERS = {name: CATALOG.find("adapters", name).cls for name in SETTINGS}
PAIRS = [
    (first, second, modality)
    for first, second in itertools.permutations(SETTINGS, 2)
    for modality in ("image", "text")
    if all(modality in (ADAPTERS[name].modalities or {modality}) for name in (first, second))
]


def written(adapters: list[dict[str, Any]], modality: str, **settings: Any) -> dict[str, Any]:
    """A manifest of these adapters: on the image toys, or with a small new BERT on sentences."""
    if modality == "image":
        return toy_manifest(adapters, **settings)
    return {**toy_manifest(adapters, "text", **settings), "backbone": BERT}


def trained(
    adapters: list[dict[str, Any]], folder: Path, modality: str = "image", **settings: Any
) -> tuple[Run, list[dict[str, Any]]]:
    """A run of these adapters, trained and saved in `folder`."""
    loaded = manifests.from_dict(written(adapters, modality, **settings), catalog=CATALOG)
    run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
    history = train(run, Checkpoints(folder / "checkpoints"), Watch())
    save(run, folder, history)
    return run, history


def assert_loads_alike(run: Run, folder: Path) -> None:
    raws = [run.sources[0].raw(number) for number in range(6)]
    preprocess = run.model.backbone.preprocess(train=False)
    with torch.inference_mode():
        batch = run.model.backbone.collate([preprocess(raw) for raw in raws])
        expected = run.model.eval()(to_device(batch, run.device))
    assert torch.equal(load(folder, "cpu", CATALOG).logits(raws), expected)


def test_every_installed_adapter_is_paired() -> None:
    assert set(SETTINGS) == {entry.name for entry in Catalog.installed().entries("adapters")}


@pytest.mark.parametrize(("first", "second", "modality"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_a_pair_trains_and_loads(first: str, second: str, modality: str, tmp_path: Path) -> None:
    overrides = ON_TEXT if modality == "text" else {}
    adapters = [{"use": name, **overrides.get(name, SETTINGS[name])} for name in (first, second)]
    run, history = trained(adapters, tmp_path, modality, epochs=2, steps_per_epoch=2)
    assert [row["epoch"] for row in history if row["round"] == 0] == [0, 1]
    assert_loads_alike(run, tmp_path)


def test_four_adapters_in_one_manifest(tmp_path: Path) -> None:
    """Each term is logged, and what is frozen stays bit for bit, batch-norm statistics too."""
    adapters = [{"use": name, **SETTINGS[name]} for name in ("partial_freeze", "head_swap", "mmd", "dann")]
    loaded = manifests.from_dict(toy_manifest(adapters, weight_decay=0.1, optimizer="sgd"), catalog=CATALOG)
    run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
    frozen = {name: value.clone() for name, value in run.model.backbone.layer1.state_dict().items()}
    learned = {name: value.clone() for name, value in run.model.backbone.layer2.state_dict().items()}
    history = train(run, Checkpoints(tmp_path / "checkpoints"), Watch())
    save(run, tmp_path, history)
    assert {"task", "mmd", "dann"} <= set(history[-1]["loss"])
    assert all(history[-1]["loss"][term] != 0 for term in ("task", "mmd", "dann"))
    assert "1.running_mean" in frozen
    for name, value in frozen.items():
        assert torch.equal(run.model.backbone.layer1.state_dict()[name], value), name
    assert not torch.equal(run.model.backbone.layer2.state_dict()["1.running_mean"], learned["1.running_mean"])
    assert_loads_alike(run, tmp_path)
