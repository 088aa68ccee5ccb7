"""How an epoch is chosen: what validators are shown, what they must not learn, and when they are overruled."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.adapter import Adapter, Need
from tlhub.artifact import load
from tlhub.baseline import baseline_manifest
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints, sha256
from tlhub.errors import DataError, TrainingError, UserError
from tlhub.run import Run, open_data
from tlhub.selection import Selection, breadth, has_collapsed
from tlhub.task import Task
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.testing.toys import CLASSES, ToySentences
from tlhub.train import check, train
from tlhub.validator import Evidence, Validator
from tlhub.watch import Watch
from tlhub_validators.auto import ENOUGH
from tlhub_validators.ensemble import Ensemble
from tlhub_validators.source_score import SourceScore
from tlhub_validators.target_score import TargetScore

VALIDATORS = [entry.name for entry in Catalog.installed().entries("validators")]


class Certain(Validator):
    """The negative entropy of the answers, rounded so that epochs may be equal."""

    name = "certain"
    needs = frozenset({Need.TARGET})

    def score(self, task: Task, seen: Evidence) -> float:
        assert seen.target is not None
        return round(-float(torch.special.entr(seen.target.logits.softmax(1)).sum(1).mean()), 2)


class Broken(Validator):
    """No number."""

    name = "broken"

    def score(self, task: Task, seen: Evidence) -> float:
        return float("nan")


class Insisting(Adapter):
    """Makes the model answer as it is told in each epoch.

    Args:
        classes: for every epoch, the class that all examples are of; null: one class for each third of them.
    """

    name = "insisting"
    needs = frozenset({Need.TARGET})

    def __init__(self, classes: list[int | None]) -> None:
        super().__init__()
        self.classes = classes

    def start_epoch(self, run: Run) -> None:
        layer: Any = run.model.head
        told = self.classes[run.epoch]
        with torch.no_grad():
            layer.linear.weight.zero_()
            layer.linear.bias.zero_()
            if told is not None:
                layer.linear.bias[told] = 9.0
                return
            features = run.outputs(run.targets[0]).features
            values = features[:, features.std(0).argmax()]
            low, high = values.quantile(torch.tensor([1 / 3, 2 / 3])).tolist()
            column = int(features.std(0).argmax())
            slope = 2 / (high - low)  # the middle class wins between the quantiles
            layer.linear.weight[0, column], layer.linear.bias[0] = -slope, slope * low
            layer.linear.weight[2, column], layer.linear.bias[2] = slope, -slope * high


CATALOG = toy_catalog(adapters=[Insisting], validators=[Certain, Broken])


class Hearing(Watch):
    """Keeps what the user is told of the choice."""

    def __init__(self) -> None:
        self.overruled: list[str] = []

    def note(self, text: str) -> None:
        if "overruled" in text:
            self.overruled.append(text)


def composed(parts: Mapping[str, Any], adapters: list[Any] | None = None, **settings: Any) -> Run:
    written = {**toy_manifest([{"use": "mmd"}] if adapters is None else adapters, **settings), **parts}
    loaded = manifests.from_dict(written, catalog=CATALOG)
    return Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))


def evidence(parts: Mapping[str, Any], **settings: Any) -> tuple[Run, Evidence]:
    run = composed(parts, **settings)
    return run, Selection(run, Watch()).evidence()


LABELLED = {"use": "toy_stripes", "brightness": 60, "seed": 1, "count": 240, "labels": "all"}


class TestEvidence:
    """Validators see what training may see, each part once."""

    def test_the_parts_of_the_source(self) -> None:
        run, seen = evidence({"select": "source_score"}, validation=0.25)
        assert seen.source is not None
        assert seen.trained is not None
        assert (len(seen.source.logits), len(seen.trained.logits)) == (12, 36)
        assert run.held_out[0].labels is not None
        assert seen.source.labels is not None
        assert torch.equal(seen.source.labels, run.held_out[0].labels)

    def test_what_is_trained_on_is_labelled_row_by_row(self) -> None:
        run, seen = evidence({"select": "dev"})
        assert seen.trained is not None
        assert seen.trained.labels is not None
        whole = run.outputs(run.sources[0])
        assert whole.labels is not None
        there = {tuple(row): int(label) for row, label in zip(whole.logits.tolist(), whole.labels, strict=True)}
        assert [there[tuple(row)] for row in seen.trained.logits.tolist()] == seen.trained.labels.tolist()

    def test_a_frozen_backbones_features_are_those_of_its_examples(self) -> None:
        adapters = [{"use": "partial_freeze", "stages": "all"}]
        run, seen = evidence({"select": "dev", "backbone": {"use": "toy_net", "augment": False}}, adapters=adapters)
        expected = seen.trained
        run.features = {"source": run.outputs(run.sources[0]).features}
        again = Selection(run, Watch()).evidence().trained
        assert expected is not None
        assert again is not None
        torch.testing.assert_close(again.logits, expected.logits)

    def test_hidden_target_labels_are_not_there(self) -> None:
        _, seen = evidence({"select": "snd"})
        assert seen.target is not None
        assert seen.target.labels is None
        assert seen.shown is None
        assert seen.target is seen.target, "computed once"

    @pytest.mark.parametrize(
        ("select", "source", "target"), [("source_score", 43, 240), ("target_score", 48, 216), ("snd", 48, 240)]
    )
    def test_only_what_the_validator_asks_for_is_held_out(self, select: str, source: int, target: int) -> None:
        run = composed({"select": select, "target": LABELLED})
        assert (len(run.sources[0]), len(run.targets[0])) == (source, target)
        held = {domain.role: domain.rows.tolist() for domain in run.held_out}
        assert not set(held.get("target", [])) & set(run.targets[0].rows.tolist())

    def test_a_run_without_a_source_is_selected_by_target_labels(self) -> None:
        _, seen = evidence({"select": "target_score", "source": [], "target": LABELLED}, adapters=[])
        assert (seen.source, seen.trained) == (None, None)
        assert seen.shown is not None
        assert len(seen.shown.logits) == 24

    def test_several_targets_are_seen_side_by_side(self) -> None:
        targets = [{"use": "toy_stripes", "seed": 5, "count": 30}, {"use": "toy_stripes", "seed": 6, "count": 20}]
        _, seen = evidence({"select": "mixval", "target": targets})
        assert seen.target is not None
        mixed = seen.mixed(0.55)
        assert sorted(mixed.first.tolist()) == sorted(mixed.second.tolist()) == list(range(50))
        assert ((mixed.first < 30) == (mixed.second < 30)).all(), "each is mixed with another of its own domain"


class TestMixing:
    """`mixed` is the model on mixtures of inputs; of texts, on mixtures of what the backbone gives."""

    def test_images(self) -> None:
        run, seen = evidence({"select": "mixval", "target": {"use": "toy_stripes", "count": 10}})
        mixed = seen.mixed(0.75)
        preprocess = run.model.backbone.preprocess(train=False)
        images = torch.stack([preprocess(run.targets[0].raw(row)) for row in range(10)])
        blend = (0.75 * images[mixed.first] + 0.25 * images[mixed.second]).round().to(torch.uint8)
        with torch.inference_mode():
            torch.testing.assert_close(mixed.logits, run.model.eval()(blend))
        assert (mixed.first != mixed.second).all()

    def test_texts(self) -> None:
        content = {**toy_manifest([{"use": "mmd"}], "text"), "select": "mixval"}
        loaded = manifests.from_dict(content, catalog=CATALOG)
        run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
        seen = Selection(run, Watch()).evidence()
        mixed = seen.mixed(0.6)
        assert seen.target is not None
        features = 0.6 * seen.target.features[mixed.first] + 0.4 * seen.target.features[mixed.second]
        with torch.inference_mode():  # there is no neck here: the head reads what the backbone gives
            torch.testing.assert_close(mixed.logits, run.model.head.eval()(features))

    def test_a_lone_example_has_no_partner(self) -> None:
        target = {"use": "toy_stripes", "count": 1}
        _, seen = evidence({"select": "mixval", "target": target}, adapters=[{"use": "dann"}], batch=1)
        assert len(seen.mixed(0.55).first) == 0


class TestGuard:
    """An epoch whose answers have collapsed is never preferred to one whose have not."""

    def chosen(
        self, classes: list[int | None], tmp_path: Path, select: str = "certain", **settings: Any
    ) -> tuple[Tensor, list[dict[str, Any]], list[str]]:
        """The bias of the head that is kept, the history, and what the user was told."""
        run = composed(
            {"select": select},
            [{"use": "insisting", "classes": classes}],
            epochs=len(classes),
            steps_per_epoch=1,
            lr=1e-9,
            optimizer="sgd",
            **settings,
        )
        heard = Hearing()
        history = train(run, Checkpoints(tmp_path / str(classes)), heard)
        head: Any = run.model.head
        return head.linear.bias.detach().round(), history, heard.overruled

    def test_one_class_for_all_is_surest_and_yet_not_kept(self, tmp_path: Path) -> None:
        bias, history, told = self.chosen([None, 1], tmp_path)
        assert history[1]["selection"] > history[0]["selection"]
        assert ["collapsed" in row for row in history] == [False, True]
        assert bias.abs().max() < 9
        assert len(told) == 1
        assert "`certain` was overruled: it prefers the model of epoch 2" in told[0]

    def test_one_class_at_first_gives_way(self, tmp_path: Path) -> None:
        bias, _, told = self.chosen([1, None], tmp_path)
        assert bias.abs().max() < 9
        assert "of an epoch before" in told[0]

    def test_among_collapsed_epochs_the_validator_chooses(self, tmp_path: Path) -> None:
        bias, _, told = self.chosen([2, 1], tmp_path)
        assert (bias.tolist(), told) == ([0, 9, 0], [])

    def test_a_validator_that_does_not_look_at_the_target_is_never_overruled(self, tmp_path: Path) -> None:
        _, history, told = self.chosen([None, 1], tmp_path, select="source_score")
        assert ["collapsed" in row for row in history] == [False, False]
        assert told == []

    def test_patience_waits_for_an_epoch_that_has_not_collapsed(self, tmp_path: Path) -> None:
        _, history, _ = self.chosen([None, 1, 1, None], tmp_path, patience=2)
        assert len(history) == 3

    @pytest.mark.parametrize("stop", [2, 3])
    def test_a_resumed_run_remembers_what_had_collapsed(self, stop: int, tmp_path: Path) -> None:
        class Ended(Exception):  # noqa: N818 - stands for a kill
            pass

        class Ending(Watch):
            def step(self, done: int) -> None:
                if done == stop:
                    raise Ended

        def run() -> Run:
            adapters = [{"use": "insisting", "classes": [1, None, 2]}]
            return composed({"select": "certain"}, adapters, epochs=3, steps_per_epoch=1, checkpoint_every=1)

        whole, stopped = run(), run()
        train(whole, Checkpoints(tmp_path / "whole"), Watch())
        with pytest.raises(Ended):
            train(stopped, Checkpoints(tmp_path / "stopped"), Ending())
        again = run()
        train(again, Checkpoints(tmp_path / "stopped"), Watch())
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, again.model.state_dict()[name]), name

    def test_the_effective_number_of_classes(self) -> None:
        assert breadth(torch.tensor([4, 4, 4])) == 1
        assert breadth(torch.tensor([0, 1, 2, 3])) == pytest.approx(4)
        assert breadth(torch.tensor([0] * 9 + [1])) == pytest.approx(0.9**-0.9 * 0.1**-0.1)

    @pytest.mark.parametrize(
        ("answers", "labels", "collapsed"),
        [
            ([50, 50], [50, 50], False),
            ([90, 10], [50, 50], False),  # a shift of labels, no collapse
            ([99, 1], [50, 50], True),
            ([99, 1], [98, 2], False),  # as the labels are
            ([100, 0], [98, 2], True),
            ([50, 50, *[0] * 8], [10] * 10, False),  # two of ten classes may be all there are
            ([95, 5, *[0] * 8], [10] * 10, True),
            ([50, 50, *[0] * 29], [3] * 31, True),
        ],
    )
    def test_what_counts_as_collapsed(self, answers: list[int], labels: list[int], collapsed: bool) -> None:
        answered = torch.arange(len(answers)).repeat_interleave(torch.tensor(answers))
        logits = torch.nn.functional.one_hot(answered, len(answers)).float()
        of_labels = breadth(torch.arange(len(labels)).repeat_interleave(torch.tensor(labels)))
        assert has_collapsed(logits, of_labels) is collapsed


class TestRefusals:
    """What cannot be chosen by is said."""

    def test_a_score_that_is_no_number(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="`broken` gave nan after epoch 1"):
            train(composed({"select": "broken"}), Checkpoints(tmp_path), Watch())

    @pytest.mark.parametrize("select", [name for name in VALIDATORS if CATALOG.find("validators", name).cls.one_class])
    def test_probabilities_of_classes_where_numbers_are_predicted(self, select: str, tmp_path: Path) -> None:
        file = tmp_path / "grades.csv"
        file.write_text("text,label\n" + "".join(f"ba do,{number / 7}\n" for number in range(40)))
        data = {"use": "csv", "path": str(file), "text": "text", "label": "label"}
        parts = {"backbone": "toy_text_net", "source": data, "target": data, "evaluate": [], "select": select}
        run = composed(parts)
        with pytest.raises(UserError, match=f"`{select}` needs the probabilities of an example's classes"):
            check(run, Watch())

    def test_too_few_labels_to_hold_any_out(self) -> None:
        target = {"use": "toy_stripes", "count": 3, "labels": "all"}
        with pytest.raises(DataError, match="none can be held out"):
            composed({"select": "target_score", "target": target}, batch=2)


class TestAuto:
    """`auto` takes the validator that suits what the run has."""

    @pytest.mark.parametrize(
        ("parts", "expected"),
        [
            ({}, Ensemble),
            ({"target": LABELLED}, TargetScore),
            ({"target": {**LABELLED, "count": 60}}, Ensemble),
            ({"target": {**LABELLED, "count": 60}, "source": []}, TargetScore),
            ({"target": []}, SourceScore),
        ],
        ids=str,
    )
    def test_what_it_takes(self, parts: dict[str, Any], expected: type[Validator]) -> None:
        adapters = [] if parts.get("target") == [] or parts.get("source") == [] else [{"use": "mmd"}]
        run, seen = evidence({"select": "auto", **parts}, adapters=adapters)
        assert run.validator is not None
        assert run.validator.score(run.task, seen) == expected().score(run.task, seen)
        assert ENOUGH == 20

    def test_the_baseline_is_selected_by_the_source_then(self) -> None:
        kept = baseline_manifest(composed({"select": "auto"}), "source_only")
        assert kept.select is not None
        assert kept.select.use == "auto"

    def test_the_baseline_goes_without_a_validator_of_the_target(self) -> None:
        kept = baseline_manifest(composed({"select": "ensemble"}, patience=3), "source_only")
        assert (kept.select, kept.train.patience) == (None, None)


def table(file: Path, sentences: ToySentences, noise: bool) -> str:
    """A file of sentences and labels; with `noise`, the labels have nothing to do with the sentences."""
    examples = sentences.open(None, labels=True)
    labels = torch.as_tensor(examples.labels)
    if noise:
        chances = torch.tensor([0.7, 0.2, 0.1])
        labels = chances.multinomial(len(labels), True, generator=torch.Generator().manual_seed(0))
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["text", "label"])
        writer.writerows(zip(examples.inputs, [CLASSES[label] for label in labels.tolist()], strict=True))
    return str(file)


@pytest.mark.parametrize("select", [name for name in VALIDATORS if name != "target_score"])
def test_noise_in_place_of_the_targets_labels_changes_neither_choice_nor_weights(select: str, tmp_path: Path) -> None:
    folders = []
    for noise in (False, True):
        file = table(tmp_path / f"{noise}.csv", ToySentences(40, accent=True, seed=1), noise)
        data = {"use": "csv", "path": file, "text": "text", "label": "label"}
        written = {**toy_manifest([{"use": "mmd"}], "text", epochs=4, lr=0.05), "select": select}
        written |= {"target": data, "evaluate": data}
        result = adapt(written, out=tmp_path / str(noise), catalog=CATALOG, baseline=False)
        folders.append(result)
    first, second = (
        [row["selection"] for row in load(each.folder, "cpu", CATALOG).record["history"]] for each in folders
    )
    assert first == second
    assert sha256(folders[0].folder / "model.safetensors") == sha256(folders[1].folder / "model.safetensors")
    assert folders[0].rows[0].score != folders[1].rows[0].score, "the noise is there"
