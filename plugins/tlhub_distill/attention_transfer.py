"""Distillation of where a network looks."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tlhub.errors import SettingError, UserError
from tlhub.measure import to_device
from tlhub.run import Run
from tlhub.step import Step
from tlhub_distill.maps import compare_sizes, tap_maps
from tlhub_distill.taught import On, Taught
from tlhub_distill.teacher import check_place, load_teacher


def attention(maps: Tensor) -> Tensor:
    """`[rows, places]`: the sum over channels of squared activations `[rows, channels, height, width]`, of length 1."""
    return F.normalize(maps.square().sum(1).flatten(1))


def attention_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """How the attention in two layers' maps differs, squared; the mean over rows and places."""
    return (attention(student) - attention(teacher)).square().mean()


class AttentionTransfer(Taught):
    """Teaches the student to look where the teacher looks, by the maps of some layers.

    Zagoruyko & Komodakis 2017, eq. 2, activation-based: loss + strength / 2 * sum over layers of ||Q_s/||Q_s|| -
    Q_t/||Q_t||||^2, the mean over rows and places, where Q is the sum over channels of the squared activations. The
    teacher sees the very images the student sees, augmented alike, so both must prepare images alike.

    Use it when teacher and student are convolutional networks with stages of the same sizes, such as two widths of one.
    Cost: a forward pass of the teacher in every step.

    Deviation: the distance is squared, as in the authors' code; eq. 2 has no square, and no gradient where both agree.

    Args:
        teacher: the folder of a saved model, such as `runs/photos`; an entry of the registry, such as `photos:3`; or a
            model on the Hugging Face Hub, `hub:OWNER/NAME@COMMIT`.
        layers: modules of the student's backbone whose maps are compared, such as the stages `net.blocks.2` and
            `net.blocks.5`.
        teacher_layers: the teacher's modules they are compared with, in order; those of the same names by default.
        on: the images they are compared on: the `target`'s, the `source`'s, or `all`; labels are not needed.
        strength: beta, two times the factor of the term in the loss; 1000 as in the paper.
    """

    name = "attention_transfer"
    modalities: ClassVar[frozenset[str] | None] = frozenset({"image"})
    needs_inputs = True
    paper = "Zagoruyko & Komodakis 2017, Paying more attention to attention, arXiv:1612.03928"
    additive = True

    def __init__(
        self,
        teacher: str,
        layers: Annotated[list[str], Field(min_length=1)],
        teacher_layers: list[str] | None = None,
        on: On = "target",
        strength: Annotated[float, Field(gt=0)] = 1000.0,
    ) -> None:
        super().__init__(on)
        check_place(teacher)
        self.place, self.layers, self.strength = teacher, list(layers), strength
        self.teacher_layers = list(layers if teacher_layers is None else teacher_layers)
        if len(self.layers) != len(self.teacher_layers):
            message = f"there are {len(self.teacher_layers)} `teacher_layers` for {len(self.layers)} `layers`"
            raise SettingError("teacher_layers", message, "name one for each of `layers`")

    def prepare(self, run: Run) -> None:
        self.domains(run)
        self.teacher = load_teacher(self.place, run, self)  # no module of this one: it never trains
        ours, theirs = run.model.backbone, self.teacher.model.backbone
        preprocess = ours.preprocess(train=False)
        if preprocess != theirs.preprocess(train=False):
            raise UserError(
                f"`{self.name}` shows teacher and student the same images, but they prepare them differently:\n"
                f"  the teacher: {theirs.preprocess(train=False)}\n  the student: {preprocess}",
                "set the backbone's input size and cropping as the teacher's, or use `distillation`",
            )
        example = ours.collate([preprocess(run.domains[0].raw(0))])
        student = tap_maps(run.model, self.layers, example)  # which is not on the device yet
        teacher = tap_maps(self.teacher.model, self.teacher_layers, to_device(example, run.device))
        compare_sizes(zip(self.layers, self.teacher_layers, strict=True), student, teacher)

    def penalty(self, step: Step) -> Tensor:
        views = self.views(step)
        with torch.no_grad():
            seen = self.teacher.model.see(torch.cat([view.inputs for view in views]))
        terms = []
        for ours, theirs in zip(self.layers, self.teacher_layers, strict=True):
            maps = torch.cat([view.map(ours) for view in views])
            terms.append(attention_loss(maps, seen.map(theirs).float()))
        return self.strength / 2 * torch.stack(terms).sum()
