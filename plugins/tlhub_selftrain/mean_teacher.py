"""Mean teacher."""

from __future__ import annotations

import copy
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.errors import UserError
from tlhub.model import Model, memory_order
from tlhub.run import Run
from tlhub.step import Step
from tlhub.train import half_precision
from tlhub_selftrain.average import follow
from tlhub_selftrain.fields import Positive, Share
from tlhub_selftrain.look import look
from tlhub_selftrain.ramp import sigmoid_shaped
from tlhub_selftrain.suited import require_disturbable
from tlhub_selftrain.thinned import thinned
from tlhub_selftrain.warp import nudged


def consistency(logits: Tensor, told: Tensor) -> Tensor:
    """The mean over rows of the squared distance between two predictions' probabilities."""
    return (logits.softmax(1) - told.softmax(1)).square().sum(1).mean()


class MeanTeacher(Adapter):
    """Holds the model to what the mean of its own weights over past steps says of the target.

    Tarvainen & Valpola 2017, section 2: the teacher's weights are theta' = a theta' + (1 - a) theta, an exponential
    moving average of the student's, with a = min(1 - 1 / (t + 1), decay) in step t, so that it forgets the first
    weights soon. The student learns loss + w(p) * the mean squared distance between both class probabilities of target
    examples (eq. 1), which the two see differently: the teacher sees images moved a little and texts without some of
    their tokens, the student has dropout. w grows as exp(-5 (1 - x)^2).

    Use it when training is long enough for an average over many steps, and a steady teacher is wanted.
    Cost: a forward pass of the teacher over the target's rows, and a second copy of the model.

    Deviation: the teacher is in evaluation mode: it has no dropout, and its batch normalisation uses running
    statistics, which are averaged as weights are; the paper's teacher is disturbed as the student is.
    Deviation: only target examples are compared, not those of the source; gradients reach the student alone.
    Deviation: the paper raises the decay from 0.99 to 0.999 after the ramp, in runs of 150,000 steps and more, and
    gives w ten times the weight that is the default here, which in a short run would keep the student where it was.

    Args:
        decay: how much of the teacher stays in a step.
        strength: the largest w. 10 is the paper's for ten classes, whose 100 multiplies a mean over classes.
        ramp: the share of training in which w grows.
        token_dropout: for texts: the share of tokens that the teacher does not see.
        answer: whose weights are saved: the `teacher`'s, as in the paper, or the `student`'s. A run that selects an
            epoch selects one of the student.
    """

    name = "mean_teacher"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    modalities = frozenset({"image", "text"})
    paper = "Tarvainen & Valpola 2017, Mean teachers are better role models, arXiv:1703.01780"
    needs_inputs = True
    teacher: Model  # it moves in every call, so that the term is not `additive`

    def __init__(
        self,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
        strength: Positive = 1.0,
        ramp: Share = 0.25,
        token_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1,
        answer: Literal["teacher", "student"] = "teacher",
    ) -> None:
        super().__init__()
        self.decay, self.strength, self.ramp = decay, strength, ramp
        self.token_dropout, self.answer = token_dropout, answer

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name)
        require_disturbable(run, self.name)
        if run.validator is not None and self.answer == "teacher":
            raise UserError(
                "`select` chooses an epoch of the student, and `mean_teacher` would save the last teacher instead",
                "write `answer: student` under `mean_teacher`, or remove `select`",
            )
        self.teacher = copy.deepcopy(run.model).requires_grad_(False).eval()  # what is frozen stays so
        self.teacher.to(memory_format=memory_order(run.device))
        self.teacher.taps = []
        self.bf16 = half_precision(run)

    def penalty(self, step: Step) -> Tensor:
        follow(self.teacher, step.model, min(1 - 1 / (step.number + 1), self.decay))
        inputs, logits = step.target.inputs, step.target.logits
        moved = nudged(inputs) if isinstance(inputs, Tensor) else thinned(inputs, self.token_dropout)
        with torch.no_grad():
            told = look(self.teacher, moved, logits.device, self.bf16)
        return self.strength * sigmoid_shaped(step.progress, self.ramp) * consistency(logits, told)

    def end_round(self, run: Run) -> None:
        if self.answer == "teacher":  # now, since others may change the structure of the model in `finish`
            run.model.load_state_dict(self.teacher.state_dict())
