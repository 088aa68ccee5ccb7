"""Baselines beside the source-only one: from scratch, and the ceiling that learns from target labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.tables import write_images
from tlhub import manifest as manifests
from tlhub.adaptation import Result, adapt, result_of
from tlhub.artifact import read_record
from tlhub.baseline import blind, gap_sentence
from tlhub.catalog import Catalog
from tlhub.checkpoint import sha256
from tlhub.contest import contest
from tlhub.data import Examples
from tlhub.errors import DataError, ManifestError, UserError
from tlhub.measure import Comparison
from tlhub.run import Run, open_data
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.testing.toys import ToyNet, ToyStripes
from tlhub.watch import Watch
from tlhub_bert.backbone import BertBackbone
from tlhub_bert.tokenizer import tokenizer
from tlhub_digitnets.lenet import LeNet
from tlhub_registry.card import card
from tlhub_report.findings import gather
from tlhub_report.page import page
from tlhub_timm.backbone import TimmBackbone

HAPPENED: list[str] = []


class Learned(ToyNet):
    """A network that has learned something: its first weights are large.

    Args:
        width: width of the features.
        pretrained: whether it has.
    """

    name = "learned"

    def __init__(self, width: int = 8, pretrained: bool = True) -> None:
        super().__init__(width)
        if pretrained:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.mul_(1.5)

    def rebuild(self) -> Mapping[str, Any]:
        return {**self.settings, "pretrained": False}


class Noted(ToyStripes):
    """Stripes that note when their labels are read.

    Args:
        noise: whether labels are overwritten.
        unlabelled: whether there are no labels.
        names: whether it declares its classes.
    """

    name = "noted"

    def __init__(self, noise: bool = False, unlabelled: bool = False, names: bool = True, seed: int = 1) -> None:
        super().__init__(60, 60, seed)
        self.noise, self.unlabelled, self.names = noise, unlabelled, names

    def class_names(self) -> tuple[str, ...] | None:
        if self.unlabelled:
            raise DataError("there are no labels")
        return super().class_names() if self.names else None

    def open(self, split: str | None, labels: bool) -> Examples:
        if labels:
            HAPPENED.append("target labels read")
        found = super().open(split, labels)
        if not self.noise or found.labels is None:
            return found
        return Examples(found.inputs, [0] * len(found.labels), found.classes, found.fingerprint, found.where)


class Told(Watch):
    """Notes what is trained and what is said; stops everything in the middle of the training of that title."""

    def __init__(self, stop: str = "") -> None:
        self.stop, self.title = stop, ""
        self.notes: list[str] = []

    def started(self, title: str, steps: int, done: int) -> None:
        self.title = title
        HAPPENED.append(f"{title} from step {done}")

    def step(self, done: int) -> None:
        if self.title == self.stop and done == 3:
            raise Killed

    def note(self, text: str) -> None:
        self.notes.append(text)


class Killed(Exception):  # noqa: N818 - stands for a kill
    pass


CATALOG = toy_catalog(backbones=[Learned], datasets=[Noted])
ALL = ["source_only", "scratch", "target_only"]


@pytest.fixture(autouse=True)
def _forget() -> None:
    HAPPENED.clear()


def manifest(baseline: Any = ALL, **parts: Any) -> dict[str, Any]:
    written = {**toy_manifest([{"use": "mmd"}, {"use": "head_swap"}]), "backbone": {"use": "learned"}}
    return {**written, "target": {"use": "noted"}, "baseline": baseline, **parts}


Adapts = Callable[..., Result]


@pytest.fixture
def adapts(tmp_path: Path) -> Adapts:
    def adapts(name: str = "out", watch: Watch | None = None, resume: bool = False, **changes: Any) -> Result:
        folder = tmp_path / name
        return adapt(manifest(**changes), out=folder, resume=resume, watch=watch or Told(), keep=False, catalog=CATALOG)

    return adapts


def kept(store: Path) -> dict[str, Any]:
    """The record of the only baseline that is kept."""
    [folder] = (store / "baselines").iterdir()
    return read_record(folder)


class TestManifest:
    """`baseline` names what else is trained."""

    def read(self, **parts: Any) -> manifests.Manifest:
        return manifests.from_dict({"backbone": "lenet", "source": "digits", **parts}, catalog=CATALOG)

    def test_it_is_source_only_unless_said_and_a_bare_name_is_a_list_of_one(self) -> None:
        assert self.read().baseline == ["source_only"]
        assert self.read(baseline="scratch").baseline == ["scratch"]
        read = self.read(baseline=ALL)
        assert manifests.from_dict(read.as_dict()) == read

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("ceiling", "expected a list of `source_only`, `scratch` or `target_only`"),
            (["source_only", "sratch"], "did you mean `scratch`?"),
            ([], "at least 1 item"),
        ],
        ids=str,
    )
    def test_what_is_no_baseline_is_refused(self, written: Any, said: str) -> None:
        with pytest.raises(ManifestError) as error:
            self.read(baseline=written)
        assert said in str(error.value)

    def test_it_changes_nothing_that_training_depends_on(self, adapts: Adapts) -> None:
        first, second = adapts("first", baseline="source_only"), adapts("second", baseline=ALL)
        assert sha256(first.folder / "model.safetensors") == sha256(second.folder / "model.safetensors")
        assert "source-only baseline from step 0" not in HAPPENED[2:]


class TestAll:
    """All three are trained, scored and kept."""

    def test_the_table_has_them_in_order_and_the_verdict_is_against_source_only(self, adapts: Adapts) -> None:
        result = adapts()
        assert [row.model for row in result.rows] == ["source-only", "from scratch", "target-only", "adapted"]
        plain = adapts("plain", baseline="source_only")
        assert result.comparison == plain.comparison
        assert result.sentence.startswith(plain.sentence)
        assert "a model that learnt from target labels" in result.sentence

    def test_they_are_kept_and_reused(self, adapts: Adapts, store: Path) -> None:
        first = adapts("first")
        again = Told()
        assert adapts("second", watch=again).as_dict() == first.as_dict()
        assert HAPPENED.count("adapting from step 0") == 2
        assert sum("baseline from step 0" in what for what in HAPPENED) == 3
        assert [note.partition(" was ")[0] for note in again.notes if "it is reused" in note] == [
            "the source-only baseline",
            "the from-scratch baseline",
            "the target-only baseline",
        ]
        assert len(list((store / "baselines").iterdir())) == 3

    def test_no_baseline_means_none_of_them(self, tmp_path: Path, store: Path) -> None:
        result = adapt(manifest(), out=tmp_path / "out", baseline=False, catalog=CATALOG)
        assert [row.model for row in result.rows] == ["adapted"]
        assert not (store / "baselines").exists()
        assert "target labels read" not in HAPPENED

    def test_without_source_only_there_is_no_verdict(self, adapts: Adapts) -> None:
        result = adapts(baseline="target_only")
        assert [row.model for row in result.rows] == ["target-only", "adapted"]
        assert result.comparison is None
        assert "A model that learnt from target labels reaches" in result.sentence

    @pytest.mark.parametrize("stop", ["from-scratch baseline", "target-only baseline"])
    def test_a_killed_one_goes_on_where_it_stood(self, stop: str, adapts: Adapts, store: Path) -> None:
        train = {**toy_manifest()["train"], "checkpoint_every": 1}
        with pytest.raises(Killed):
            adapts("killed", watch=Told(stop), train=train)
        HAPPENED.clear()
        resumed = adapts("killed", resume=True, train=train)
        assert f"{stop} from step 3" in HAPPENED
        assert "source-only baseline from step 0" not in HAPPENED
        (store / "baselines").rename(store / "before")
        assert resumed.as_dict() == adapts("whole", train=train).as_dict()

    def test_report_card_and_comparison_take_further_rows(self, adapts: Adapts) -> None:
        result = adapts()
        record = read_record(result.folder)
        assert result_of(result.folder, record).as_dict() == result.as_dict()
        assert "<td>from scratch</td>" in page(gather(result.folder, "cpu", CATALOG), "it")
        lines = card(record, "you/it", None, None, picture=False).splitlines()
        [scores] = [line for line in lines if "| from scratch |" in line]
        assert f"{100 * result.rows[1].score.value:.1f} %" in scores
        first, second = contest([str(result.folder)] * 2, catalog=CATALOG)
        assert first.rows == second.rows


class TestScratch:
    """`scratch`: the same manifest on the same data, and random weights in the backbone."""

    def test_adapters_and_target_stay_and_the_weights_are_random(self, adapts: Adapts, store: Path) -> None:
        adapts(baseline="scratch")
        record = kept(store)
        assert record["manifest"]["backbone"] == {"use": "learned", "width": 8, "pretrained": False}
        assert [part["use"] for part in record["manifest"]["adapters"]] == ["mmd", "head_swap"]
        assert list(record["data"]) == ["source", "target"]
        assert "target labels read" not in HAPPENED

    def test_a_backbone_without_pretrained_weights_is_refused_before_training(
        self, adapts: Adapts, tmp_path: Path, store: Path
    ) -> None:
        with pytest.raises(UserError, match="`toy_net` has none that are pretrained here"):
            adapts(backbone={"use": "toy_net"})
        assert HAPPENED == []
        assert not (tmp_path / "out").exists()
        assert not store.exists()

    @pytest.mark.parametrize("name", ["timm", "bert", "lenet", "artifact"])
    def test_every_backbone_with_pretrained_weights_can_be_made_without(self, name: str, tmp_path: Path) -> None:
        written = toy_manifest([{"use": "mmd"}], "text" if name == "bert" else "image")
        written |= {"baseline": "scratch", "backbone": PRETRAINED[name](tmp_path)}
        run = composed(written)
        [scratch] = blind(run, open_data(run.manifest, CATALOG), Watch()).values()
        before, after = run.model.backbone.state_dict(), scratch.model.backbone.state_dict()
        assert {key: value.shape for key, value in before.items()} == {key: value.shape for key, value in after.items()}
        assert any(not torch.equal(value, after[key]) for key, value in before.items())
        assert run.model.backbone.preprocess(train=True) == scratch.model.backbone.preprocess(train=True)
        assert scratch.origins() == []
        run = composed({**written, "backbone": scratch.manifest.backbone.model_dump()})
        with pytest.raises(UserError, match="pretrained here"):
            blind(run, open_data(run.manifest, CATALOG), Watch())


class TestTargetOnly:
    """`target_only`: the ceiling, a model that learns from all labels of the target."""

    def test_the_targets_labels_are_read_when_the_adapted_model_is_trained(self, adapts: Adapts) -> None:
        adapts()
        assert HAPPENED == [
            "source-only baseline from step 0",
            "from-scratch baseline from step 0",
            "adapting from step 0",
            "target labels read",
            "target-only baseline from step 0",
        ]

    def test_it_is_trained_like_the_run_with_the_target_as_its_source(self, adapts: Adapts, store: Path) -> None:
        train = {**toy_manifest()["train"], "steps_per_epoch": None}
        adapts(baseline="target_only", train=train, select="source_score")
        record = kept(store)
        assert [(part["use"], part["labels"]) for part in record["manifest"]["source"]] == [("noted", "all")]
        assert [part["use"] for part in record["manifest"]["adapters"]] == ["head_swap"]
        assert record["manifest"]["train"]["steps_per_epoch"] == 43 // 8, "as many as the source has: 48, 5 held out"
        assert record["manifest"]["select"]["use"] == "source_score"
        assert record["data"]["source"]["examples"] == 54, "all of the target but what is held out for `select`"

    def test_noise_in_the_targets_labels_changes_its_row_alone(self, adapts: Adapts) -> None:
        train = {**toy_manifest()["train"], "epochs": 4, "steps_per_epoch": 6}
        results = [
            adapts(str(noise), train=train, target={"use": "noted", "noise": noise}).rows for noise in (False, True)
        ]
        differing = [first.model for first, second in zip(*results, strict=True) if first != second]
        assert differing == ["target-only"]

    @pytest.mark.parametrize(
        ("parts", "said"),
        [
            ({"target": []}, "needs `target`, and there is none"),
            ({"evaluate": []}, "needs `evaluate`, and there is none"),
            ({"adapters": []}, "needs a run that looks at the target"),
            (
                {"target": {"use": "noted", "unlabelled": True}},
                "cannot learn from the labels of `target`: there are no",
            ),
            ({"evaluate": {"use": "noted"}}, "would learn from 60 of the 60 examples of `evaluate`"),
            ({"evaluate": {"use": "noted", "split": "test"}}, "would learn from 12 of the 12 examples"),
            (
                {"target": {"use": "noted", "split": "all[:40]"}, "evaluate": {"use": "noted", "split": "all[30:]"}},
                "would learn from 10 of the 30 examples",
            ),
        ],
        ids=str,
    )
    def test_where_it_cannot_be_nothing_is_trained(
        self, parts: dict[str, Any], said: str, adapts: Adapts, tmp_path: Path
    ) -> None:
        if parts.get("target") == []:
            parts = {**parts, "adapters": []}
        with pytest.raises(UserError) as error:
            adapts(**parts)
        assert said in error.value.message
        assert "remove `target_only` from `baseline`" in (error.value.hint or "")
        assert HAPPENED == []
        assert not (tmp_path / "out").exists()

    def test_splits_without_a_common_example_are_kept_apart(self, adapts: Adapts) -> None:
        result = adapts(target={"use": "noted", "split": "train"}, evaluate={"use": "noted", "split": "test"})
        assert "target-only" in [row.model for row in result.rows]

    def test_splits_that_are_joined_are_looked_at_one_by_one(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            write_images(tmp_path / "photos" / split, each=4 + len(split))
        photos = {"use": "imagefolder", "path": str(tmp_path / "photos")}
        parts = {"source": photos, "target": {**photos, "split": "train+test"}, "evaluate": {**photos, "split": "test"}}
        run = composed({**manifest("target_only"), **parts, "backbone": {"use": "lenet"}})
        with pytest.raises(UserError, match="from 16 of the 16 examples"):
            blind(run, open_data(run.manifest, CATALOG), Watch())

    def test_labels_that_turn_out_to_be_missing_lose_nothing(self, adapts: Adapts, tmp_path: Path) -> None:
        images = write_images(tmp_path / "images")
        loose = tmp_path / "loose"
        loose.mkdir()
        for number, file in enumerate(sorted(images.rglob("*.png"))):
            (loose / f"{number}.png").write_bytes(file.read_bytes())
        folder = {"use": "imagefolder", "path": str(images)}
        evaluate = {"use": "imagefolder", "path": str(write_images(tmp_path / "others", each=3))}
        parts = {"source": folder, "target": {**folder, "path": str(loose)}, "evaluate": evaluate}
        with pytest.raises(DataError, match="lie in no class folder") as error:
            adapts(baseline="target_only", backbone={"use": "lenet"}, **parts)
        assert "the model is saved" in (error.value.hint or "")
        assert (tmp_path / "out/model.safetensors").exists()


def comparison(difference: float, half: float = 0.01) -> Comparison:
    low, high = difference - half, difference + half
    return Comparison(difference, low, high, "helped" if low > 0 else "hurt" if high < 0 else "no evidence")


@pytest.mark.parametrize(
    ("gain", "gap", "said"),
    [
        (0.10, 0.20, "Adaptation closed 50 % of the gap to a model that learnt from target labels (91.0 %)."),
        (0.25, 0.20, "Adaptation closed the whole gap to a model that learnt from target labels (91.0 %)."),
        (0.005, 0.20, "The gap to a model that learnt from target labels (91.0 %) was 20.0 points."),
        (-0.10, 0.20, "The gap to a model that learnt from target labels (91.0 %) was 20.0 points."),
        (0.10, 0.005, "No evidence of a gap to a model that learnt from target labels (91.0 %) that adaptation"),
        (0.10, -0.20, "No evidence of a gap to a model that learnt from target labels (91.0 %) that adaptation"),
    ],
)
def test_the_gap_in_words(gain: float, gap: float, said: str) -> None:
    assert gap_sentence(comparison(gain), comparison(gap), 0.91).startswith(said)


def test_the_gap_needs_a_source_only_baseline() -> None:
    assert gap_sentence(None, None, 0.91) == "A model that learnt from target labels reaches 91.0 %."


def composed(written: Mapping[str, Any]) -> Run:
    loaded = manifests.from_dict(written, catalog=CATALOG)
    return Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))


def _timm(folder: Path) -> dict[str, Any]:
    save_file(TimmBackbone("resnet10t", pretrained=False).net.state_dict(), folder / "resnet.safetensors")
    return {"use": "timm", "model": "resnet10t", "weights": str(folder / "resnet.safetensors"), "input_size": 32}


def _bert(folder: Path) -> dict[str, Any]:
    made = BertBackbone(config={"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2})
    made.net.save_pretrained(folder / "bert")
    tokenizer(made.words).save_pretrained(folder / "bert")
    return {"use": "bert", "model": str(folder / "bert")}


def _lenet(folder: Path) -> dict[str, Any]:
    save_file(LeNet().state_dict(), folder / "lenet.safetensors")
    return {"use": "lenet", "weights": str(folder / "lenet.safetensors")}


def _artifact(folder: Path) -> dict[str, Any]:
    written = {"backbone": {"use": "lenet"}, "source": {"use": "digits", "split": "train[:64]"}}
    train = {"epochs": 1, "steps_per_epoch": 1, "batch": 8, "workers": 0}
    adapt({**written, "train": train}, out=folder / "run", catalog=Catalog.installed())
    return {"use": "artifact", "ref": str(folder / "run")}


PRETRAINED: dict[str, Callable[[Path], dict[str, Any]]] = {
    "timm": _timm,
    "bert": _bert,
    "lenet": _lenet,
    "artifact": _artifact,
}
