"""Honest measurement: intervals that cover what they say, and baselines that are trained when they must be."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tlhub.adaptation import Result, adapt
from tlhub.artifact import read_record
from tlhub.measure import Z95, Comparison, compare, interval
from tlhub.task import Task
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.validator import Outputs
from tlhub.watch import Watch
from tlhub_basics.classification import Classification

from .tables import write_images


class Graded(Classification):
    """Scores an answer by its first number, whatever that is."""

    name = "graded"

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        return logits[:, 0]


def right(scores: Tensor) -> Outputs:
    """What a model says that is right where `scores` is 1."""
    logits = torch.stack([1 - scores, scores], dim=1).float()
    return Outputs(torch.zeros(len(scores), 1), logits, torch.ones(len(scores), dtype=torch.long))


def graded(*scores: float) -> Outputs:
    logits = torch.tensor(scores)[:, None].expand(-1, 2)
    return Outputs(logits, logits, torch.zeros(len(scores), dtype=torch.long))


def pairs(both: int = 0, better: int = 0, worse: int = 0, neither: int = 0) -> tuple[Outputs, Outputs]:
    """A baseline and an adapted model that are right on so many examples, together or alone."""
    first, second = ([1, 0, 1, 0], [1, 1, 0, 0])
    counts = torch.tensor([both, better, worse, neither])
    return right(torch.tensor(first).repeat_interleave(counts)), right(torch.tensor(second).repeat_interleave(counts))


def compared(task: Task | None = None, **counts: int) -> Comparison:
    return compare(task or Classification(), *pairs(**counts))


class TestInterval:
    """Of one model's score."""

    @pytest.mark.parametrize(
        ("hits", "examples", "low", "high"),
        [
            (8, 10, 0.4902, 0.9433),
            (0, 10, 0.0, 0.2775),
            (10, 10, 0.7225, 1.0),
            (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_wilsons_known_values(self, hits: int, examples: int, low: float, high: float) -> None:
        score = interval((torch.arange(examples) < hits).float())
        assert (score.value, score.examples) == (pytest.approx(hits / examples), examples)
        assert (score.low, score.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))

    def test_other_scores_have_the_normal_interval(self) -> None:
        score = interval(torch.tensor([0.5, 1.0, 2.5, 4.0]))
        half = Z95 * math.sqrt(((1.5**2 + 1 + 0.5**2 + 2**2) / 3) / 4)
        assert (score.low, score.high) == (pytest.approx(2 - half), pytest.approx(2 + half))

    def test_one_such_score_says_nothing(self) -> None:
        score = interval(torch.tensor([0.5]))
        assert (score.low, score.high) == (-math.inf, math.inf)


class TestComparison:
    """Of two models on the same examples."""

    def test_by_hand(self) -> None:
        """Bonett & Price 2012: differences of 20 + 2 examples, of which 9 + 1 are +1 and 2 + 1 are -1."""
        found = compared(both=5, better=9, worse=2, neither=4)
        half = Z95 * math.sqrt((13 / 22 - (7 / 22) ** 2) / 22)
        assert found.difference == pytest.approx(7 / 20)
        assert (found.low, found.high) == (pytest.approx(7 / 22 - half), pytest.approx(7 / 22 + half))

    def test_scores_that_are_not_right_or_wrong(self) -> None:
        found = compare(Graded(), graded(0.1, 0.2, 0.4, 0.3), graded(0.3, 0.1, 0.8, 0.6))
        half = Z95 * math.sqrt((0 + 0.3**2 + 0.2**2 + 0.1**2) / 3 / 4)
        assert found.difference == pytest.approx(0.2)
        assert (found.low, found.high) == (pytest.approx(0.2 - half), pytest.approx(0.2 + half))

    @pytest.mark.parametrize(
        ("counts", "outcome", "words"),
        [
            ({"both": 50, "better": 40, "neither": 10}, "helped", "Adaptation helped: accuracy rose by 40.0 points"),
            ({"both": 50, "worse": 40, "neither": 10}, "hurt", "accuracy fell by 40.0 points"),
            ({"both": 50, "better": 10, "worse": 8}, "no evidence", "No evidence that adaptation changed accuracy"),
        ],
    )
    def test_the_outcome_in_words(self, counts: dict[str, int], outcome: str, words: str) -> None:
        found = compared(**counts)
        assert found.outcome == outcome
        assert words in found.sentence("accuracy")
        assert "95 % interval" in found.sentence("accuracy")
        assert ("negative transfer" in found.sentence("accuracy")) == (outcome == "hurt")

    @pytest.mark.parametrize("examples", [1, 5, 1000])
    def test_identical_models_are_no_evidence(self, examples: int) -> None:
        found = compared(both=examples - 1, neither=1)
        assert (found.outcome, found.difference) == ("no evidence", 0)
        assert found.low < 0 < found.high

    @pytest.mark.parametrize(("examples", "outcome"), [(1, "no evidence"), (2, "no evidence"), (10, "helped")])
    def test_a_handful_of_examples_is_little_evidence(self, examples: int, outcome: str) -> None:
        found = compared(better=examples)
        assert (found.difference, found.outcome) == (1.0, outcome)
        assert found.high <= 1.0

    def test_it_mirrors(self) -> None:
        first, second = pairs(both=5, better=7, worse=3, neither=4)
        there, back = compare(Classification(), first, second), compare(Classification(), second, first)
        assert there.low == pytest.approx(-back.high)
        assert there.high == pytest.approx(-back.low)

    @pytest.mark.parametrize(
        ("examples", "better", "worse"), [(30, 0.1, 0.1), (30, 0.2, 0.0), (100, 0.3, 0.1), (400, 0.03, 0.03)]
    )
    def test_95_percent_of_the_intervals_cover_the_truth(self, examples: int, better: float, worse: float) -> None:
        generator = torch.Generator().manual_seed(0)
        covered = wrong = 0
        for _ in range(1000):
            drawn = torch.rand(examples, generator=generator)
            counts = [int((drawn < better).sum()), int((drawn >= 1 - worse).sum())]
            found = compared(both=examples - sum(counts), better=counts[0], worse=counts[1])
            covered += found.low <= better - worse <= found.high
            wrong += found.outcome == ("hurt" if better > worse else "helped")
        assert 0.935 <= covered / 1000 <= 0.99
        assert wrong / 1000 <= 0.035


class Told(Watch):
    """Notes what was trained and what was said."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.notes: list[str] = []

    def started(self, title: str, steps: int, done: int) -> None:
        self.trained.append(title)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Adaptation(NamedTuple):
    """What an adaptation came to, and what it told."""

    result: Result
    told: Told


Adapts = Callable[..., Adaptation]


@pytest.fixture
def adapts(tmp_path_factory: pytest.TempPathFactory) -> Adapts:
    """Adapts a manifest on the toys; parts by name replace its own, `train` is merged."""

    def adapts(
        adapters: list[Mapping[str, Any]] | None = None,
        baseline: bool = True,
        train: Mapping[str, Any] | None = None,
        **parts: Any,
    ) -> Adaptation:
        written = {**toy_manifest(adapters or [{"use": "mmd"}], **(train or {})), **parts}
        told = Told()
        out = tmp_path_factory.mktemp("runs") / "out"
        return Adaptation(adapt(written, out=out, baseline=baseline, watch=told, catalog=toy_catalog()), told)

    return adapts


BOTH = ["source-only baseline", "adapting"]


class TestBaseline:
    """The source-only baseline is trained once, and anew when something it depends on has changed."""

    def test_it_is_trained_first_and_reused_by_the_second_run(self, adapts: Adapts, store: Path) -> None:
        first, second = adapts(), adapts()
        assert first.told.trained == BOTH
        assert second.told.trained == ["adapting"]
        assert any("it is reused" in note for note in second.told.notes)
        assert first.result.as_dict() == second.result.as_dict()
        assert len(list((store / "baselines").iterdir())) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"source": {"use": "toy_stripes", "seed": 7}},
            {"source": {"use": "toy_stripes", "split": "all[:40]"}},
            {"source": {"use": "toy_stripes", "classes": {"flat": "right"}}, "evaluate": []},
            {"train": {"seed": 1}},
            {"train": {"lr": 0.02}},
            {"train": {"steps_per_epoch": 4}},
            {"backbone": {"use": "toy_net", "width": 7}},
            {"adapters": [{"use": "mmd"}, {"use": "head_swap", "bottleneck": 4}]},
            {"select": "source_score"},
        ],
        ids=str,
    )
    def test_it_is_trained_anew_when_what_it_depends_on_changes(self, change: dict[str, Any], adapts: Adapts) -> None:
        adapts()
        assert adapts(**change).told.trained == BOTH

    @pytest.mark.parametrize(
        "change",
        [
            {"target": {"use": "toy_stripes", "brightness": 90, "count": 100}},
            {"evaluate": {"use": "toy_stripes", "seed": 9}},
            {"evaluate": []},
            {"name": "other"},
            {"adapters": [{"use": "mmd", "strength": 2}]},
            {"adapters": [{"use": "dann", "hidden": 8}, {"use": "mmd"}]},
        ],
        ids=str,
    )
    def test_it_is_reused_when_anything_else_changes(self, change: dict[str, Any], adapts: Adapts) -> None:
        adapts()
        assert adapts(**change).told.trained == ["adapting"]

    def test_other_first_weights_in_the_same_file_are_noticed(self, adapts: Adapts, tmp_path: Path) -> None:
        file = tmp_path / "weights.safetensors"
        start = adapts(backbone={"use": "lenet", "fc": False}, train={"epochs": 1, "steps_per_epoch": 1})
        saved = load_file(start.result.folder / "model.safetensors")
        weights = {
            name.removeprefix("backbone."): value for name, value in saved.items() if name.startswith("backbone.")
        }
        for expected, factor in ((BOTH, 1.0), (["adapting"], 1.0), (BOTH, 1.001)):
            save_file({name: value * factor for name, value in weights.items()}, file)
            backbone = {"use": "lenet", "fc": False, "weights": str(file)}
            assert adapts(backbone=backbone, train={"epochs": 1, "steps_per_epoch": 1}).told.trained == expected

    def test_changed_files_of_the_source_are_noticed(self, adapts: Adapts, tmp_path: Path) -> None:
        images = {"use": "imagefolder", "path": str(write_images(tmp_path / "images"))}
        parts = {"backbone": {"use": "lenet", "fc": False}, "source": images, "target": images, "evaluate": []}
        assert adapts(**parts).told.trained == BOTH
        file = tmp_path / "images/cat/0.png"
        file.write_bytes((tmp_path / "images/cat/1.png").read_bytes())
        assert adapts(**parts).told.trained == BOTH

    def test_it_is_trained_for_as_many_steps_without_what_needs_the_target(self, adapts: Adapts, store: Path) -> None:
        adapts([{"use": "head_swap", "bottleneck": 4}, {"use": "mmd"}], train={"steps_per_epoch": None})
        record = read_record(next((store / "baselines").iterdir()))
        assert [part["use"] for part in record["manifest"]["adapters"]] == ["head_swap"]
        assert record["manifest"]["train"]["steps_per_epoch"] == 6
        assert "target" not in record["manifest"]
        assert list(record["data"]) == ["source"]

    def test_one_that_was_damaged_is_trained_anew(self, adapts: Adapts, store: Path) -> None:
        first = adapts()
        kept = next((store / "baselines").iterdir()) / "model.safetensors"
        kept.write_bytes(kept.read_bytes()[:-1])
        second = adapts()
        assert second.told.trained == BOTH
        assert any("is damaged" in note for note in second.told.notes)
        assert second.result.as_dict() == first.result.as_dict()

    def test_without_a_baseline_the_result_says_so(self, adapts: Adapts, store: Path) -> None:
        found = adapts(baseline=False)
        assert found.told.trained == ["training"]
        assert found.result.comparison is None
        assert found.result.sentence == "There is no baseline to compare with."
        assert [row.model for row in found.result.rows] == ["adapted"]
        assert not (store / "baselines").exists()

    def test_a_run_that_looks_at_no_target_is_its_own_baseline(self, adapts: Adapts) -> None:
        found = adapts([{"use": "head_swap"}])
        assert found.told.trained == ["training"]
        assert [row.model for row in found.result.rows] == ["adapted"]

    def test_two_processes_at_once_keep_one(self, tmp_path: Path, store: Path) -> None:
        program = (
            "import sys\nfrom tlhub.adaptation import adapt\nfrom tlhub.testing import *\n"
            "from tlhub.watch import Watch\n"
            "class Waiting(Watch):\n"
            "    def stopped(self): print('trained', flush=True); sys.stdin.readline()\n"
            "adapt(toy_manifest([{'use': 'mmd'}]), out=sys.argv[1], catalog=toy_catalog(), watch=Waiting())"
        )
        both = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(tmp_path / name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("first", "second")
        ]
        for process in both:  # both have trained the baseline, neither has kept it yet
            assert process.stdout is not None
            assert process.stdout.readline() == "trained\n"
        for process in both:
            assert process.stdin is not None
            process.stdin.write("go on\n" * 2)
            process.stdin.flush()
        ends = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], ends
        assert len(list((store / "baselines").iterdir())) == 1
        first, second = (read_record(tmp_path / name)["result"] for name in ("first", "second"))
        assert first == second
        assert first["comparison"] is not None
