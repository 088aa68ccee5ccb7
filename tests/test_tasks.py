"""Tasks: their losses, scores and metrics are those of the libraries people compare with, and intervals cover."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from seqeval.metrics import accuracy_score, f1_score as entity_f1, precision_score, recall_score
from sklearn import metrics as sk
from torch import Tensor, nn

from tlhub.data import NO_LABEL
from tlhub.errors import DataError
from tlhub.measure import compare, interval
from tlhub.task import Task
from tlhub.validator import Outputs
from tlhub_basics.classification import Classification
from tlhub_basics.multilabel import MultiLabel
from tlhub_basics.regression import Regression
from tlhub_basics.token_classification import TokenClassification

TAGS = ("O", "B-LOC", "I-LOC", "B-PER", "I-PER")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tagged(seed: int, rows: int = 60, longest: int = 12) -> tuple[Tensor, Tensor]:
    """Logits and labels of sentences of different lengths; about half of the words are answered right."""
    g = generator(seed)
    labels = torch.randint(0, len(TAGS), (rows, longest), generator=g)
    logits = torch.randn(rows, longest, len(TAGS), generator=g) + 1.5 * nn.functional.one_hot(labels, len(TAGS))
    beyond = torch.arange(longest) >= torch.randint(1, longest + 1, (rows, 1), generator=g)
    return logits.masked_fill(beyond[..., None], 0), labels.masked_fill(beyond, NO_LABEL)


def names(numbers: Tensor, labels: Tensor) -> list[list[str]]:
    """Tags of all words that have a label."""
    return [[TAGS[n] for n in row[own != NO_LABEL].tolist()] for row, own in zip(numbers, labels, strict=True)]


class TestMultiLabel:
    task = MultiLabel()

    def drawn(self, seed: int, rows: int = 80, classes: int = 5) -> tuple[Tensor, Tensor]:
        g = generator(seed)
        labels = (torch.rand(rows, classes, generator=g) < 0.3).float()
        return torch.randn(rows, classes, generator=g) + 2 * labels - 1, labels

    @pytest.mark.parametrize("seed", range(5))
    def test_its_numbers_are_sklearns(self, seed: int) -> None:
        logits, labels = self.drawn(seed)
        said = (logits.sigmoid() >= 0.5).numpy()
        assert float(self.task.score(logits, labels).mean()) == pytest.approx(
            sk.f1_score(labels, said, average="micro"), abs=1e-12
        )
        found = self.task.metrics(logits, labels)
        assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, said, average="macro"), abs=1e-12)
        assert found["exact_match"] == pytest.approx(sk.accuracy_score(labels, said), abs=1e-12)
        losses = [sk.log_loss(labels[:, c], logits[:, c].double().sigmoid()) for c in range(labels.shape[1])]
        assert float(self.task.loss(logits, labels).mean()) == pytest.approx(np.mean(losses), rel=1e-6)

    def test_a_class_that_never_occurs_is_no_part_of_macro_f1(self) -> None:
        logits, labels = self.drawn(0)
        labels[:, 2] = 0
        there = [0, 1, 3, 4]
        expected = sk.f1_score(labels, logits >= 0, average="macro", labels=there)
        assert self.task.metrics(logits, labels)["macro_f1"] == pytest.approx(expected, abs=1e-12)

    def test_where_nothing_is_said_and_nothing_there_the_score_is_0_as_sklearns(self) -> None:
        logits, labels = -torch.ones(4, 3), torch.zeros(4, 3)
        assert self.task.score(logits, labels).tolist() == [0, 0, 0, 0]
        assert self.task.metrics(logits, labels) == {"exact_match": 1.0}

    def test_an_answer_names_the_likely_labels_and_every_probability(self) -> None:
        logits = torch.tensor([[0.0, -1.0, 3.0], [-2.0, -2.0, -2.0]])
        first, second = self.task.answer(logits, ("rude", "funny", "long"), ["a", "b"])
        assert first["labels"] == ["rude", "long"]
        assert first["probabilities"] == pytest.approx({"rude": 0.5, "funny": 0.268941, "long": 0.952574})
        assert second["labels"] == []


class TestRegression:
    task = Regression()

    def drawn(self, seed: int, rows: int = 50) -> tuple[Tensor, Tensor]:
        g = generator(seed)
        labels = 3 + 2 * torch.randn(rows, generator=g)
        return (labels + torch.randn(rows, generator=g))[:, None], labels

    @pytest.mark.parametrize("seed", range(5))
    def test_its_numbers_are_sklearns_and_scipys(self, seed: int) -> None:
        logits, labels = self.drawn(seed)
        said = logits[:, 0]
        assert float(self.task.score(logits, labels).mean()) == pytest.approx(sk.r2_score(labels, said), abs=1e-6)
        assert float(self.task.loss(logits, labels).mean()) == pytest.approx(sk.mean_squared_error(labels, said))
        expected = {
            "mae": sk.mean_absolute_error(labels, said),
            "rmse": sk.root_mean_squared_error(labels, said),
            "pearson": pearsonr(labels, said).statistic,
        }
        assert self.task.metrics(logits, labels) == pytest.approx(expected, rel=1e-5)

    def test_labels_that_are_all_alike_have_no_variance_to_explain(self) -> None:
        logits, labels = torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 2.0])
        assert self.task.score(logits, labels).tolist() == [0, 0]
        assert self.task.metrics(logits, labels) == {"mae": 1.0, "rmse": 1.0}

    def test_class_names_that_are_numbers_become_the_labels(self) -> None:
        labels, classes = self.task.targets(torch.tensor([2, 0, 1, 0]), ("1", "2.5", "-3e1"))
        assert labels.tolist() == [-30, 1, 2.5, 1]
        assert classes is None

    @pytest.mark.parametrize("name", ["good", "nan", "", "1,5"])
    def test_a_class_name_that_is_no_number_is_named(self, name: str) -> None:
        with pytest.raises(DataError, match="learns numbers") as error:
            self.task.targets(torch.tensor([0, 1]), ("1", name))
        assert repr(name) in error.value.message

    def test_an_answer_is_a_number(self) -> None:
        assert self.task.answer(torch.tensor([[2.5], [-1.0]]), None, ["a", "b"]) == [{"value": 2.5}, {"value": -1.0}]


class TestTokenClassification:
    task = TokenClassification()

    @pytest.mark.parametrize("seed", range(5))
    def test_its_numbers_are_seqevals(self, seed: int) -> None:
        logits, labels = tagged(seed)
        said, there = names(logits.argmax(2), labels), names(labels, labels)
        assert float(self.task.score(logits, labels).mean()) == pytest.approx(entity_f1(there, said), abs=1e-12)
        expected = {
            "precision": precision_score(there, said),
            "recall": recall_score(there, said),
            "word_accuracy": accuracy_score(there, said),
        }
        assert self.task.metrics(logits, labels) == pytest.approx(expected, abs=1e-12)

    def test_an_entity_must_be_found_whole(self) -> None:
        labels = torch.tensor([[0, 3, 4, 4, 0]])  # one person of three words
        almost = nn.functional.one_hot(torch.tensor([[0, 3, 4, 0, 0]]), 5).float()
        assert self.task.score(almost, labels).tolist() == [0]
        whole = nn.functional.one_hot(labels, 5).float()
        assert self.task.score(whole, labels).tolist() == [1]

    def test_without_any_entity_the_score_is_0_as_seqevals(self) -> None:
        logits, labels = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.long)
        assert self.task.score(logits, labels).tolist() == [0, 0]
        assert self.task.metrics(logits, labels) == {"precision": 0, "recall": 0, "word_accuracy": 1}

    def test_words_that_were_cut_off_count_as_no_entity(self) -> None:
        logits, labels = tagged(0)
        cut = 7
        said = logits.argmax(2)
        said[:, cut:] = 0
        expected = entity_f1(names(labels, labels), names(said, labels))
        assert float(self.task.score(logits[:, :cut], labels).mean()) == pytest.approx(expected, abs=1e-12)
        there = names(labels, labels)
        assert self.task.metrics(logits[:, :cut], labels)["word_accuracy"] == pytest.approx(
            accuracy_score(there, names(said, labels))
        )

    def test_padding_beyond_the_labels_changes_nothing(self) -> None:
        logits, labels = tagged(0)
        wider = nn.functional.pad(logits, (0, 0, 0, 4))
        assert torch.equal(self.task.score(wider, labels), self.task.score(logits, labels))
        assert torch.equal(self.task.loss(wider, labels), self.task.loss(logits, labels))

    def test_every_word_of_a_batch_costs_alike(self) -> None:
        logits, labels = tagged(1)
        expected = nn.CrossEntropyLoss()(logits[labels != NO_LABEL], labels[labels != NO_LABEL])
        assert float(self.task.loss(logits, labels).mean()) == pytest.approx(float(expected), rel=1e-6)

    def test_of_a_text_that_was_cut_the_words_that_were_read_cost(self) -> None:
        logits, labels = tagged(1)
        read = labels[:, :7] != NO_LABEL
        expected = nn.CrossEntropyLoss()(logits[:, :7][read], labels[:, :7][read])
        assert float(self.task.loss(logits[:, :7], labels).mean()) == pytest.approx(float(expected), rel=1e-6)

    def test_a_batch_without_a_labelled_word_costs_nothing(self) -> None:
        logits = torch.randn(2, 3, 5, requires_grad=True)
        self.task.loss(logits, torch.full((2, 3), NO_LABEL)).mean().backward()
        assert logits.grad is not None
        assert not logits.grad.any()

    def test_tags_are_put_in_the_order_of_their_types_and_completed(self) -> None:
        labels = torch.tensor([[0, 2, 1], [3, NO_LABEL, NO_LABEL]])
        told, classes = self.task.targets(labels, ("O", "I-PER", "B-creative-work", "B-PER"))
        assert classes == ("O", "B-PER", "I-PER", "B-creative-work", "I-creative-work")
        assert told.tolist() == [[0, 3, 2], [1, NO_LABEL, NO_LABEL]]
        again, same = self.task.targets(told, classes)
        assert torch.equal(again, told)
        assert same == classes

    @pytest.mark.parametrize("name", ["PER", "S-PER", "B-", "B", "NN", "o"])
    def test_a_label_that_is_no_tag_is_named(self, name: str) -> None:
        with pytest.raises(DataError, match="is none") as error:
            self.task.targets(torch.tensor([[0, 1]]), ("O", name))
        assert repr(name) in error.value.message

    def test_an_answer_gives_entities_with_their_places(self) -> None:
        numbers = torch.tensor([[3, 4, 0, 1], [2, 0, 0, 0]])
        logits = 9 * nn.functional.one_hot(numbers, 5).float()
        words = ["Rosa", "Parks", "left", "Montgomery", "early"]  # the last was cut off
        first, second = self.task.answer(logits, TAGS, [words, "Oslo sleeps"])
        assert first["tags"] == ["B-PER", "I-PER", "O", "B-LOC", "O"]
        sure = pytest.approx(float(logits[0, 0].softmax(0).max()), abs=1e-6)
        assert first["entities"] == [
            {"type": "PER", "text": "Rosa Parks", "probability": sure, "start": 0, "end": 2},
            {"type": "LOC", "text": "Montgomery", "probability": sure, "start": 3, "end": 4},
        ]
        assert second["tags"] == ["I-LOC", "O"]
        assert [entity["text"] for entity in second["entities"]] == ["Oslo"]  # type: ignore[attr-defined]


ONE_CLASS = torch.tensor([0, 1])
SEVERAL = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
OF_WORDS = torch.tensor([[0, 1], [1, NO_LABEL]])
NUMBERS = torch.tensor([0.5, 1.5])


@pytest.mark.parametrize(
    ("task", "labels", "found"),
    [
        (Classification(), NUMBERS, "a number for each example"),
        (Classification(), OF_WORDS, "one class for each word"),
        (MultiLabel(), ONE_CLASS, "one class for each example"),
        (Regression(), SEVERAL, "any number of classes for each example"),
        (TokenClassification(), ONE_CLASS, "one class for each example"),
    ],
)
def test_labels_of_another_form_are_refused(task: Task, labels: Tensor, found: str) -> None:
    with pytest.raises(DataError, match=f"`{task.name}` learns from .*, and the labels are {found}") as error:
        task.targets(labels, ("O", "B-PER"))
    assert "remove `task`" in str(error.value.hint)


class TestIntervals:
    """They hold for scores that are no plain means, as for draws from one large population."""

    POPULATION, DRAWN, DRAWS = 20_000, 150, 400

    def multilabel(self) -> tuple[Task, Tensor, Tensor]:
        g = generator(3)
        there = torch.rand(self.POPULATION, 1, generator=g)  # some examples have many labels, some few
        labels = (torch.rand(self.POPULATION, 6, generator=g) < there).float()
        return MultiLabel(), torch.randn(self.POPULATION, 6, generator=g) + 2 * labels - 1, labels

    def regression(self) -> tuple[Task, Tensor, Tensor]:
        g = generator(4)
        labels = torch.randn(self.POPULATION, generator=g)
        return Regression(), (labels + 0.7 * torch.randn(self.POPULATION, generator=g))[:, None], labels

    def tokens(self) -> tuple[Task, Tensor, Tensor]:
        return TokenClassification(), *tagged(5, rows=4_000)

    @pytest.mark.parametrize("population", [multilabel, regression, tokens])
    def test_95_of_100_cover_the_populations_score(
        self, population: Callable[[Any], tuple[Task, Tensor, Tensor]]
    ) -> None:
        task, logits, labels = population(self)
        truth = float(task.score(logits, labels).mean())
        covered = 0
        for draw in range(self.DRAWS):
            rows = torch.randint(0, len(labels), (self.DRAWN,), generator=generator(draw))
            found = interval(task.score(logits[rows], labels[rows]))
            covered += found.low <= truth <= found.high
        assert covered / self.DRAWS == pytest.approx(0.95, abs=0.035)

    def test_a_paired_comparison_is_of_the_ratios_themselves(self) -> None:
        task, logits, labels = self.multilabel()
        logits, labels = logits[:500], labels[:500]
        better = logits + 0.5 * (2 * labels - 1)
        features = torch.zeros(len(labels), 1)
        found = compare(task, Outputs(features, logits, labels), Outputs(features, better, labels))
        before, after = (sk.f1_score(labels, said >= 0, average="micro") for said in (logits, better))
        assert found.difference == pytest.approx(after - before, abs=1e-12)
        assert found.outcome == "helped"
