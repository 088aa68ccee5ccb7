"""Two tiny worlds in which any adapter can be tried in a second: striped images, and sentences of made-up words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tlhub.backbone import Backbone, Preprocess
from tlhub.catalog import Catalog
from tlhub.data import Dataset, Examples
from tlhub.hookspecs import hookimpl

SIDE = 8
CLASSES = ("flat", "left", "right")
WORDS = tuple(first + second for first in "bdgklm" for second in ("a", "e", "o"))


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
        self.layer1 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
        self.layer2 = nn.Sequential(nn.Conv2d(4, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.dropout = nn.Dropout(0.1)

    def forward(self, inputs: Any) -> Tensor:
        features: Tensor = self.dropout(self.layer2(self.layer1(inputs.float() / 255 - 0.5)).mean((2, 3)))
        return features

    def stages(self) -> Sequence[Sequence[str]]:
        names = [name for name, _ in self.named_parameters()]
        return [[name for name in names if name.startswith(stage)] for stage in ("layer1", "layer2")]

    def preprocess(self, train: bool) -> Preprocess:
        return ToyPreprocess(noise=train and self.augment)


class ToyWordIds:
    """Text to the numbers of its words, `[tokens, 1]`."""

    random = False

    def __call__(self, raw: Any) -> Tensor:
        return torch.tensor([[WORDS.index(word) + 1] for word in raw.split()])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ToyWordIds)

    def __hash__(self) -> int:
        return hash(ToyWordIds)


class ToyTextNet(Backbone):
    """Two small layers over embedded words, and their mean, with dropout; its layers are named as the image toy's.

    Args:
        width: width of the features.
    """

    name = "toy_text_net"
    modality = "text"
    ragged = True

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(len(WORDS) + 1, 6)
        self.layer1 = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Linear(6, width), nn.ReLU())
        self.dropout = nn.Dropout(0.1)

    def forward(self, inputs: Any) -> Tensor:
        words = inputs["tokens"][..., 0]
        there = (words > 0)[..., None]
        inner = self.layer2(self.layer1(self.embedding(words))) * there
        features: Tensor = self.dropout(inner.sum(1) / there.sum(1))
        return features

    def stages(self) -> Sequence[Sequence[str]]:
        names = [name for name, _ in self.named_parameters()]
        return [[name for name in names if name.startswith(stage)] for stage in ("embedding", "layer1", "layer2")]

    def preprocess(self, train: bool) -> Preprocess:
        return ToyWordIds()


@cache
def _sentences(count: int, accent: bool, seed: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Sentences and the numbers of their classes; made once, for they are opened again and again."""
    generator = np.random.default_rng(seed)
    each = len(WORDS) // len(CLASSES)
    numbers = np.arange(count) % len(CLASSES)
    chances = np.where(np.arange(each) < each // 2, 1, 3) if accent else np.where(np.arange(each) < 2, 3, 1)
    sentences = []
    for number in numbers:
        length = int(generator.integers(3, 10))
        picked = generator.choice(each, length, p=chances / chances.sum()) + number * each
        picked[: length // 3] = generator.integers(0, len(WORDS), length // 3)
        sentences.append(" ".join(WORDS[word] for word in generator.permutation(picked)))
    return tuple(sentences), tuple(numbers.tolist())


@cache
def _stripes(count: int, brightness: int, seed: int) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Images and the numbers of their classes; made once, for they are opened again and again."""
    from PIL import Image

    generator = np.random.default_rng(seed)
    numbers = np.arange(count) % len(CLASSES)
    pixels = generator.integers(0, 60, (count, SIDE, SIDE, 3)) + brightness
    pixels[numbers == 1, :, : SIDE // 2] += 100
    pixels[numbers == 2, :, SIDE // 2 :] += 100
    images = [Image.fromarray(image) for image in pixels.clip(0, 255).astype(np.uint8)]
    return tuple(images), tuple(numbers.tolist())


class ToySentences(Dataset):
    """Sentences of three to nine made-up words, whose class is that of most of them.

    Args:
        count: how many.
        accent: whether one half of a class's words is used more, or the other: the shift between domains.
        seed: other seeds give other sentences.
    """

    name = "toy_sentences"
    modality = "text"

    def __init__(self, count: int = 48, accent: bool = False, seed: int = 0) -> None:
        self.count, self.accent, self.seed = count, accent, seed

    def splits(self) -> Sequence[str]:
        return ()

    def class_names(self) -> tuple[str, ...] | None:
        return CLASSES

    def open(self, split: str | None, labels: bool) -> Examples:
        sentences, numbers = _sentences(self.count, self.accent, self.seed)
        return Examples(
            inputs=list(sentences),
            labels=list(numbers) if labels else None,
            classes=CLASSES if labels else None,
            fingerprint=f"toy-{self.count}-{self.accent}-{self.seed}",
            where="sentence {}".format,
        )


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
        images, numbers = _stripes(self.count, self.brightness, self.seed)
        return Examples(
            inputs=list(images),
            labels=list(numbers) if labels else None,
            classes=CLASSES if labels else None,
            fingerprint=f"toy-{self.count}-{self.brightness}-{self.seed}",
            where="stripe image {}".format,
        )


class Toys:
    """A plugin that offers the toy backbones and data sets."""

    @hookimpl
    def tlhub_backbones(self) -> list[type[Backbone]]:
        return [ToyNet, ToyTextNet]

    @hookimpl
    def tlhub_datasets(self) -> list[type[Dataset]]:
        return [ToyStripes, ToySentences]


def _offering(classes: list[type]) -> Callable[[], list[type]]:
    @hookimpl
    def offered() -> list[type]:
        return classes

    return offered


def toy_catalog(**components: list[type]) -> Catalog:
    """Everything that is installed, the toys, and further components by kind, such as `adapters=[Mine]`."""
    catalog = Catalog.installed()
    catalog.add("toys", Toys())
    extra = {
        kind: [cls for cls in classes if all(entry.cls is not cls for entry in catalog.entries())]
        for kind, classes in components.items()
    }
    hooks = {f"tlhub_{kind}": _offering(classes) for kind, classes in extra.items() if classes}
    if hooks:
        catalog.add("tried", SimpleNamespace(**hooks))
    return catalog


def toy_manifest(
    adapters: Sequence[Mapping[str, Any]] = (), modality: Literal["image", "text"] = "image", **train: Any
) -> dict[str, Any]:
    """A manifest on the toys; `train` overrides settings of training."""
    backbone, source, shift = ("toy_net", "toy_stripes", {"brightness": 60})
    if modality == "text":
        backbone, source, shift = ("toy_text_net", "toy_sentences", {"accent": True})
    return {
        "backbone": {"use": backbone},
        "source": {"use": source},
        "target": {"use": source, **shift, "seed": 1, "count": 40},
        "evaluate": {"use": source, **shift, "seed": 2},
        "adapters": [dict(adapter) for adapter in adapters],
        "train": {"epochs": 2, "steps_per_epoch": 3, "batch": 8, "lr": 0.01, "workers": 0, **train},
    }
