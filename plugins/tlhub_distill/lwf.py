"""Learning without forgetting."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.adapter import require_classes
from tlhub.errors import UserError
from tlhub.measure import outputs
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.old_model import go_on, reorder
from tlhub_distill.soft import columns, soft_answers
from tlhub_distill.taught import On, Taught
from tlhub_distill.teacher import check_place, load_teacher


def old_loss(logits: Tensor, told: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of answers with the old ones at a temperature (eq. 2 and 3), the mean over rows.

    `told` is what `soft_answers` gives of the old model at the same temperature.
    """
    return -(told.exp() * (logits / temperature).log_softmax(1)).sum(1).mean()


class LwF(Taught):
    """Goes on from an adapted model, and keeps what that one says of the new examples.

    Li & Hoiem 2016, Fig. 3: the network starts with the old model's weights, and learns task loss + strength * L_old,
    where L_old is the cross-entropy (T = 2) of the old classes' probabilities with those that the old model gave for
    the new examples, computed once. No old example is needed. Where the old classes are the run's, there is one head
    for both, the old model's: this is known as conservative training. Otherwise the old head goes on beside a fresh
    one, learns too, and is dropped at the end, so that what is kept is in the features.

    Use it when a model that works shall learn new data or new classes and must not lose what it can do.
    Cost: the old head in a step; before training, one evaluation of the old model on all new examples.

    Deviation: there is no first phase in which the fresh head learns alone.
    Deviation: weight decay is the run's, and the saved model answers the new classes alone.

    Args:
        teacher: the old model: the folder of a saved model, such as `runs/photos`; an entry of the registry, such as
            `photos:3`; or a model on the Hugging Face Hub, `hub:OWNER/NAME@COMMIT`. The manifest's backbone must be the
            one it was made with.
        on: the new examples: the `target`'s, the `source`'s, or `all`; labels are not needed.
        temperature: T; 2 as in the paper.
        strength: factor of L_old in the loss, lambda_o; 1 as in the paper.
    """

    name = "lwf"
    paper = "Li & Hoiem 2016, Learning without forgetting, arXiv:1606.09282"
    additive = True
    old_head: nn.Sequential | None

    def __init__(
        self,
        teacher: str,
        on: On = "all",
        temperature: Annotated[float, Field(gt=0)] = 2.0,
        strength: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__(on)
        check_place(teacher)
        self.teacher, self.temperature, self.strength = teacher, temperature, strength

    def modify(self, run: Run) -> None:
        require_classes(run, self.name, instead="`feature_distillation` or `relational_distillation`")
        old = load_teacher(self.teacher, run, self)
        if old.record["task"]["use"] != run.task.name:
            raise UserError(f"the model in {old.folder} answers `{old.record['task']['use']}`, not `{run.task.name}`")
        self.old_head = None
        if set(old.classes or ()) == set(run.classes or ()) and old.model.head.name == "linear":
            reorder(old, columns(old, run, self.name))
            run.model.neck, run.model.head = old.model.neck, old.model.head
        else:
            self.old_head = nn.Sequential(old.model.neck, old.model.head)
        said = {d.key: outputs(old.model, d, run.device, run.workers).logits for d in self.domains(run)}
        self.remember({key: soft_answers([logits], self.temperature) for key, logits in said.items()})
        old.model.cpu()  # as the run's, until all is composed
        go_on(run, old)

    def penalty(self, step: Step) -> Tensor:
        views = self.views(step)
        if self.old_head is None:
            logits = torch.cat([view.logits for view in views])
        else:
            logits = self.old_head(torch.cat([view.layer("backbone") for view in views]))
        return self.strength * old_loss(logits, self.known(views), self.temperature)
