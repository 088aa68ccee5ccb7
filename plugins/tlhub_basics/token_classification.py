"""One class for every word: named entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tlhub.data import NO_LABEL
from tlhub.errors import DataError
from tlhub.head import Head
from tlhub.task import Task
from tlhub_basics.forms import Form, require
from tlhub_basics.linear import LinearHead
from tlhub_basics.ratio import ratio_scores


class TokenClassification(Task):
    """One class for every word, by which entities are marked: cross-entropy, scored by the F1 of whole entities.

    The classes are the tags of the scheme IOB2: `B-` and the entity's type begin an entity, `I-` and its type go on
    with it, `O` is no entity. Whatever tags the data has, the head gets both for every type, in the order `O`, `B-a`,
    `I-a`, `B-b` … of the types' names, so that the number of a tag tells what it is.

    An entity is right where its type and both ends are (Tjong Kim Sang & De Meulder 2003); which tags make one is up to
    seqeval, whose default mode begins an entity at an `I-` that continues none. Words beyond what the model read of an
    example are answered `O`.
    """

    name = "token_classification"
    metric = "entity F1"
    per_word = True

    def targets(self, labels: Tensor, classes: tuple[str, ...] | None) -> tuple[Tensor, tuple[str, ...] | None]:
        require(Form.WORDS, labels, self.name)
        assert classes is not None, "labels of words have class names"
        for name in classes:
            if name != "O" and (name[:2] not in ("B-", "I-") or len(name) == 2):
                raise DataError(
                    f"the task `{self.name}` reads tags such as `B-PER`, `I-PER` and `O`; the label {name!r} is none",
                    "write the tags in the scheme IOB2, or rename them with `classes:`",
                )
        types = sorted({name[2:] for name in classes} - {""})
        tags = ("O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))
        numbers = torch.tensor([tags.index(name) for name in classes])
        return torch.where(labels == NO_LABEL, NO_LABEL, numbers[labels.clamp(min=0)]), tags

    def head(self, features: int, classes: Sequence[str] | None) -> Head:
        assert classes is not None
        return LinearHead(features, len(classes))

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Every word weighs alike: the mean over the rows is the mean over their words, of those the model read."""
        read = min(logits.shape[1], labels.shape[1])
        logits, labels = logits[:, :read], labels[:, :read]
        of_words = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=NO_LABEL, reduction="none")
        return of_words.sum(1) * len(labels) / (labels != NO_LABEL).sum().clamp(min=1)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """See `tlhub_basics.ratio`."""
        hits, said, there = _entity_counts(logits, labels)
        return ratio_scores(2 * hits, said + there)

    def metrics(self, logits: Tensor, labels: Tensor) -> dict[str, float]:
        """`precision`: the share of the entities said that are right; `recall`: of those there that were found; 0 where
        there is none. `word_accuracy`: the share of words whose tag is right.
        """
        hits, said, there = _entity_counts(logits, labels).sum(1).tolist()
        counted = labels != NO_LABEL
        return {
            "precision": hits / max(1, said),
            "recall": hits / max(1, there),
            "word_accuracy": float((_answers(logits, labels) == labels)[counted].double().mean()),
        }

    def answer(self, logits: Tensor, classes: Sequence[str] | None, inputs: Sequence[Any]) -> list[dict[str, object]]:
        """The entities and the tag of every word. `start` and `end` count words, as in `words[start:end]`; the
        probability of an entity is the mean of those of its words' tags. White space separates the words of a text.
        """
        from seqeval.metrics.sequence_labeling import get_entities

        assert classes is not None
        told: list[dict[str, object]] = []
        for row, raw in zip(logits.softmax(2), inputs, strict=True):
            words = raw.split() if isinstance(raw, str) else raw
            best = row[: len(words)].max(1)
            tags = [classes[number] for number in best.indices.tolist()] + ["O"] * (len(words) - len(best.values))
            entities = [
                {
                    "type": kind,
                    "text": " ".join(words[first : last + 1]),
                    "probability": round(float(best.values[first : last + 1].mean()), 6),
                    "start": first,
                    "end": last + 1,
                }
                for kind, first, last in get_entities(tags)
            ]
            told.append({"entities": entities, "tags": tags})
        return told


def _answers(logits: Tensor, labels: Tensor) -> Tensor:
    """`[rows, words]`: tag numbers for all words of `labels`; 0, which is `O`, for those the model did not read."""
    answers = logits[:, : labels.shape[1]].argmax(2)
    return F.pad(answers, (0, labels.shape[1] - answers.shape[1]))


def _entity_counts(logits: Tensor, labels: Tensor) -> Tensor:
    """`[3, rows]`: how many entities are both said and there, how many are said, and how many are there."""
    from seqeval.metrics.sequence_labeling import get_entities

    counts = []
    for answer, label in zip(_answers(logits, labels), labels, strict=True):
        counted = label != NO_LABEL
        said, there = (set(get_entities(_tags(numbers[counted]))) for numbers in (answer, label))
        counts.append([len(said & there), len(said), len(there)])
    return torch.tensor(counts).T


def _tags(numbers: Tensor) -> list[str]:
    """Tags that differ as those of these numbers do; types are called by their number."""
    return ["O" if number == 0 else f"{'IB'[number % 2]}-{(number - 1) // 2}" for number in numbers.tolist()]
