"""Adapters compose: every ordered pair trains, is saved, and loads to the same logits; some are refused, in words."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.artifact import load, save
from tlhub.checkpoint import Checkpoints
from tlhub.errors import ManifestError, UserError
from tlhub.measure import to_device
from tlhub.run import Run, open_data
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.train import train
from tlhub.watch import Watch

TEACHER = "the folder of a trained model"
SETTINGS: dict[str, dict[str, Any]] = {
    "adabn": {},
    "afn": {},
    "attention_transfer": {"teacher": TEACHER, "layers": ["layer1"]},
    "bitfit": {},
    "bsp": {},
    "bss": {},
    "cdan": {"hidden": 8},
    "coral": {},
    "dann": {"hidden": 8},
    "delta": {"examples": 4},
    "distillation": {"teacher": TEACHER},
    "domain_classifier": {"folds": 2},
    "entropy_minimization": {},
    "feature_distillation": {"teacher": TEACHER},
    "fixmatch": {},
    "gradual_unfreeze": {},
    "head_swap": {"bottleneck": 6},
    "jan": {},
    "kliep": {"bandwidth": 1.0, "centres": 8},
    "kmm": {},
    "l2_sp": {},
    "layer_decay": {},
    "lora": {"layers": ["layer?.0"]},
    "lp_ft": {},
    "lwf": {"teacher": TEACHER},
    "mcc": {},
    "mcd": {},
    "mean_teacher": {},
    "mlm": {},
    "mmd": {},
    "partial_freeze": {"stages": 1},
    "pseudo_label": {},
    "relational_distillation": {"teacher": TEACHER},
    "self_distillation": {"generations": 2},
    "tradaboost": {"rounds": 2},
    "tradaboost_r2": {"rounds": 2},
    "tradaboost_soft": {"rounds": 2},
    "wasserstein": {"hidden": 8},
}
ON_BERT: dict[str, dict[str, Any]] = {"lora": {}}
"""Settings that differ where a real encoder of texts is adapted."""

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
BERT = {"use": "bert", "config": SMALL, "max_length": 8}
CATALOG = toy_catalog()
ADAPTERS = {entry.name: entry.cls for entry in CATALOG.entries("adapters")}
BOOSTERS = ("tradaboost", "tradaboost_r2", "tradaboost_soft")
"""These boost a linear head on features that do not change."""
OF_PROBABILITIES = (
    *("cdan", "distillation", "entropy_minimization", "fixmatch", "jan"),
    *("lwf", "mcc", "mcd", "mean_teacher", "pseudo_label"),
)


def refused() -> dict[frozenset[str], str]:
    """The pairs that make no sense, and how the refusal reads."""
    found = {
        frozenset({"bitfit", "lora"}): "`bitfit` has nothing to train",
        frozenset({"gradual_unfreeze", "lp_ft"}): "each say when the backbone begins to learn",
    }
    for name in OF_PROBABILITIES:
        found[frozenset({name, "tradaboost_r2"})] = "the probabilities of an example's classes, which `regression`"
    for booster in BOOSTERS:
        found[frozenset({"bitfit", booster})] = "`bitfit` has nothing to train"
        found[frozenset({"lora", booster})] = "`lora` has nothing to train"
        found[frozenset({"head_swap", booster})] = "all must read the same features"
        for other in {*BOOSTERS, "self_distillation"} - {booster}:
            found[frozenset({other, booster})] = "both train in rounds"
    return found


REFUSED = refused()
PAIRS = [
    (first, second, modality)
    for first, second in itertools.permutations(SETTINGS, 2)
    for modality in ("image", "text")
    if all(modality in (ADAPTERS[name].modalities or {modality}) for name in (first, second))
]


def refusal(first: str, second: str, modality: str) -> str | None:
    """How the refusal of a pair reads; None where it makes sense."""
    if (first, second) == ("lora", "lwf"):
        return "gives other features"  # `lwf` begins where the old model ended, and layers are in the way
    if modality == "text" and "adabn" in (first, second) and {first, second} & {*BOOSTERS}:
        return "no batch normalisation"
    return REFUSED.get(frozenset({first, second}))


def network(names: tuple[str, ...], modality: str) -> str:
    """Where these adapters are tried: on toys, and every pair of texts in one of its orders with a small new BERT."""
    if modality == "text" and ("mlm" in names or list(names) == sorted(names)):
        return "bert"
    return "toy_text_net" if modality == "text" else "toy_net"


def written(
    names: tuple[str, ...], modality: str, teachers: dict[str, str] | None = None, **train: Any
) -> dict[str, Any]:
    """A manifest of these adapters, with what they cannot do without."""
    used = network(names, modality)
    overrides = ON_BERT if used == "bert" else {}
    adapters = [{"use": name, **overrides.get(name, SETTINGS[name])} for name in names]
    for adapter in adapters:
        if "teacher" in adapter:
            adapter["teacher"] = (teachers or {})[used]
    boosted = {*BOOSTERS} & {*names}
    if boosted:
        adapters = [adapter for adapter in adapters if adapter["use"] != "partial_freeze"]
        adapters.append({"use": "partial_freeze", "stages": "all"})
    if modality == "text" and "adabn" in names and "head_swap" not in names and not boosted:
        adapters.append({"use": "head_swap", "bottleneck": 6})  # which has a batch normalisation
    manifest = toy_manifest(adapters, "text" if modality == "text" else "image", **train)
    if used == "bert":
        manifest["backbone"] = BERT
    if boosted:
        manifest["target"]["labels"] = "all"
    if "tradaboost_r2" in names:
        manifest["task"] = "regression"
        for role in ("source", "target", "evaluate"):
            manifest[role]["classes"] = {"flat": "0", "left": "1", "right": "2"}
    return manifest


def trained(manifest: dict[str, Any], folder: Path) -> tuple[Run, list[dict[str, Any]]]:
    """A run of a manifest, trained and saved in `folder`."""
    loaded = manifests.from_dict(manifest, catalog=CATALOG)
    run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
    history = train(run, Checkpoints(folder / "checkpoints"), Watch())
    save(run, folder, history)
    return run, history


@pytest.fixture(scope="session")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The folder of a trained model by its network."""
    folder = tmp_path_factory.mktemp("teachers")
    plain = [toy_manifest([], "text", epochs=1), written((), "image", epochs=1), written((), "text", epochs=1)]
    folders = {manifest["backbone"]["use"]: folder / manifest["backbone"]["use"] for manifest in plain}
    for manifest in plain:
        adapt(manifest, out=folders[manifest["backbone"]["use"]], catalog=CATALOG, baseline=False)
    return {name: str(folder) for name, folder in folders.items()}


def assert_loads_alike(run: Run, folder: Path) -> None:
    raws = [run.sources[0].raw(number) for number in range(6)]
    preprocess = run.model.backbone.preprocess(train=False)
    with torch.inference_mode():
        batch = run.model.backbone.collate([preprocess(raw) for raw in raws])
        expected = run.model.eval()(to_device(batch, run.device))
    assert torch.equal(load(folder, "cpu", CATALOG).logits(raws), expected)


def test_every_installed_adapter_is_paired() -> None:
    assert set(SETTINGS) == set(ADAPTERS)


@pytest.mark.parametrize(("first", "second", "modality"), PAIRS, ids=["+".join(pair) for pair in PAIRS])
def test_a_pair_trains_and_loads(
    first: str, second: str, modality: str, teachers: dict[str, str], tmp_path: Path
) -> None:
    manifest = written((first, second), modality, teachers, epochs=2, steps_per_epoch=1)
    expected = refusal(first, second, modality)
    if expected is not None:
        with pytest.raises((UserError, ManifestError), match=re.escape(expected)):
            trained(manifest, tmp_path)
        return
    run, _ = trained(manifest, tmp_path)
    assert_loads_alike(run, tmp_path)


def test_four_adapters_in_one_manifest(tmp_path: Path) -> None:
    """Each term is logged, and what is frozen stays bit for bit, batch-norm statistics too."""
    adapters = ("partial_freeze", "head_swap", "mmd", "dann")
    loaded = manifests.from_dict(written(adapters, "image", weight_decay=0.1, optimizer="sgd"), catalog=CATALOG)
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


def test_an_adapter_alone_belongs_to_weights_that_others_have(teachers: dict[str, str], tmp_path: Path) -> None:
    """Not to those that `lwf`, listed before, went on from."""
    lora = {"use": "lora", "save": "adapter"}
    content = {**written((), "text", epochs=1), "backbone": {"use": "bert", "model": teachers["bert"], "max_length": 8}}
    adapt({**content, "adapters": []}, out=tmp_path / "old", catalog=CATALOG, baseline=False)
    trained({**content, "adapters": [lora]}, tmp_path / "new")
    lwf = {"use": "lwf", "teacher": str(tmp_path / "old")}
    with pytest.raises(UserError, match=r"not those that its settings name(.|\n)*save: merged(.|\n)*`lwf`"):
        trained({**content, "adapters": [lwf, lora]}, tmp_path / "refused")
    trained({**content, "adapters": [lwf, {"use": "lora"}]}, tmp_path / "merged")
