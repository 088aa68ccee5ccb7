"""Going on from adapted models, as a backbone or a teacher, and what the record then says of where it came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tlhub import Origin, UserError, adapt, load
from tlhub.artifact import digest, read_record
from tlhub.manifest import from_dict
from tlhub.run import Run, open_data
from tlhub.testing import toy_catalog, toy_manifest
from tlhub_registry.artifact_backbone import ArtifactBackbone
from tlhub_registry.kept import RegistryStore
from tlhub_registry.registry import Registry

CATALOG = toy_catalog()
TIMM = {"use": "timm", "model": "test_resnet", "pretrained": False, "input_size": 32}
BERT = {
    "use": "bert",
    "config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "max_length": 16,
}


def made(folder: Path, *adapters: dict[str, Any], modality: Any = "image", keep: bool = False, **changes: Any) -> Path:
    """A run on the toys, on timm's or transformers' network."""
    backbone = TIMM if modality == "image" else BERT
    manifest = {**toy_manifest(adapters, modality), "name": folder.name, "backbone": backbone, **changes}
    adapt(manifest, out=folder, catalog=CATALOG, baseline=False, keep=keep, device="cpu")
    return folder


def lineage(folder: Path) -> list[Origin]:
    return [Origin.from_dict(each) for each in read_record(folder)["lineage"]]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("lineage") / "first")


@pytest.fixture(scope="module")
def first_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("lineage") / "first-text", modality="text")


class TestStore:
    component = RegistryStore

    def test_every_finished_run_is_kept_and_found_by_its_name(self, tmp_path: Path) -> None:
        folder = made(tmp_path / "digits", keep=True)
        [entry] = Registry().entries()
        assert (entry.ref, entry.run, entry.source) == ("digits:1", str(folder), "run")
        assert RegistryStore().keep(folder).startswith("kept as digits:1;"), "it is not kept twice"
        images = [Image.new("RGB", (40, 40), color) for color in ("red", "green")]
        assert torch.equal(load("digits:1", "cpu").logits(images), load(folder, "cpu").logits(images))

    def test_a_name_of_nothing(self, tmp_path: Path) -> None:
        made(tmp_path / "digits", keep=True)
        with pytest.raises(UserError, match="did you mean `digits`"):
            load("digist")
        with pytest.raises(UserError, match="of `digits` there is"):
            load("digits:7")


class TestBackbone:
    def test_training_begins_with_the_weights_of_the_model(self, first: Path) -> None:
        manifest = {**toy_manifest(), "backbone": {"use": "artifact", "ref": str(first)}}
        loaded = from_dict(manifest, catalog=CATALOG)
        run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
        theirs = load(first, "cpu").model
        for name, value in run.model.backbone.state_dict().items():
            assert torch.equal(value, theirs.backbone.state_dict()[name]), name
        assert not torch.equal(run.model.head.linear.weight, theirs.head.linear.weight)  # type: ignore[union-attr]

    def test_classes_may_be_others(self, first: Path, tmp_path: Path) -> None:
        source = {"use": "toy_stripes", "classes": {"flat": "even", "left": "uneven", "right": "uneven"}}
        changes = {"backbone": {"use": "artifact", "ref": str(first)}, "source": source, "evaluate": [source]}
        folder = made(tmp_path / "second", **changes)
        assert load(folder, "cpu").classes == ("even", "uneven")

    def test_the_record_names_the_version_that_was_found(self, first: Path, tmp_path: Path) -> None:
        Registry().add(first, name="stripes")
        second = made(tmp_path / "second", backbone={"use": "artifact", "ref": "stripes"})
        record = read_record(second)
        assert record["composed"]["backbone"] == {"use": "artifact", "ref": "stripes:1"}
        assert lineage(second) == [Origin("backbone", "first", digest(read_record(first)))]
        assert ArtifactBackbone(str(first)).spec["ref"] == "stripes:1", "a folder that is kept has a name too"

    def test_the_saved_model_needs_the_first_one_no_more(self, first: Path, tmp_path: Path) -> None:
        Registry().add(first, name="stripes")
        second = made(tmp_path / "second", backbone={"use": "artifact", "ref": "stripes:1"})
        images = [Image.new("RGB", (40, 40), color) for color in ("red", "green")]
        before = load(second, "cpu").logits(images)
        Registry().remove(Registry().find("stripes:1"))
        assert torch.equal(load(second, "cpu").logits(images), before)
        assert read_record(second)["form"] == "timm"

    def test_it_must_read_what_the_data_give(self, first_text: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="gives image, but the backbone is a `bert`, which reads text"):
            made(tmp_path / "second", backbone={"use": "artifact", "ref": str(first_text)})

    def test_a_model_of_whole_texts_answers_no_words(self, first_text: Path, tmp_path: Path) -> None:
        file = tmp_path / "names.conll"
        file.write_text("Anna B-PER\nsings O\n\nin O\nRome B-LOC\n" * 8)
        data = {"use": "conll", "path": str(file)}
        changes = {"backbone": {"use": "artifact", "ref": str(first_text)}, "source": data, "evaluate": [data]}
        with pytest.raises(
            UserError, match="sees an example as a whole, and `token_classification` answers every word"
        ):
            made(tmp_path / "second", modality="text", target=[], **changes)

    @pytest.mark.parametrize(
        "adapter", [{"use": "mlm"}, {"use": "lora", "rank": 2}, {"use": "lora", "save": "adapter"}]
    )
    def test_adapters_of_texts_go_on_from_it(self, adapter: dict[str, Any], first_text: Path, tmp_path: Path) -> None:
        changes = {"backbone": {"use": "artifact", "ref": str(first_text)}}
        second = made(tmp_path / "second", adapter, modality="text", **changes)
        assert [origin.name for origin in lineage(second)] == ["first-text"]
        assert load(second, "cpu").predict(["ba do ke"])[0]["label"] in ("flat", "left", "right")


class TestOrigins:
    def test_random_weights_have_none(self, first: Path, first_text: Path) -> None:
        assert lineage(first) == lineage(first_text) == []

    def test_a_file_of_weights_is_named_and_pinned_by_its_content(self, first: Path, tmp_path: Path) -> None:
        weights = tmp_path / "here" / "mine.safetensors"
        weights.parent.mkdir()
        save_file(load_file(first / "model.safetensors"), weights)
        folder = made(tmp_path / "second", backbone={**TIMM, "weights": str(weights)})
        [origin] = lineage(folder)
        assert (origin.role, origin.name) == ("backbone", "mine.safetensors")
        assert str(origin.revision).startswith("sha256:")
        assert str(tmp_path) not in str(origin)

    def test_a_folder_of_transformers_is_named_and_pinned_by_its_weights(
        self, first_text: Path, tmp_path: Path
    ) -> None:
        backbone = {"use": "bert", "model": str(first_text), "max_length": 16}
        [origin] = lineage(made(tmp_path / "second", modality="text", backbone=backbone))
        expected = read_record(first_text)["files"]["model.safetensors"]
        assert origin == Origin("backbone", "first-text", f"sha256:{expected}")

    @pytest.mark.parametrize(
        "adapter",
        [
            {"use": "distillation"},
            {"use": "feature_distillation"},
            {"use": "relational_distillation"},
            {"use": "attention_transfer", "layers": ["net.layer1"]},
            {"use": "lwf"},
        ],
        ids=lambda adapter: adapter["use"],
    )
    def test_a_teacher_is_an_origin(self, adapter: dict[str, Any], first: Path, tmp_path: Path) -> None:
        Registry().add(first, name="stripes")
        backbone = {"use": "artifact", "ref": str(first)}  # which `lwf` asks for
        student = made(tmp_path / "student", {**adapter, "teacher": "stripes:1"}, backbone=backbone)
        assert [origin.role for origin in lineage(student)] == ["backbone", "teacher"]
        assert lineage(student)[1] == Origin("teacher", "first", digest(read_record(first)))

    def test_a_chain_tells_every_step(self, first: Path, tmp_path: Path) -> None:
        """Teacher, student, and what was adapted from the student."""
        student = made(tmp_path / "student", {"use": "distillation", "teacher": str(first)})
        adapted = made(tmp_path / "adapted", {"use": "coral"}, backbone={"use": "artifact", "ref": str(student)})
        [one] = lineage(adapted)
        [two] = one.lineage
        assert [(each.role, each.name) for each in (one, two)] == [("backbone", "student"), ("teacher", "first")]
        assert [each.revision for each in (one, two)] == [digest(read_record(each)) for each in (student, first)]
