"""Distillation of the relations between examples: RKD."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.errors import SettingError, UserError
from tlhub.measure import outputs
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.relations import angle_loss, distance_loss, distances
from tlhub_distill.taught import On, Taught
from tlhub_distill.teacher import check_place, load_teacher


class RelationalDistillation(Taught):
    """Teaches the student features between which distances and angles are as between the teacher's.

    Park et al. 2019, eq. 11: loss + distance * RKD-D + angle * RKD-A over the pairs and triples of a batch's examples,
    of what the student's and the teacher's head read. Widths may differ, and nothing else is learnt. The teacher's
    features are computed once, with its own preparation of inputs; its classes need not be the run's.

    Use it when what is near to what matters, as for search, or where `feature_distillation` asks too much.
    Cost: all distances of a batch and, for the angles, a few values for each triple: memory O(batch^3), which is 130 MB
    a tensor at 320 rows; before training, one evaluation of the teacher on all examples.

    Deviation: means over pairs and triples instead of sums, as in the authors' code, which also counts those of a row
    with itself.

    Args:
        teacher: the folder of a saved model, such as `runs/photos`; an entry of the registry, such as `photos:3`; or a
            model on the Hugging Face Hub, `hub:OWNER/NAME@COMMIT`.
        on: the examples whose relations are learnt: the `target`'s, the `source`'s, or `all`; labels are not needed.
        distance: factor of RKD-D in the loss; 25 as in the paper for classification. 0 leaves it out.
        angle: factor of RKD-A in the loss; 50 as in the paper for classification. 0 leaves it out.
    """

    name = "relational_distillation"
    paper = "Park et al. 2019, Relational knowledge distillation, arXiv:1904.05068"

    def __init__(
        self,
        teacher: str,
        on: On = "target",
        distance: Annotated[float, Field(ge=0)] = 25.0,
        angle: Annotated[float, Field(ge=0)] = 50.0,
    ) -> None:
        super().__init__(on)
        check_place(teacher)
        if not distance and not angle:
            raise SettingError("angle", "`distance` and `angle` are both 0: nothing is learnt", "raise one of them")
        self.teacher, self.distance, self.angle = teacher, distance, angle

    def prepare(self, run: Run) -> None:
        rows, needed = run.train.batch * len(self.domains(run)), 3 if self.angle else 2
        if rows < needed:
            raise UserError(f"`{self.name}` compares {needed} examples, and a batch has {rows}", "raise `batch`")
        model = load_teacher(self.teacher, run, self).model
        self.remember({d.key: outputs(model, d, run.device, run.workers).features for d in self.domains(run)})

    def penalty(self, step: Step) -> Tensor:
        views = self.views(step)
        ours, theirs = distances(torch.cat([view.features for view in views])), distances(self.known(views))
        loss = ours.new_zeros(())
        if self.distance:
            loss = loss + self.distance * distance_loss(ours, theirs)
        if self.angle:
            loss = loss + self.angle * angle_loss(ours, theirs)
        return loss
