"""Scores for choosing an epoch without target labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from torch import Tensor

from tlhub.adapter import Need
from tlhub.component import Component
from tlhub.data import Role
from tlhub.task import Task


@dataclass(frozen=True)
class Outputs:
    """What a model says of one domain's examples, all of them.

    Attributes:
        features: `[examples, width]`; logits: `[examples, outputs]`.
        labels: `[examples]` where the domain's labels are shown, else None.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Mixed:
    """What a model says of pairs of target examples mixed into one.

    Attributes:
        first, second: `[pairs]`, the positions of both in `Evidence.target`; an example is never mixed with itself.
        logits: `[pairs, outputs]`.
    """

    first: Tensor
    second: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Evidence:
    """What a validator may look at after an epoch. Each is computed when it is first asked for, and once.

    Args:
        look: the outputs on a part of the run's data, None where the run has no such part.
        mix: see `mixed`.
    """

    look: Callable[[Literal["source", "trained", "shown", "target"]], Outputs | None]
    mix: Callable[[float], Mixed]

    @cached_property
    def source(self) -> Outputs | None:
        """The part of the labelled sources held out from training; None without any."""
        return self.look("source")

    @cached_property
    def trained(self) -> Outputs | None:
        """The labelled source examples that training uses, as the model answers them in evaluation."""
        return self.look("trained")

    @cached_property
    def shown(self) -> Outputs | None:
        """The part of the target examples with shown labels that is held out from training; None without any."""
        return self.look("shown")

    @cached_property
    def target(self) -> Outputs | None:
        """The target examples that training sees, with labels where all are shown; None where nothing opened them.

        Whoever asks for it looks at the target, and is overruled where its answers have collapsed into few classes.
        """
        return self.look("target")

    def mixed(self, share: float) -> Mixed:
        """Every target example by this share mixed with a random other one.

        Preprocessed inputs are mixed. Where examples differ in length, what the backbone makes of them is.
        """
        return self.mix(share)


class Validator(Component, ABC):
    """A score of a model, the larger the better, from what training may see: never from a hidden label.

    Class attributes:
        needs: what the run must have; the source-only baseline goes without one that needs the target.
        holds_out: of which domains' labelled examples `train.validation` is held out from training for it.
        one_class: whether it is for tasks where an example is of exactly one class; refused before training otherwise.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    holds_out: ClassVar[frozenset[Role]] = frozenset({"source"})
    one_class: ClassVar[bool] = False

    @abstractmethod
    def score(self, task: Task, seen: Evidence) -> float:
        """The score of the model as it is now: finite, and the same whenever the model is."""
