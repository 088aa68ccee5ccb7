"""Tasks that answer every word, labels of every form, and training before training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.adapter import Adapter, Need
from tlhub.artifact import load
from tlhub.checkpoint import Checkpoints
from tlhub.data import NO_LABEL, Dataset, Examples, open_domain
from tlhub.errors import DataError, UserError
from tlhub.parts import DomainPart
from tlhub.run import Run, open_data
from tlhub.step import Step
from tlhub.testing import AdapterContract, toy_catalog, toy_manifest
from tlhub.testing.toys import ToySentences, ToyTextNet
from tlhub.train import train
from tlhub.watch import Watch


class WordNet(ToyTextNet):
    """The text toy, which gives features for every word when it is told to.

    Args:
        words: whether it does.
    """

    name = "word_net"
    word_settings: ClassVar[dict[str, Any]] = {"words": True}

    def __init__(self, words: bool = False) -> None:
        super().__init__()
        self.words = words

    def forward(self, inputs: Any) -> Tensor:
        if not self.words:
            return super().forward(inputs)
        numbers = inputs["tokens"][..., 0]
        features: Tensor = self.layer2(self.layer1(self.embedding(numbers))) * (numbers > 0)[..., None]
        return features


class Tagged(Dataset):
    """Sentences whose every word is tagged by its first letter.

    Args:
        cut: how many words of a sentence are tagged at most; the others have no label.
        numbers: whether labels are numbers instead, one for a sentence: its share of words with `a`.
        kinds: whether labels are the kinds of words instead that a sentence has.
    """

    name = "tagged"
    modality = "text"
    classes = ("O", "B-g", "B-k")

    def __init__(self, cut: int = 99, numbers: bool = False, kinds: bool = False) -> None:
        self.cut, self.numbers, self.kinds = cut, numbers, kinds

    def splits(self) -> Sequence[str]:
        return ()

    def open(self, split: str | None, labels: bool) -> Examples:
        sentences = [text.split() for text in ToySentences(40).open(None, False).inputs]
        tags = [[{"g": 1, "k": 2}.get(word[0], 0) for word in words][: self.cut] for words in sentences]
        found = torch.full((len(tags), max(map(len, tags))), NO_LABEL)
        for row, numbers in zip(found, tags, strict=True):
            row[: len(numbers)] = torch.tensor(numbers)
        task = "token_classification"
        classes: tuple[str, ...] | None = self.classes
        if self.kinds:
            task, found = "multilabel", torch.stack([(found == number).any(1).float() for number in range(3)], 1)
        if self.numbers:
            task, classes = "regression", None
            found = torch.tensor([sum(word[1] == "a" for word in words) / len(words) for words in sentences])
        inputs = [" ".join(words) for words in sentences]
        return Examples(inputs, found if labels else None, classes if labels else None, "tagged", str, task)


class Warming(Adapter):
    """Trains the first layer before all else, to give equal outputs.

    Args:
        epochs: how long.
    """

    name = "warming"
    needs = frozenset({Need.TARGET})
    seen: ClassVar[list[Step]] = []

    def __init__(self, epochs: int = 2) -> None:
        super().__init__()
        self.pretrain_epochs = epochs
        self.helper = nn.Linear(8, 1)

    def pretrain(self, step: Step) -> Tensor:
        self.seen.append(step)
        features = step.model.backbone(step.target.inputs)
        loss: Tensor = (self.helper(features) - 1).square().mean()
        return loss


CATALOG = toy_catalog(backbones=[WordNet], datasets=[Tagged], adapters=[Warming])


def on_words(*adapters: Any, **part: Any) -> dict[str, Any]:
    written = toy_manifest(adapters, "text", epochs=40, lr=0.1, optimizer="adamw")
    data = {"use": "tagged", **part}
    return {**written, "backbone": "word_net", "source": data, "target": {**data, "labels": "none"}, "evaluate": data}


class TestWords:
    def test_a_task_of_words_trains_adapts_and_loads(self, tmp_path: Path) -> None:
        result = adapt(on_words({"use": "mmd", "strength": 0.1}), out=tmp_path / "out", catalog=CATALOG)
        assert result.metric == "entity F1"
        assert result.rows[1].score.value > 0.9
        loaded = load(tmp_path / "out", "cpu", CATALOG)
        logits = loaded.logits(["ga do", "ba ke mo"])
        assert logits.shape == (2, 3, 5), "words, and O, B and I of two types"
        assert logits[0, 2].eq(0).all(), "there is no third word"
        entities = loaded.predict(["ba ke mo"])[0]["entities"]
        assert [(found["type"], found["text"]) for found in entities] == [("k", "ke")]  # type: ignore[attr-defined]

    def test_words_without_a_label_do_not_count(self) -> None:
        domain = open_domain(Tagged(cut=2), DomainPart(use="tagged"), "source", "source")
        assert domain.labels is not None
        assert domain.labels.shape == (40, 2)

    def test_classes_of_words_are_matched_by_name(self) -> None:
        part = DomainPart(use="tagged", classes={"B-k": "B-g", "B-g": None})
        domain = open_domain(Tagged(), part, "source", "source")
        plain = open_domain(Tagged(), DomainPart(use="tagged"), "source", "source")
        assert domain.classes == ("O", "B-g")
        assert domain.labels is not None
        assert plain.labels is not None
        assert torch.equal(domain.labels == 1, plain.labels == 2)
        assert torch.equal(domain.labels == NO_LABEL, (plain.labels == 1) | (plain.labels == NO_LABEL))

    def test_a_backbone_that_sees_no_words_is_refused(self) -> None:
        written = {**on_words(), "backbone": "toy_text_net"}
        loaded = manifests.from_dict(written, catalog=CATALOG)
        with pytest.raises(UserError, match=r"answers every word, and the backbone `toy_text_net`(.|\n)*`word_net`"):
            Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))


class TestOtherLabels:
    def test_numbers_are_predicted(self, tmp_path: Path) -> None:
        result = adapt(on_words({"use": "mmd", "strength": 0.1}, numbers=True), out=tmp_path / "out", catalog=CATALOG)
        assert result.metric == "R2"
        assert isinstance(load(tmp_path / "out", "cpu", CATALOG).predict(["ba ba"])[0]["value"], float)

    def test_several_classes_at_once_are_told(self, tmp_path: Path) -> None:
        result = adapt(on_words({"use": "mmd", "strength": 0.1}, kinds=True), out=tmp_path / "out", catalog=CATALOG)
        assert result.metric == "micro F1"
        assert result.rows[1].score.value > 0.9

    def test_columns_of_classes_are_matched_by_name(self) -> None:
        part = DomainPart(use="tagged", classes={"B-k": "B-g"})
        merged = open_domain(Tagged(kinds=True), part, "source", "source")
        plain = open_domain(Tagged(kinds=True), DomainPart(use="tagged"), "source", "source")
        assert merged.labels is not None
        assert plain.labels is not None
        assert torch.equal(merged.labels[:, 1], plain.labels[:, 1:].amax(1))
        turned = plain.matched(("B-k", "B-g", "O")).labels
        assert turned is not None
        assert torch.equal(turned, plain.labels.flip(1))

    def test_numbers_have_no_classes_to_map(self) -> None:
        with pytest.raises(DataError, match="its labels are numbers"):
            open_domain(Tagged(numbers=True), DomainPart(use="tagged", classes={"a": "b"}), "source", "source")


class TestWarming(AdapterContract):
    component = Warming
    modality = "text"


class TestPretraining:
    @pytest.fixture(autouse=True)
    def _forget(self) -> None:
        Warming.seen.clear()

    def trained(self, folder: Path, **settings: Any) -> tuple[Run, list[dict[str, Any]]]:
        written = toy_manifest([{"use": "warming"}], "text", **settings)
        loaded = manifests.from_dict(written, catalog=CATALOG)
        run = Run(loaded, CATALOG, open_data(loaded, CATALOG), torch.device("cpu"))
        return run, train(run, Checkpoints(folder), Watch())

    def test_it_comes_first_and_sees_the_target_alone(self, tmp_path: Path) -> None:
        run, history = self.trained(tmp_path)
        assert [(row["round"], row["epoch"]) for row in history] == [(-1, 0), (-1, 1), (0, 0), (0, 1)]
        assert len(Warming.seen) == 2 * (40 // 8)
        assert {view.role for step in Warming.seen for view in step.views} == {"target"}
        assert [step.progress for step in Warming.seen] == [number / 10 for number in range(10)]
        assert run.steps == 10 + 6
        assert history[1]["loss"]["warming"] < history[0]["loss"]["warming"]
        assert (history[0]["loss"]["task"], history[2]["loss"]["warming"]) == (0, 0)

    def test_the_baseline_does_without(self, tmp_path: Path) -> None:
        adapt(toy_manifest([{"use": "warming"}], "text"), out=tmp_path / "out", catalog=CATALOG)
        assert len(Warming.seen) == 10
