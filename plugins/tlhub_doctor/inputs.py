"""Inputs that reach the network far from the scale it expects."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.case import Case
from tlhub.data import Role
from tlhub.measure import outputs
from tlhub.symptom import Finding, Symptom
from tlhub_doctor.sample import sample

LARGE = 20.0
"""Root mean square of what the first layer is given. First layers are initialised for about 1; images in 0 ... 255 that
nobody normalised have 100 and more, normalised ones at most 3, standardised columns 1."""

APART = 5.0
"""How many times larger one domain's may be: images in 0 ... 1 beside images in 0 ... 255 differ 255 times, the darkest
and the brightest of sound domains twice."""


class Inputs(Symptom):
    """Inputs that are not normalised, or otherwise in one domain than in the other.

    Measured is the root mean square of what the network's first layer with weights is given, after all preprocessing.
    """

    name = "inputs"
    paper = "LeCun et al. 1998, doi:10.1007/3-540-49430-8_2"

    def examine(self, case: Case) -> Finding | None:
        roles: tuple[Role, ...] = ("source", "target", "evaluate")
        sizes = {role: size for role in roles if (size := _size(case, role)) is not None}
        if not sizes:
            return None
        listed = ", ".join(f"{size:.3g} of `{role}`" for role, size in sizes.items())
        measured = f"The root mean square of what the first layer is given is {listed}."
        least, most = min(sizes.values()), max(sizes.values())
        mend = (
            "Normalise the inputs to a mean of about 0 and a standard deviation of about 1, alike in all domains: with "
            "the backbone's `mean` and `std`, or in the data."
        )
        if most > APART * least:
            return self.fault(measured, "The domains are scaled differently: one of them is not normalised.", mend)
        if not most < LARGE:
            return self.fault(measured, "The inputs are not normalised: first layers expect about 1.", mend)
        return self.fine(measured, "The inputs are normalised.")


def _size(case: Case, role: Role) -> float | None:
    """The root mean square for a role; None where it has no examples, or the network looks numbers up, as for words."""
    model, first = case.after.model, None
    squares: list[Tensor] = []

    def look(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal first
        first = module if first is None else first
        if module is first and inputs[0].is_floating_point():
            squares.append(inputs[0].double().square().flatten(1).mean(1).cpu())

    weighted = [module for module in model.modules() if getattr(getattr(module, "weight", None), "ndim", 0) > 1]
    hooks = [module.register_forward_pre_hook(look) for module in weighted]
    try:
        for domain in sample(case, role):
            outputs(model, domain, case.after.device, 0)
    finally:
        for hook in hooks:
            hook.remove()
    return math.sqrt(float(torch.cat(squares).mean())) if squares else None
