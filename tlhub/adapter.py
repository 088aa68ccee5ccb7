"""One method of transfer."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from tlhub.component import Component
from tlhub.data import one_class_each
from tlhub.errors import UserError

if TYPE_CHECKING:
    from tlhub.lineage import Origin
    from tlhub.model import Model
    from tlhub.run import Run
    from tlhub.step import Step, View


class Need(enum.StrEnum):
    """What a run must have for an adapter to work."""

    SOURCE = "a labelled source"
    TARGET = "target examples"
    TARGET_LABELS = "target labels"


def looks_at_target(needs: frozenset[Need]) -> bool:
    """Whether what has these needs sees the target: the source-only baseline goes without it."""
    return bool(needs & {Need.TARGET, Need.TARGET_LABELS})


def require_classes(run: Run, name: str, instead: str = "") -> None:
    """Raise UserError where an example is not of exactly one class: the adapter `name` needs class probabilities.

    Args:
        instead: adapters that do without, for the hint.
    """
    labels = [domain.labels for domain in run.domains if domain.labels is not None]
    if run.classes is None or not all(map(one_class_each, labels)):
        others = f", or name {instead}" if instead else ""
        raise UserError(
            f"`{name}` needs the probabilities of an example's classes, which `{run.task.name}` has not",
            f"use it where every example is of one class{others}",
        )


class Adapter(Component, nn.Module):
    """One transfer method: it changes the model, weighs examples, or adds a term to the loss.

        modify -> prepare -> check -> ( pretrain x steps ) x pretrain_epochs
        -> ( start_round -> [ start_epoch -> (weights + penalty) x steps ] x epochs -> end_round ) x rounds -> finish

    Adapters compose by one rule: the loss is the mean over labelled examples of (product of the weights x task
    loss), plus the sum of the penalties. One optimizer trains whatever requires a gradient: the model, and the
    modules an adapter assigns to itself, which are dropped at the end. What an adapter remembers between its
    moments lives in its buffers and submodules, so that a checkpoint is a state dict and a killed run resumes in
    the middle of a round.

    Class attributes:
        needs: what the run must have; adapters that need the target are left out of the source-only baseline.
        modalities: the modalities it makes sense for, or None for all.
        paper: the publication, for `tlhub describe`.
        additive: whether its penalty over a batch is the mean of its penalties over equal parts of the batch. MMD's
            is not: gradients are accumulated over parts of a batch only where every adapter's is.
        needs_inputs: whether it reads `view.inputs`; features of a frozen backbone are then not stored instead.

    Attributes:
        rounds: how often the model is trained; boosting trains it once for every learner.
        pretrain_epochs: for how many epochs the model is trained by `pretrain` alone before all else.
    """

    needs: ClassVar[frozenset[Need]] = frozenset()
    modalities: ClassVar[frozenset[str] | None] = None
    paper: ClassVar[str] = ""
    additive: bool = False
    needs_inputs: ClassVar[bool] = False
    rounds: int = 1
    pretrain_epochs: int = 0

    def modify(self, run: Run) -> None:
        """Change the model's structure: neck, head, layers. All adapters do this before any is prepared."""

    def prepare(self, run: Run) -> None:
        """Freeze parts of the model, or build helper networks for its widths, before the optimizer exists."""

    def check(self, run: Run) -> None:
        """Raise UserError where this method makes no sense in the run, now that all adapters are prepared.

        Nothing has been trained yet, the baseline neither.
        """

    def pretrain(self, step: Step) -> Tensor:
        """The loss of a step before training proper, from target examples without labels.

        Each view has `inputs` of the target; features and logits are not computed, and are empty.
        """
        raise NotImplementedError

    def start_round(self, run: Run) -> None:
        """A round begins: with a fresh learner, say."""

    def start_epoch(self, run: Run) -> None:
        """An epoch begins (`run.epoch`); not called again when a run resumes in the middle of one."""

    def weights(self, view: View) -> Tensor | None:
        """`[rows]`: how much each labelled example of this view counts; None where this adapter has no say."""
        return None

    def penalty(self, step: Step) -> Tensor | None:
        """A scalar to add to the loss, or None."""
        return None

    def end_round(self, run: Run) -> None:
        """A round ended: look at the learner, keep it, weigh the examples anew."""

    def finish(self, run: Run) -> None:
        """Training ended: leave the model as it should be saved."""

    def origins(self) -> Sequence[Origin]:
        """The models it learned from, such as teachers, pinned; asked for when training has ended."""
        return ()

    def export(self, run: Run, folder: Path) -> str | None:
        """Write the model to `folder` in a form of this adapter's own and name the form; None where the backbone may.

        `load_exported` is the inverse.
        """
        return None

    def load_exported(self, model: Model, folder: Path) -> None:
        """Fill `model` from what `export` wrote; its backbone is as the run's was before any adapter, weights too."""
        raise NotImplementedError
