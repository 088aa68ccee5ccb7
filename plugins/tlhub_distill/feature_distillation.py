"""Distillation of a teacher's features: hints."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from tlhub.measure import outputs
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.taught import On, Taught
from tlhub_distill.teacher import check_place, load_teacher


def hint_loss(guided: Tensor, hint: Tensor) -> Tensor:
    """Half the squared distance of rows `[rows, width]`, divided by the width; the mean over rows."""
    return F.mse_loss(guided, hint) / 2


class FeatureDistillation(Taught):
    """Teaches the student features from which a learned projection gives the teacher's.

    Romero et al. 2015, eq. 3: loss + strength * 1/2 ||r(v) - u||^2, where v and u are what the student's and the
    teacher's head read, and the regressor r, from the one width to the other, learns with the student. The teacher's
    features are computed once, with its own preparation of inputs; its classes need not be the run's.

    Use it when there are few examples, or the teacher's classes are others: features say more than class probabilities.
    Cost: the regressor's forward and backward pass; before training, one evaluation of the teacher on all examples.

    Deviation: the hint is the teacher's last features, pooled over places, and not maps of a layer in the middle, so
    that the regressor is one linear layer, and any two networks fit.
    Deviation: one training with the sum of the losses; the paper trains on the hint first, and then on the answers
    (list `distillation` beside it).
    Deviation: divided by the width of the features, so that `strength` means the same for all teachers.

    Args:
        teacher: the folder of a saved model, such as `runs/photos`; an entry of the registry, such as `photos:3`; or a
            model on the Hugging Face Hub, `hub:OWNER/NAME@COMMIT`.
        on: the examples whose features are learnt: the `target`'s, the `source`'s, or `all`; labels are not needed.
        strength: factor of the term in the loss.
    """

    name = "feature_distillation"
    paper = "Romero et al. 2015, FitNets: Hints for thin deep nets, arXiv:1412.6550"
    additive = True
    regressor: nn.Linear

    def __init__(self, teacher: str, on: On = "target", strength: Annotated[float, Field(gt=0)] = 1.0) -> None:
        super().__init__(on)
        check_place(teacher)
        self.teacher, self.strength = teacher, strength

    def prepare(self, run: Run) -> None:
        model = load_teacher(self.teacher, run, self).model
        self.remember({d.key: outputs(model, d, run.device, run.workers).features for d in self.domains(run)})
        self.regressor = nn.Linear(run.model.neck.width, self.table.shape[1])

    def penalty(self, step: Step) -> Tensor:
        views = self.views(step)
        guided: Tensor = self.regressor(torch.cat([view.features for view in views]))
        return self.strength * hint_loss(guided, self.known(views))
