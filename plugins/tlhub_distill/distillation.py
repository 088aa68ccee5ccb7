"""Distillation of a teacher's answers."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import require_classes
from tlhub.measure import outputs
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.soft import columns, distillation_loss, soft_answers
from tlhub_distill.taught import On, Taught
from tlhub_distill.teacher import check_place, load_teacher


class Distillation(Taught):
    """Teaches the student the class probabilities of a teacher, or of several.

    Hinton et al. 2015, section 2: loss + strength * T^2 KL(p || q), where p and q are the teacher's and the student's
    softmax(z / T); of several teachers, p is the mean. The factor T^2 keeps the gradients' size when T changes. A
    teacher is any saved model that reads the same examples, whatever its network. What it says of every example is
    computed once, with its own preparation of inputs; its classes are matched by name, and classes that the run lacks
    are left out of its probabilities.

    Use it when a small network shall answer like a large one, and there are examples, labelled or not, to learn it on.
    Cost: next to nothing in a step; before training, one evaluation of every teacher on all examples.

    Deviation: the teacher sees examples without augmentation, the student with it (so this is not the consistent
    teaching of Beyer et al. 2022).
    Deviation: the task loss keeps the weight 1; the paper's weighted average a : 1 - a is `strength: a / (1 - a)`.

    Args:
        teacher: the folder of a saved model, such as `runs/photos`; an entry of the registry, such as `photos:3`; a
            model on the Hugging Face Hub, `hub:OWNER/NAME@COMMIT`; or a list of such places.
        on: the examples it is asked about: the `target`'s, the `source`'s, or `all`; labels are not needed.
        temperature: T; at 1 the probabilities are as they are, at higher ones the small ones count more. 4 is
            customary; the paper tried 1 to 20.
        strength: factor of the term in the loss.
    """

    name = "distillation"
    paper = "Hinton et al. 2015, Distilling the knowledge in a neural network, arXiv:1503.02531"
    additive = True

    def __init__(
        self,
        teacher: str | Annotated[list[str], Field(min_length=1)],
        on: On = "target",
        temperature: Annotated[float, Field(gt=0)] = 4.0,
        strength: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(on)
        self.teachers = [teacher] if isinstance(teacher, str) else list(teacher)
        for place in self.teachers:
            check_place(place)
        self.temperature, self.strength = temperature, strength

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`feature_distillation` or `relational_distillation`")
        told: dict[str, list[Tensor]] = {domain.key: [] for domain in self.domains(run)}
        for place in self.teachers:
            teacher = load_teacher(place, run, self)
            wanted = columns(teacher, run, self.name)
            for domain in self.domains(run):
                said = outputs(teacher.model, domain, run.device, run.workers)
                told[domain.key].append(said.logits[:, wanted])
        self.remember({key: soft_answers(logits, self.temperature) for key, logits in told.items()})

    def penalty(self, step: Step) -> Tensor:
        views = self.views(step)
        logits = torch.cat([view.logits for view in views])
        return self.strength * distillation_loss(logits, self.known(views), self.temperature)
