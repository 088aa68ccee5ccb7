"""How source and target differ, and what is proposed: evidence, rule, proposal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import tlhub_alignment
import tlhub_basics
import tlhub_finetune
from tests import tiny
from tests.conftest import Command
from tlhub.catalog import Catalog
from tlhub.errors import DataError
from tlhub.manifest import from_dict
from tlhub.recommend import RULES, Evidence, measure, propose, recommend
from tlhub.shift import label_shares, mmd_test, proxy_a_distance, total_variation

INSTALLED = Catalog.installed()
CATALOG = Catalog({"tiny": tiny, "basics": tlhub_basics, "finetune": tlhub_finetune, "alignment": tlhub_alignment})
CPU = torch.device("cpu")


def gaussian(count: int, shift: float = 0.0, seed: int = 0, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) + shift


# Measurements


def test_the_a_distance_of_one_distribution_is_near_zero_and_of_two_apart_is_two() -> None:
    assert proxy_a_distance(gaussian(200), gaussian(200, seed=1)) < 0.3
    assert proxy_a_distance(gaussian(200), gaussian(200, 10.0, seed=1)) == 2
    middle = proxy_a_distance(gaussian(200), gaussian(200, 0.7, seed=1))
    assert 0.3 < middle < 2


def test_the_a_distance_does_not_see_how_many_examples_there_are() -> None:
    assert proxy_a_distance(gaussian(1000), gaussian(60, seed=1)) < 0.6  # guessing the larger would give 1.8


def plain_mmd(source: np.ndarray, target: np.ndarray, bandwidth: float) -> float:
    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.exp(-((a[:, None] - b) ** 2).sum(2) / (2 * bandwidth**2))

    n, m = len(source), len(target)
    within = (kernel(source, source).sum() - n) / (n * (n - 1)) + (kernel(target, target).sum() - m) / (m * (m - 1))
    return float(within - 2 * kernel(source, target).mean())


def test_the_squared_mmd_is_the_unbiased_one() -> None:
    source, target = gaussian(12), gaussian(7, 0.5, seed=1)
    joint = np.concatenate([source.numpy(), target.numpy()]).astype(float)
    apart = np.sqrt(((joint[:, None] - joint) ** 2).sum(2))
    bandwidth = np.sort(apart[apart > 0])[(len(joint) ** 2 - len(joint) - 1) // 2]
    expected = plain_mmd(source.double().numpy(), target.double().numpy(), bandwidth)
    assert mmd_test(source, target).squared == pytest.approx(expected, rel=1e-8)


def test_the_test_finds_a_shift_and_seldom_one_that_is_not_there() -> None:
    assert mmd_test(gaussian(60), gaussian(60, 1.0, seed=1), permutations=99).p_value == 0.01
    values = [mmd_test(gaussian(20, seed=2 * n), gaussian(20, seed=2 * n + 1), 99, n).p_value for n in range(60)]
    assert sum(value <= 0.05 for value in values) <= 8  # 3 are expected, more than 8 come once in 200 times
    assert 0.3 < np.mean(values) < 0.7


def test_constant_features_are_no_evidence_of_a_difference() -> None:
    assert mmd_test(torch.ones(30, 2), torch.ones(30, 2)).p_value == 1


def classes(shares: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Examples of three classes that overlap a little."""
    labels = torch.cat([torch.full((count,), number) for number, count in enumerate(shares)])
    return gaussian(len(labels), seed=seed) + 2.5 * torch.eye(3, 4)[labels], labels


def test_label_shares_of_an_unlabelled_target_are_estimated() -> None:
    features, labels = classes([200, 200, 200], seed=0)
    target, _ = classes([480, 90, 30], seed=1)
    shares = label_shares(features, labels, target, 3)
    assert shares is not None
    assert total_variation(shares, torch.tensor([0.8, 0.15, 0.05])) < 0.05


def test_label_shares_cannot_be_told_where_classes_cannot() -> None:
    features, labels = gaussian(300), torch.arange(300) % 3
    assert label_shares(features, labels, gaussian(100, seed=1), 3) is None
    assert label_shares(features[:31], torch.arange(31).clamp(max=30) // 30, gaussian(9, seed=1), 2) is None


# Evidence


def manifest(catalog: Catalog = CATALOG, **target: Any) -> Any:
    content = {
        "backbone": "tinynet",
        "source": {"use": "stripes", "count": 60},
        "target": {"use": "stripes", **target},
    }
    return from_dict(content, catalog=catalog)


def test_the_evidence_of_a_shift_and_of_none() -> None:
    same, other = (measure(manifest(count=80, offset=offset), CATALOG, CPU) for offset in (0.0, 3.0))
    assert not same.differs
    assert other.differs
    assert other.a_distance == 2
    assert (other.source, other.target, other.seen, other.labelled) == (60, 80, (60, 80), 0)
    assert other.batch_norm
    assert same.accuracy is not None
    assert same.sentences()[0] == "60 source and 80 target examples, 0 of these with labels"


def test_labels_that_the_target_shows_are_counted() -> None:
    shown = measure(manifest(count=80, labels="all", split="all[:40]"), CATALOG, CPU)
    assert (shown.labelled, shown.estimated, shown.label_shift) == (40, False, 0)


def test_hidden_labels_change_nothing() -> None:
    class Silent(tiny.Stripes):
        name = "stripes"

        def open(self, split: str | None, labels: bool) -> Any:
            opened = super().open(split, labels)
            return replace(opened, labels=[0] * self.count) if labels and self.count == 80 else opened

    plugin = type("Plugin", (), {"tlhub_datasets": staticmethod(tiny.hookimpl(lambda: [Silent]))})
    changed = Catalog({"silent": plugin, "basics": tlhub_basics, "finetune": tlhub_finetune})
    net = type("Net", (), {"tlhub_backbones": staticmethod(tiny.hookimpl(lambda: [tiny.TinyNet]))})
    changed.add("net", net)
    assert measure(manifest(changed, count=80), changed, CPU) == measure(manifest(count=80), CATALOG, CPU)


def test_few_examples_are_no_evidence() -> None:
    seen = measure(manifest(count=10), CATALOG, CPU)
    assert (seen.a_distance, seen.p_value, seen.label_shift) == (None, None, None)
    assert not seen.differs
    assert "too few examples" in seen.sentences()[1]


def test_both_domains_are_needed() -> None:
    alone = from_dict({"backbone": "tinynet", "source": "stripes"}, catalog=CATALOG)
    with pytest.raises(DataError, match="both a source and a target are needed"):
        recommend(alone, CATALOG, CPU)


# Proposals

SHIFTED = Evidence(
    modality="image",
    source=1000,
    target=1000,
    seen=(1000, 1000),
    labelled=0,
    accuracy=0.9,
    a_distance=1.0,
    mmd=0.1,
    p_value=0.002,
    label_shift=0.05,
    estimated=True,
    batch_norm=False,
)


def proposed(**changes: Any) -> set[str]:
    return {name for each in propose(replace(SHIFTED, **changes), INSTALLED) for name in each.adapters}


def test_without_a_difference_no_adapter_is_proposed() -> None:
    (only,) = propose(replace(SHIFTED, p_value=0.4), INSTALLED)
    assert only.adapters == ()
    assert "nothing to align" in only.says


def test_a_discriminator_is_proposed_where_domains_lie_apart_and_there_are_examples_to_train_it() -> None:
    assert {"cdan", "dann"} <= proposed(a_distance=1.9)
    assert not {"cdan", "dann"} & (proposed(a_distance=1.9, target=100) | proposed(a_distance=1.0))
    assert {"coral", "mmd"} <= proposed(a_distance=1.9, target=100)


def test_features_are_not_aligned_where_label_shares_differ() -> None:
    assert not {"coral", "mmd", "dann", "cdan"} & proposed(label_shift=0.4)
    assert "mcc" in proposed(label_shift=0.4)


def test_an_estimate_of_label_shares_counts_for_nothing_where_domains_lie_far_apart() -> None:
    assert "dann" in proposed(label_shift=0.4, a_distance=1.9)
    assert "dann" not in proposed(label_shift=0.4, a_distance=1.9, estimated=False)
    assert "which they do not" in replace(SHIFTED, a_distance=1.9).sentences()[-1]


def test_what_an_adapter_needs_is_there() -> None:
    assert "adabn" not in proposed()
    assert "adabn" in proposed(batch_norm=True)
    assert "tradaboost" not in proposed()
    assert "tradaboost" in proposed(labelled=50)


def test_only_installed_adapters_are_proposed() -> None:
    found = propose(SHIFTED, Catalog({"alignment": tlhub_alignment}))
    assert {name for each in found for name in each.adapters} == {"coral", "mmd"}


def test_every_adapter_that_a_rule_names_is_one_of_ours() -> None:
    known = {entry.name for entry in INSTALLED.entries("adapters")}
    assert {name for rule in RULES for name in rule.adapters} <= known


# The command


def test_the_command_tells_evidence_and_proposals(tlhub: Command) -> None:
    options = ["--source", "{use: digits, split: 'train[:80]'}", "--target", "{use: digits_photo, split: 'train[:80]'}"]
    done = tlhub("recommend", *options, "--backbone", "lenet", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["evidence"]["p_value"] < 0.05
    assert told["proposals"]
    assert "Evidence:" in done.stderr


def test_the_command_needs_a_manifest_or_all_three_options(tlhub: Command) -> None:
    done = tlhub("recommend", "--source", "use=digits")
    assert done.returncode == 2
    assert "missing: --target, --backbone" in done.stderr
