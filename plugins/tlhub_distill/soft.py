"""Answers as probabilities at a temperature: how several are averaged, and how a student learns them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tlhub.artifact import Adapted
from tlhub.errors import UserError
from tlhub.run import Run


def soft_answers(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """`[rows, classes]`: the logarithm of the mean, over models, of the probabilities softmax(z / T)."""
    each = torch.stack([(z / temperature).log_softmax(1) for z in logits])
    return each.logsumexp(0) - math.log(len(each))


def distillation_loss(logits: Tensor, told: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student), the mean over rows; `told` is what `soft_answers` gives at the same temperature."""
    said = (logits / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(said, told, reduction="batchmean", log_target=True)


def columns(teacher: Adapted, run: Run, name: str) -> list[int]:
    """Where among the teacher's logits those of the run's classes are, matched by name.

    Raises UserError where the teacher answers something else, or lacks a class.
    """
    asked = teacher.record["task"]["use"]
    if asked != run.task.name:
        raise UserError(f"the teacher in {teacher.folder} answers `{asked}`; `{name}` has to do with `{run.task.name}`")
    theirs, ours = teacher.classes or (), run.classes or ()
    lacking = [label for label in ours if label not in theirs]
    if lacking:
        raise UserError(
            f"the teacher in {teacher.folder} does not know all classes of the run; it lacks {', '.join(lacking)}\n"
            f"  the teacher: {', '.join(theirs)}\n  the run: {', '.join(ours)}",
            "name the classes of the data as the teacher's with `classes:`, or name another teacher",
        )
    return [theirs.index(label) for label in ours]
