"""The shipped contracts, over every component of our own plugins; the last test sees to it that none is left out."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tlhub.adaptation import adapt
from tlhub.catalog import Catalog
from tlhub.testing import (
    AdapterContract,
    BackboneContract,
    DatasetContract,
    HeadContract,
    SymptomContract,
    ValidatorContract,
    toy_catalog,
    toy_manifest,
)
from tlhub.testing.toys import ToyNet, ToySentences, ToyStripes, ToyTextNet

from .tables import write_images, write_table

INSTALLED = Catalog.installed()


def component(kind: Any, name: str) -> type[Any]:
    cls: type[Any] = INSTALLED.find(kind, name).cls
    return cls


class TestToyNet(BackboneContract):
    component = ToyNet


class TestToyTextNet(BackboneContract):
    component = ToyTextNet

    def example(self, number: int = 0) -> str:
        return " ".join(["ba", "do", "ke", "mo", "ga"][: 2 + number])


class TestToyStripes(DatasetContract):
    component = ToyStripes


class TestToySentences(DatasetContract):
    component = ToySentences


class TestLenet(BackboneContract):
    component = component("backbones", "lenet")


class TestDtn(BackboneContract):
    component = component("backbones", "dtn")


class TestMnistmNet(BackboneContract):
    component = component("backbones", "mnistm_net")


class TestTimm(BackboneContract):
    component = component("backbones", "timm")
    settings: ClassVar[Mapping[str, Any]] = {"model": "resnet18", "pretrained": False, "input_size": 32}


class TestBert(BackboneContract):
    component = component("backbones", "bert")
    settings: ClassVar[Mapping[str, Any]] = {"config": {"hidden_size": 8, "num_attention_heads": 2}, "max_length": 16}


class TestArtifact(BackboneContract):
    component = component("backbones", "artifact")

    @pytest.fixture(autouse=True, scope="class")
    def _adapted(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("artifact") / "run"
        manifest = {**toy_manifest([]), "backbone": {"use": "lenet", "grey": False}}
        adapt(manifest, out=folder, catalog=toy_catalog(), baseline=False, keep=False, device="cpu")
        type(self).settings = {"ref": str(folder)}

    def example(self, number: int = 0) -> Any:
        return ToyStripes().open(None, labels=False).inputs[number]


class TestHeadSwap(AdapterContract):
    component = component("adapters", "head_swap")
    settings: ClassVar[Mapping[str, Any]] = {"bottleneck": 6, "dropout": 0.5}


class TestPartialFreeze(AdapterContract):
    component = component("adapters", "partial_freeze")
    settings: ClassVar[Mapping[str, Any]] = {"stages": 1}


class TestPartialFreezeAll(AdapterContract):
    component = component("adapters", "partial_freeze")
    settings: ClassVar[Mapping[str, Any]] = {"stages": "all"}


class TestGradualUnfreeze(AdapterContract):
    component = component("adapters", "gradual_unfreeze")


class TestLora(AdapterContract):
    component = component("adapters", "lora")
    settings: ClassVar[Mapping[str, Any]] = {"layers": ["layer?.0"], "rank": 2, "dropout": 0.1}


class TestMmd(AdapterContract):
    component = component("adapters", "mmd")
    settings: ClassVar[Mapping[str, Any]] = {"layers": ["layer1", "features", "logits"]}


class TestDann(AdapterContract):
    component = component("adapters", "dann")
    settings: ClassVar[Mapping[str, Any]] = {"hidden": 8}


def on_text(contract: type[AdapterContract]) -> type[AdapterContract]:
    """The same contract, tried on texts."""
    return type(f"{contract.__name__}OnText", (contract,), {"modality": "text", "__module__": __name__})


ON_TEXT = [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, AdapterContract)]
globals().update({kind.__name__: kind for kind in map(on_text, [k for k in ON_TEXT if k is not AdapterContract])})


class TestAuto(ValidatorContract):
    component = component("validators", "auto")


class TestAutoOnText(ValidatorContract):
    component = component("validators", "auto")
    modality = "text"


class TestEnsemble(ValidatorContract):
    component = component("validators", "ensemble")
    settings: ClassVar[Mapping[str, Any]] = {"members": ["circular", "entropy", "bnm", "snd", "silhouette", "mixval"]}


class TestSourceScore(ValidatorContract):
    component = component("validators", "source_score")


class TestSourceRisk(ValidatorContract):
    component = component("validators", "source_risk")


class TestIwv(ValidatorContract):
    component = component("validators", "iwv")


class TestDev(ValidatorContract):
    component = component("validators", "dev")


class TestCircular(ValidatorContract):
    component = component("validators", "circular")


class TestEntropy(ValidatorContract):
    component = component("validators", "entropy")


class TestInformationMaximization(ValidatorContract):
    component = component("validators", "information_maximization")


class TestBnm(ValidatorContract):
    component = component("validators", "bnm")


class TestSnd(ValidatorContract):
    component = component("validators", "snd")


class TestClassAmi(ValidatorContract):
    component = component("validators", "class_ami")


class TestSilhouette(ValidatorContract):
    component = component("validators", "silhouette")


class TestRankMe(ValidatorContract):
    component = component("validators", "rankme")


class TestMixVal(ValidatorContract):
    component = component("validators", "mixval")


class TestMixValOnText(ValidatorContract):
    component = component("validators", "mixval")
    modality = "text"


class TestTargetScore(ValidatorContract):
    component = component("validators", "target_score")


class TestIdentity(HeadContract):
    component = component("heads", "identity")
    settings: ClassVar[Mapping[str, Any]] = {"features": 5}


class TestLinear(HeadContract):
    component = component("heads", "linear")
    settings: ClassVar[Mapping[str, Any]] = {"features": 5, "outputs": 3}


class TestBottleneck(HeadContract):
    component = component("heads", "bottleneck")
    settings: ClassVar[Mapping[str, Any]] = {"features": 5, "outputs": 4}


class TestDigits(DatasetContract):
    component = component("datasets", "digits")


class TestDigitsPhoto(DatasetContract):
    component = component("datasets", "digits_photo")


class TestImagefolder(DatasetContract):
    component = component("datasets", "imagefolder")

    @pytest.fixture(autouse=True)
    def _images(self, tmp_path: Path) -> None:
        write_images(tmp_path / "photos")
        type(self).settings = {"path": str(tmp_path / "photos")}


class _Table(DatasetContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        file = write_table(tmp_path / f"table.{self.component.name}")
        type(self).settings = {"path": str(file), "text": "text"}


class TestCsv(_Table):
    component = component("datasets", "csv")


class TestTextfolder(DatasetContract):
    component = component("datasets", "textfolder")

    @pytest.fixture(autouse=True)
    def _texts(self, tmp_path: Path) -> None:
        for kind, text in (("bad", "dull"), ("bad", "slow"), ("good", "fine")):
            file = tmp_path / "texts" / kind / f"{text}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        type(self).settings = {"path": str(tmp_path / "texts")}


class TestConll(DatasetContract):
    component = component("datasets", "conll")

    @pytest.fixture(autouse=True)
    def _sentences(self, tmp_path: Path) -> None:
        file = tmp_path / "names.conll"
        file.write_text("Anna B-PER\nsings O\n\nin O\nNew B-LOC\nYork I-LOC\n")
        type(self).settings = {"path": str(file)}


class TestJsonl(_Table):
    component = component("datasets", "jsonl")


class TestParquet(_Table):
    component = component("datasets", "parquet")


SYMPTOMS = {f"TestSymptom{entry.cls.__name__}": entry.cls for entry in INSTALLED.entries("symptoms")}
globals().update(
    {name: type(name, (SymptomContract,), {"component": cls, "__module__": __name__}) for name, cls in SYMPTOMS.items()}
)


def test_every_component_is_under_contract() -> None:
    """Here, or in the tests of its own plugin."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    modules = [importlib.import_module(f"{__package__}.{file.stem}") for file in files]
    members = [member for module in modules for member in vars(module).values() if isinstance(member, type)]
    tried = {member.component for member in members if hasattr(member, "component")}
    elsewhere = {"hub", *(entry.name for entry in INSTALLED.entries("tasks"))}  # these have other tests
    missing = [entry.name for entry in INSTALLED.entries() if entry.cls not in tried and entry.name not in elsewhere]
    assert missing == []
