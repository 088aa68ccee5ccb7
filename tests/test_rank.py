"""Ranking backbones on labelled examples: what is a candidate, what it will take, and what comes out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tlhub
import tlhub_basics
import tlhub_data
import tlhub_scores
import tlhub_timm
import tlhub_vectors
from tests.conftest import Command
from tests.models import write_model
from tests.tiny import Stripes, TinyNet
from tlhub.adaptation import adapt
from tlhub.backbone import Backbone
from tlhub.catalog import Catalog
from tlhub.data import Examples
from tlhub.errors import ArtifactError, DataError, UserError
from tlhub.hookspecs import hookimpl
from tlhub.rank import Candidate, Labelled, balanced, candidate, candidates, estimate, open_labelled, rank
from tlhub.watch import Watch
from tlhub_cli.parts import part
from tlhub_registry.registry import Registry

CPU = torch.device("cpu")


class Contrast(TinyNet):
    """How much rows and columns vary, which tells stripes apart; counts the images it saw.

    Args:
        noise: standard deviation of what is added to its features.
    """

    name = "contrast"
    seen = 0

    def __init__(self, noise: float = 0.0) -> None:
        Backbone.__init__(self)
        self.width = 2
        self.gain = nn.Parameter(torch.ones(1))
        self.noise = noise

    def forward(self, inputs: Tensor) -> Tensor:
        type(self).seen += len(inputs)
        found = torch.stack([inputs.mean(3).std(2)[:, 0], inputs.mean(2).std(2)[:, 0]], 1)
        generator = torch.Generator().manual_seed(len(inputs))
        return self.gain * found + self.noise * torch.randn(found.shape, generator=generator)

    def stages(self) -> Sequence[Sequence[str]]:
        return [["gain"]]


class Judge(Contrast):
    """It came with a classifier of stripes, which is sure of the larger feature."""

    name = "judge"

    def __init__(self) -> None:
        super().__init__()

    def source_head(self) -> nn.Module:
        head = nn.Linear(2, 2, bias=False)
        nn.init.eye_(head.weight)
        head.weight.data *= 1000
        return head


class Grades(Stripes):
    """Stripes with a number for each.

    Args:
        count: how many.
    """

    name = "grades"

    def __init__(self, count: int = 20) -> None:
        super().__init__(count)

    def open(self, split: str | None, labels: bool) -> Examples:
        opened = super().open(split, labels)
        numbers = torch.arange(self.count).float()
        return Examples(opened.inputs, numbers, None, "grades", opened.where, "regression")


@hookimpl
def tlhub_backbones() -> list[type]:
    return [TinyNet, Contrast, Judge]


@hookimpl
def tlhub_datasets() -> list[type]:
    return [Stripes, Grades]


CATALOG = Catalog(
    {"mine": sys.modules[__name__], "basics": tlhub_basics, "scores": tlhub_scores, "vectors": tlhub_vectors}
)


def scores(*names: str) -> list[Any]:
    return [CATALOG.create("scores", name, {}) for name in names]


def stripes(limit: int | None = None) -> Labelled:
    return open_labelled({"use": "stripes", "count": 60}, CATALOG, limit)


@pytest.fixture
def adapted(tmp_path: Path) -> Path:
    """A folder with a trained classifier of stripes."""
    manifest = {
        "backbone": "contrast",
        "source": "stripes",
        "train": {"epochs": 40, "batch": 16, "lr": 0.1, "workers": 0},
    }
    return tlhub.adapt(manifest, out=tmp_path / "adapted", catalog=CATALOG, baseline=False).folder


# Candidates


def test_a_candidate_is_a_backbone_by_name_with_its_first_setting(tmp_path: Path) -> None:
    assert candidate("contrast", CATALOG).part == {"use": "contrast"}
    assert candidate("mine/contrast", CATALOG).part == {"use": "mine/contrast"}
    assert candidate("contrast:0.5", CATALOG) == Candidate("contrast:0.5", {"use": "contrast", "noise": "0.5"})
    assert candidate({"use": "contrast", "noise": 2}, CATALOG).part == {"use": "contrast", "noise": 2}
    assert candidate(str(tmp_path), CATALOG).folder == tmp_path


def test_a_candidate_that_is_nothing_is_told_what_could_be() -> None:
    with pytest.raises(ArtifactError) as raised:
        candidate("contrats", CATALOG)
    assert raised.value.message == "there is no adapted model `contrats`"
    assert "`contrast`" in (raised.value.hint or "")
    with pytest.raises(UserError, match="`tinynet` has no settings"):
        candidate("tinynet:large", CATALOG)


def test_like_candidates_are_told_apart_by_the_settings_in_which_they_differ() -> None:
    small, large = ({"use": "timm", "model": "resnet18", "input_size": side} for side in (64, 224))
    names = [each.name for each in candidates([small, large, "contrast"], CATALOG)]
    assert names == ["timm:resnet18 input_size=64", "timm:resnet18 input_size=224", "contrast"]
    assert candidates([small, "contrast"], CATALOG)[0].name == "timm:resnet18"
    with pytest.raises(UserError, match="`contrast` is named twice"):
        candidates(["contrast", "contrast"], CATALOG)


# Data


def test_a_limited_sample_has_of_every_class_as_many_as_it_can() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 4)
    picked = balanced(labels, 24, seed=0)
    assert labels[picked].bincount().tolist() == [10, 10, 4]
    assert picked.tolist() == sorted(set(picked.tolist()))
    assert picked.tolist() == balanced(labels, 24, seed=0).tolist()
    assert picked.tolist() != balanced(labels, 24, seed=1).tolist()
    assert len(balanced(labels, 1000, seed=0)) == 84


def test_labels_must_give_one_class_to_every_example() -> None:
    with pytest.raises(DataError, match="one class to every example"):
        open_labelled({"use": "grades"}, CATALOG)
    with pytest.raises(DataError, match="one class to every example"):
        open_labelled({"use": "stripes", "labels": "none"}, CATALOG)
    with pytest.raises(UserError, match="unknown setting `cuont` of `stripes`"):
        open_labelled({"use": "stripes", "cuont": 3}, CATALOG)
    with pytest.raises(UserError, match="the data needs the setting `use`"):
        open_labelled({"count": 3}, CATALOG)


# Ranking


def test_an_estimate_counts_weights_and_features_and_says_how_long() -> None:
    found = estimate(candidate("tinynet", CATALOG), stripes(), CPU, CATALOG)
    parameters = list(TinyNet().parameters())
    weights = sum(tensor.nbytes for tensor in TinyNet().state_dict().values())
    assert (found.parameters, found.width) == (sum(each.numel() for each in parameters), 6)
    assert found.bytes == weights + 60 * 6 * 8
    assert 0 < found.seconds < 60


def test_the_backbone_whose_features_tell_classes_apart_comes_first() -> None:
    named = candidates([{"use": "contrast", "noise": noise} for noise in (0.2, 2.0, 0.0)], CATALOG)
    ranking = rank(named, stripes(), scores("logme", "linear_probe"), CPU, CATALOG)
    assert [row.backbone for row in ranking.rows] == ["contrast:0.0", "contrast:0.2", "contrast:2.0"]
    assert ranking.rows[0].scores["linear_probe"] == 1
    assert ranking.agreement == {("logme", "linear_probe"): 1}
    assert ranking.notes == []
    assert json.loads(json.dumps(ranking.as_dict()))["rows"][0]["backbone"] == "contrast:0.0"


def test_every_example_is_seen_once_for_all_scores() -> None:
    Contrast.seen = 0
    told: list[int] = []

    class Progress(Watch):
        def progress(self, done: int, rows: int, terms: Any) -> None:
            told.append(done)

    rank([candidate("contrast", CATALOG)], stripes(), scores("logme", "gbc", "hscore"), CPU, CATALOG, Progress())
    assert Contrast.seen == told[-1] == 60


def test_random_weights_are_those_of_the_seed() -> None:
    def value(seed: int) -> float | None:
        found = rank([candidate("tinynet", CATALOG)], stripes(), scores("logme"), CPU, CATALOG, seed=seed)
        return found.rows[0].scores["logme"]

    assert value(0) == value(0) != value(1)


def test_scores_of_a_source_classifier_are_for_models_that_have_one(adapted: Path) -> None:
    named = candidates([str(adapted), "contrast"], CATALOG)
    ranking = rank(named, stripes(), scores("leep", "nce", "logme"), CPU, CATALOG)
    first, last = ranking.rows
    assert first.backbone == str(adapted)
    assert first.scores["nce"] == pytest.approx(0, abs=0.1)
    assert last.scores["leep"] is None
    assert ranking.notes[0] == "`leep` needs the class probabilities of a classifier, which these do not have: contrast"


def test_a_pretrained_backbone_is_scored_by_the_classifier_that_it_came_with() -> None:
    ranking = rank(candidates(["judge", "contrast"], CATALOG), stripes(), scores("leep", "nce"), CPU, CATALOG)
    judge, contrast = ranking.rows
    assert judge.scores == {"leep": pytest.approx(0, abs=1e-3), "nce": pytest.approx(0, abs=1e-6)}
    assert contrast.scores == {"leep": None, "nce": None}


def test_the_classes_of_imagenet_tell_the_objects_on_real_photos_apart(shared: Path) -> None:
    weights = shared / "weights/mobilenetv2_100_imagenet/model.safetensors"
    arguments = {"pad_type": "same", "bn_eps": 1e-3}
    network = {"use": "timm", "model": "mobilenetv2_100", "weights": str(weights), "args": arguments, "input_size": 96}
    catalog = Catalog({"timm": tlhub_timm, "scores": tlhub_scores, "data": tlhub_data})
    named = candidates([{**network, "mean": [0.5] * 3, "std": [0.5] * 3}], catalog)
    true = open_labelled({"use": "imagefolder", "path": str(shared / "data/office_caltech10/webcam")}, catalog, 60)
    assert true.domain.labels is not None
    moved = replace(true, domain=replace(true.domain, labels=true.domain.labels.roll(17)))

    def leep_and_nce(data: Labelled) -> list[float]:
        (row,) = rank(named, data, scores("leep", "nce"), CPU, catalog).rows
        return [value for value in row.scores.values() if value is not None]

    (leep, nce), (less, _) = leep_and_nce(true), leep_and_nce(moved)
    assert less < -0.4 < -0.3 < leep < nce <= 0


def test_a_score_that_cannot_be_had_is_left_out_and_said() -> None:
    data = open_labelled({"use": "stripes", "split": "all[:3]"}, CATALOG)
    ranking = rank([candidate("contrast", CATALOG)], data, scores("logme", "linear_probe", "hscore"), CPU, CATALOG)
    assert ranking.rows[0].scores["linear_probe"] is None
    assert ranking.rows[0].scores["logme"] is not None
    assert ranking.notes == [
        "`linear_probe` needs two examples of every class, and there is a class with one: contrast"
    ]


def test_a_backbone_for_other_data_is_refused() -> None:
    with pytest.raises(UserError, match="`vectors:2` reads vector, but the data set gives image"):
        estimate(candidate({"use": "vectors", "inputs": 2}, CATALOG), stripes(), CPU, CATALOG)


def test_a_score_is_named_once() -> None:
    with pytest.raises(UserError, match="a score is named twice"):
        rank([candidate("contrast", CATALOG)], stripes(), scores("logme", "logme"), CPU, CATALOG)


# The command


def test_the_command_estimates_ranks_and_prints_json(tlhub: Command) -> None:
    data = "{use: digits, split: 'train[:60]'}"
    done = tlhub("rank", "--data", data, "--backbone", "lenet", "--backbone", "dtn", "--limit", "40", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert {row["backbone"] for row in told["rows"]} == {"lenet", "dtn"}
    assert set(told["rows"][0]["scores"]) == {"logme", "hscore_shrunk", "linear_probe"}
    assert [each["backbone"] for each in told["estimates"]] == ["lenet", "dtn"]
    assert done.stderr.index("Estimated for 40 examples") < done.stderr.index("logme")


def test_the_command_ranks_what_is_on_this_disk_where_no_candidate_is_named(tlhub: Command, tmp_path: Path) -> None:
    manifest = {
        "name": "lenet",  # an entry that is called like a backbone is not mistaken for it
        "backbone": "lenet",
        "source": {"use": "digits", "split": "train[:40]"},
        "train": {"epochs": 1, "batch": 20, "workers": 0},
    }
    for seed in (0, 1):
        adapt(manifest, overrides=[f"train.seed={seed}"], out=tmp_path / f"run{seed}", baseline=False)
    other = write_model(tmp_path / "other", {"weight": np.zeros(2)}, name="other")
    record = other / "tlhub.json"
    record.write_text(record.read_text().replace('"use": "timm"', '"use": "elsewhere"'))
    Registry().add(other)
    done = tlhub("rank", "--data", "{use: digits, split: 'train[:60]'}", "--json", "--score", "logme")
    assert done.returncode == 0, done.stderr
    ranked = {row["backbone"] for row in json.loads(done.stdout)["rows"]}
    assert ranked == {"lenet:2", "lenet", "dtn", "mnistm_net"}
    assert "note: `other:1` is left out: there is no backbone `elsewhere`" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "lenet"], "there is nothing to rank: 1 backbone for image"),
        (["--backbone", "lenet", "--backbone", "dtn", "--score", "logm"], "there is no score `logm`"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], message: str, tlhub: Command) -> None:
    done = tlhub("rank", "--data", "{use: digits, split: 'train[:60]'}", *arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_part_on_the_command_line_is_yaml_or_pairs() -> None:
    assert part("use=csv,path=a b.csv,rows=3", "--data") == {"use": "csv", "path": "a b.csv", "rows": 3}
    assert part("{use: csv, path: [a, b]}", "--data") == {"use": "csv", "path": ["a", "b"]}
    for wrong in ("resnet18", "model=x", "{model: x}", "use", "{use: [a]}"):
        with pytest.raises(UserError, match="names no component") as raised:
            part(wrong, "--backbone")
        assert raised.value.hint == "write it like `--backbone use=timm,model=resnet18`"
