"""What the small digit networks have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.backbone import Backbone
from tlhub.errors import SettingError
from tlhub.weights import read_weights
from tlhub_digitnets.preprocess import DigitPreprocess

Size = Annotated[int, Field(ge=16, le=512)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Shift = Annotated[int, Field(ge=0, le=8)]


class DigitNet(Backbone):
    """Blocks of layers, one after the other, on small square images.

    Images are brought to [-1, 1], or, where `standardise` is set, each to mean 0 and standard deviation 1.
    """

    modality = "image"

    def __init__(
        self,
        blocks: Mapping[str, nn.Sequential],
        width: int,
        grey: bool,
        size: int,
        standardise: bool,
        shift: int,
        weights: str | None,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for name, block in blocks.items():
            self.blocks.add_module(name, block)
        self.width = width
        self.standardise = standardise
        self._preprocess = {train: DigitPreprocess(size, grey, shift if train else 0) for train in (False, True)}
        if weights is not None:
            load_weights(self, weights)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features `[examples, width]` of images `[examples, channels, size, size]` in 0 ... 255."""
        images = (inputs.to(next(self.parameters()).dtype) - 127.5) / 127.5
        if self.standardise:
            deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
            images = (images - mean) / (deviation + 1e-5)
        features: Tensor = self.blocks(images)
        return features

    def stages(self) -> Sequence[Sequence[str]]:
        stages = [
            [f"blocks.{name}.{parameter}" for parameter, _ in block.named_parameters()]
            for name, block in self.blocks.named_children()
        ]
        return [stage for stage in stages if stage]

    def preprocess(self, train: bool) -> DigitPreprocess:
        return self._preprocess[train]

    def rebuild(self) -> Mapping[str, Any]:
        return {**self.settings, "weights": None}


def block(layer: nn.Module, channels: int, batch_norm: bool, dropout: float = 0.0, pool: bool = False) -> nn.Sequential:
    """A convolution or a linear layer, then batch norm, dropout, pooling, and what cuts off below zero."""
    flat = isinstance(layer, nn.Linear)
    layers = [layer]
    if batch_norm:
        layers.append(nn.BatchNorm1d(channels) if flat else nn.BatchNorm2d(channels))
    if dropout and not flat:
        layers.append(nn.Dropout2d(dropout))
    if pool:
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.ReLU())
    if dropout and flat:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def load_weights(backbone: Backbone, path: str) -> None:
    """Fill a backbone from a safetensors file of exactly its tensors. Raises SettingError where it does not fit."""
    try:
        backbone.load_state_dict(read_weights(path))
    except RuntimeError as error:
        problem = "; ".join(line.strip() for line in str(error).splitlines()[1:4])
        hint = "was it saved from the same network with the same settings?"
        raise SettingError("weights", f"`{path}` does not fit `{backbone.name}`: {problem}", hint) from error
