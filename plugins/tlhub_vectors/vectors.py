"""The backbone that is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from tlhub.backbone import Backbone
from tlhub.errors import DataError


@dataclass(frozen=True)
class ToTensor:
    """Numbers in any form to a tensor `[inputs]`. Raises DataError where there are more or fewer."""

    inputs: int
    random = False

    def __call__(self, raw: Any) -> Tensor:
        vector = torch.as_tensor(raw, dtype=torch.float32)
        if vector.shape != (self.inputs,):
            raise DataError(
                f"expected are vectors of {self.inputs} numbers, found {' x '.join(map(str, vector.shape)) or 'one'}",
                f"write the length of the vectors in the backbone: `{{use: vectors, inputs: {vector.numel()}}}`",
            )
        return vector


class Vectors(Backbone):
    """Hands vectors on as features, such as word counts or what another network computed.

    It has no parameters, so that it is frozen whatever the manifest says: the head learns, and a neck where there is
    one. Scale the vectors in the data: nothing is done to them here.

    Args:
        inputs: length of a vector.
    """

    name = "vectors"
    modality = "vector"

    def __init__(self, inputs: Annotated[int, Field(gt=0)]) -> None:
        super().__init__()
        self.width = inputs

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs

    def stages(self) -> Sequence[Sequence[str]]:
        return []

    def preprocess(self, train: bool) -> ToTensor:
        return ToTensor(self.width)
