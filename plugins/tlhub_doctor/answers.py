"""Answers against labels: how far they agree beyond chance, and whether another naming of the classes fits better."""

from __future__ import annotations

import torch
from torch import Tensor

from tlhub.validator import Outputs

FEWEST = 5
"""Of fewer examples of a class, nothing is said of it."""


def confusion(seen: Outputs) -> Tensor:
    """`[classes, classes]`: how many examples of a class (row) got which answer (column)."""
    assert seen.labels is not None
    classes = seen.logits.shape[1]
    return (seen.labels * classes + seen.logits.argmax(1)).bincount(minlength=classes**2).view(classes, classes)


def accuracy(seen: Outputs) -> float:
    """The share of the examples that are answered right."""
    assert seen.labels is not None
    return float((seen.logits.argmax(1) == seen.labels).double().mean())


def kappa(seen: Outputs) -> float:
    """Agreement of answers with labels beyond chance: 1 is perfect, 0 what answers have that know nothing.

    (p - e) / (1 - e), where p is the accuracy and e what answers and labels in the same shares, but independent, would
    have (Cohen 1960). A model that gives all examples one answer has 0, however many are of that class.
    """
    joint = confusion(seen).double() / len(seen.logits)
    chance = float((joint.sum(0) * joint.sum(1)).sum())
    return (float(joint.trace()) - chance) / (1 - chance) if chance < 1 else 0.0


def renamed(seen: Outputs) -> dict[int, int]:
    """By label, the answer that is given instead, of classes that have changed places.

    Of all one-to-one namings the one with the highest accuracy is taken (Kuhn 1955). Classes count as having changed
    places where in a whole cycle of it more than half of the examples of every class get the next one's answer, and
    fewer than half as many their own: a model that mistakes one class for another does not mistake the other for the
    first as often.
    """
    from scipy.optimize import linear_sum_assignment

    counts = confusion(seen)
    named = linear_sum_assignment(counts.numpy(), maximize=True)[1].tolist()
    theirs = counts[torch.arange(len(named)), torch.tensor(named)]
    taken = (2 * theirs > counts.sum(1)) & (theirs > 2 * counts.diagonal()) & (counts.sum(1) >= FEWEST)
    moved = {}
    for first in range(len(named)):
        cycle = [first]
        while named[cycle[-1]] != first:
            cycle.append(named[cycle[-1]])
        if bool(taken[cycle].all()):
            moved[first] = named[first]
    return moved
