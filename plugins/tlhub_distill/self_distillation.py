"""Born-again training: a student that learns from itself."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.soft import distillation_loss, soft_answers
from tlhub_distill.taught import On, Taught


class SelfDistillation(Taught):
    """Trains the model anew, several times, each time also with what the model before said of the examples.

    Furlanello et al. 2018, eq. 2: generation k starts where the first one started, and learns task loss + strength *
    T^2 KL(p || q), where p are the probabilities that generation k - 1 gave at its end, computed once for every
    example. The last generation is what is saved.

    Use it when no better model is there to teach: what a network says of all classes teaches more than
    labels alone.
    Cost: as many trainings as there are generations; next to nothing in a step.

    Deviation: a generation starts from the same weights as the first, pretrained ones and the same head, and sees the
    same batches; the paper starts each from other random weights.
    Deviation: the paper's T is 1, which is the default; its ensembles of generations are not formed.
    Deviation: the model before sees examples without augmentation.

    Args:
        generations: how often the model is trained, the first time without teacher.
        on: the examples it learns from itself on: the `target`'s, the `source`'s, or `all`; labels are not needed.
        temperature: T; at higher ones small probabilities count more.
        strength: factor of the term in the loss; 1 as in the paper.
    """

    name = "self_distillation"
    paper = "Furlanello et al. 2018, Born-again neural networks, arXiv:1805.04770"
    additive = True

    def __init__(
        self,
        generations: Annotated[int, Field(ge=2)] = 2,
        on: On = "all",
        temperature: Annotated[float, Field(gt=0)] = 1.0,
        strength: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(on)
        self.rounds, self.temperature, self.strength = generations, temperature, strength

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name, instead="`feature_distillation` or `relational_distillation`")
        self.taught = False
        outputs = len(run.classes or ())
        self.remember({d.key: torch.zeros(len(d), outputs) for d in self.domains(run)}, persistent=True)
        for number, value in enumerate(run.model.state_dict().values()):
            self.register_buffer(f"start_{number}", value.clone())

    def start_round(self, run: Run) -> None:
        self.taught = run.round > 0
        state = run.model.state_dict()
        for number, value in enumerate(state.values()):
            start = self.get_buffer(f"start_{number}")
            pair = (value, start) if self.taught else (start, value)
            pair[0].copy_(pair[1])  # what `state_dict` gives is the model's own memory

    def penalty(self, step: Step) -> Tensor | None:
        if not self.taught:
            return None
        views = self.views(step)
        logits = torch.cat([view.logits for view in views])
        return self.strength * distillation_loss(logits, self.known(views), self.temperature)

    def end_round(self, run: Run) -> None:
        said = [run.outputs(domain).logits for domain in self.domains(run)]
        self.table.copy_(torch.cat([soft_answers([logits], self.temperature) for logits in said]))
