"""A tiny image world in which any adapter can be tried in a second: striped images, whose target is brighter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlhub.backbone import Backbone, Preprocess
from tlhub.catalog import Catalog
from tlhub.data import Dataset, Examples
from tlhub.hookspecs import hookimpl

SIDE = 8
CLASSES = ("flat", "left", "right")


class ToyPreprocess:
    """Image to tensor; with `noise`, an augmentation that draws from torch's and NumPy's generators."""

    def __init__(self, noise: bool) -> None:
        self.random = noise

    def __call__(self, raw: Any) -> Tensor:
        image = torch.from_numpy(np.asarray(raw, dtype=np.uint8).copy()).permute(2, 0, 1)
        if self.random:
            image = image ^ torch.randint(0, 8, image.shape, dtype=torch.uint8) ^ np.random.randint(0, 8)
        return image

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToyPreprocess) and self.random == other.random

    def __hash__(self) -> int:
        return hash((ToyPreprocess, self.random))


class ToyNet(Backbone):
    """Two small convolutions with batch normalisation and dropout.

    Args:
        width: width of the features.
        augment: whether training images are disturbed at random.
    """

    name = "toy_net"
    modality = "image"

    def __init__(self, width: int = 8, augment: bool = True) -> None:
        super().__init__()
        self.width = width
        self.augment = augment
        self.conv1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.conv2 = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(0.1)

    def forward(self, inputs: Any) -> Tensor:
        features: Tensor = self.dropout(self.conv2(self.conv1(inputs.float() / 255 - 0.5)).mean((2, 3)))
        return features

    def stages(self) -> Sequence[Sequence[str]]:
        names = [name for name, _ in self.named_parameters()]
        return [[name for name in names if name.startswith(stage)] for stage in ("conv1", "conv2")]

    def preprocess(self, train: bool) -> Preprocess:
        return ToyPreprocess(noise=train and self.augment)


class ToyStripes(Dataset):
    """Images with a stripe on the left, on the right, or none.

    Args:
        count: how many.
        brightness: added to every pixel: the shift between domains.
        seed: other seeds give other images.
    """

    name = "toy_stripes"
    modality = "image"

    def __init__(self, count: int = 48, brightness: int = 0, seed: int = 0) -> None:
        self.count, self.brightness, self.seed = count, brightness, seed

    def splits(self) -> Sequence[str]:
        return ()

    def class_names(self) -> tuple[str, ...] | None:
        return CLASSES

    def open(self, split: str | None, labels: bool) -> Examples:
        from PIL import Image

        generator = np.random.default_rng(self.seed)
        numbers = np.arange(self.count) % len(CLASSES)
        pixels = generator.integers(0, 60, (self.count, SIDE, SIDE, 3)) + self.brightness
        pixels[numbers == 1, :, : SIDE // 2] += 100
        pixels[numbers == 2, :, SIDE // 2 :] += 100
        return Examples(
            inputs=[Image.fromarray(image) for image in pixels.clip(0, 255).astype(np.uint8)],
            labels=numbers.tolist() if labels else None,
            classes=CLASSES if labels else None,
            fingerprint=f"toy-{self.count}-{self.brightness}-{self.seed}",
            where="stripe image {}".format,
        )


class Toys:
    """A plugin that offers the toy backbone and data set."""

    @hookimpl
    def tlhub_backbones(self) -> list[type[Backbone]]:
        return [ToyNet]

    @hookimpl
    def tlhub_datasets(self) -> list[type[Dataset]]:
        return [ToyStripes]


class _Offer:
    """A plugin of single components, for trying one that is not installed."""

    def __init__(self, **components: list[type]) -> None:
        self.components = components

    @hookimpl
    def tlhub_backbones(self) -> list[type]:
        return self.components.get("backbones", [])

    @hookimpl
    def tlhub_adapters(self) -> list[type]:
        return self.components.get("adapters", [])

    @hookimpl
    def tlhub_datasets(self) -> list[type]:
        return self.components.get("datasets", [])

    @hookimpl
    def tlhub_tasks(self) -> list[type]:
        return self.components.get("tasks", [])

    @hookimpl
    def tlhub_heads(self) -> list[type]:
        return self.components.get("heads", [])

    @hookimpl
    def tlhub_validators(self) -> list[type]:
        return self.components.get("validators", [])


def toy_catalog(**components: list[type]) -> Catalog:
    """Everything that is installed, the toys, and further components by kind, such as `adapters=[Mine]`."""
    catalog = Catalog.installed()
    catalog.add("toys", Toys())
    extra = {
        kind: [cls for cls in classes if all(entry.cls is not cls for entry in catalog.entries())]
        for kind, classes in components.items()
    }
    catalog.add("tried", _Offer(**extra))
    return catalog


def toy_manifest(adapters: Sequence[Mapping[str, Any]] = (), **train: Any) -> dict[str, Any]:
    """A manifest on the toys; `train` overrides settings of training."""
    return {
        "backbone": {"use": "toy_net"},
        "source": {"use": "toy_stripes"},
        "target": {"use": "toy_stripes", "brightness": 60, "seed": 1, "count": 40},
        "evaluate": {"use": "toy_stripes", "brightness": 60, "seed": 2},
        "adapters": [dict(adapter) for adapter in adapters],
        "train": {"epochs": 2, "steps_per_epoch": 3, "batch": 8, "lr": 0.01, "workers": 0, **train},
    }
