"""A plugin small enough to train in a moment: a network with batch normalisation, and two domains of stripes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tlhub_alignment
import tlhub_basics
import tlhub_finetune
from tlhub.backbone import Backbone, Preprocess
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints
from tlhub.data import Dataset, Examples
from tlhub.hookspecs import hookimpl
from tlhub.manifest import from_dict
from tlhub.run import Run, open_data
from tlhub.train import train
from tlhub.watch import Watch


class AsTensor:
    random = False

    def __call__(self, raw: Any) -> Tensor:
        return torch.as_tensor(raw)


class TinyNet(Backbone):
    """Two convolutions with batch normalisation, and a linear layer: three stages."""

    name = "tinynet"
    modality = "image"

    def __init__(self) -> None:
        super().__init__()
        self.width = 6
        self.conv1, self.bn1 = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.fc = nn.Linear(5, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        inner = self.bn1(self.conv1(inputs)).relu()
        inner = self.bn2(self.conv2(inner)).relu()
        features: Tensor = self.fc(inner.mean((2, 3)))
        return features

    def stages(self) -> Sequence[Sequence[str]]:
        blocks = [["conv1.weight", "bn1.weight", "bn1.bias"], ["conv2.weight", "bn2.weight", "bn2.bias"]]
        return [*blocks, ["fc.weight", "fc.bias"]]

    def preprocess(self, train: bool) -> Preprocess:
        return AsTensor()


class Stripes(Dataset):
    """Horizontal and vertical stripes in noise.

    Args:
        count: how many.
        offset: brightness added to every image, which tells domains apart.
    """

    name = "stripes"
    modality = "image"

    def __init__(self, count: int = 48, offset: float = 0.0) -> None:
        self.count, self.offset = count, offset

    def splits(self) -> Sequence[str]:
        return []

    def open(self, split: str | None, labels: bool) -> Examples:
        random = np.random.default_rng(self.count)
        inputs = random.normal(self.offset, 0.5, (self.count, 1, 6, 6)).astype(np.float32)
        numbers = [row % 2 for row in range(self.count)]
        for image, number in zip(inputs[:, 0], numbers, strict=True):
            image[::2] += number
            image[:, ::2] += 1 - number
        names = ("vertical", "horizontal")
        fingerprint = f"stripes-{self.count}-{self.offset}"
        return Examples(
            inputs,
            numbers if labels else None,
            names if labels else None,
            fingerprint,
            "image {}".format,  # type: ignore[arg-type]
        )


@hookimpl
def tlhub_backbones() -> list[type]:
    return [TinyNet]


@hookimpl
def tlhub_datasets() -> list[type]:
    return [Stripes]


def make_run(*adapters: dict[str, Any], **settings: Any) -> Run:
    """A run of these adapters on the two domains of stripes, ready to be trained."""
    plugins = {"basics": tlhub_basics, "finetune": tlhub_finetune, "alignment": tlhub_alignment}
    catalog = Catalog({"tiny": sys.modules[__name__], **plugins})
    assert not catalog.broken, catalog.broken
    content = {
        "backbone": {"use": "tinynet"},
        "source": {"use": "stripes"},
        "target": {"use": "stripes", "count": 40, "offset": 0.7},
        "adapters": list(adapters),
        "train": {"epochs": 2, "steps_per_epoch": 3, "batch": 16, "precision": "fp32", "workers": 0, **settings},
    }
    manifest = from_dict(content, catalog=catalog)
    return Run(manifest, catalog, open_data(manifest, catalog), torch.device("cpu"))


def train_run(run: Run, folder: Path) -> list[dict[str, Any]]:
    """Train to the end; the history."""
    return train(run, Checkpoints(folder), Watch())


def state(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}
