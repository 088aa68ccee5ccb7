"""Small real worlds for the doctor: digits on black and digits on photographs, trained in seconds and examined."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from scipy.io import loadmat

import tlhub
from tlhub import artifact
from tlhub.case import Case, baseline_of
from tlhub.catalog import Catalog
from tlhub.data import Dataset, Examples
from tlhub.doctor import examine
from tlhub.hookspecs import hookimpl
from tlhub.symptom import Finding
from tlhub.watch import Watch
from tlhub_data.digits import Digits, DigitsPhoto

Manifest = dict[str, Any]


def digits_manifest(
    *adapters: Mapping[str, Any],
    backbone: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    target: Mapping[str, Any] | None = None,
    evaluate: Mapping[str, Any] | None = None,
    **train: Any,
) -> Manifest:
    """Digits to digits on photographs with a small LeNet; every argument overrides settings of its part.

    Without adapters there is no target: a run of the source alone.
    """
    manifest: Manifest = {
        "backbone": {"use": "lenet", "batch_norm": True, "dropout": 0.0, "standardise": True, **(backbone or {})},
        "source": {"use": "digits", **(source or {})},
        "target": {"use": "digits_photo", **(target or {})},
        "evaluate": {"use": "digits_photo", "split": "test", **(evaluate or {})},
        "adapters": [{"use": "head_swap", "bottleneck": 32}, *map(dict, adapters)],
        "train": {
            "epochs": 4,
            "steps_per_epoch": 20,
            "batch": 32,
            "lr": 0.003,
            "backbone_lr": 1.0,
            "precision": "fp32",
            "workers": 0,
            **train,
        },
    }
    if not adapters:
        del manifest["target"]
    return manifest


def examined(manifest: Manifest, catalog: Catalog | None = None, watch: Watch | None = None) -> dict[str, Finding]:
    """Train a manifest and its baseline, and have every symptom looked for: what was found, by symptom.

    Nothing is kept but the findings. A symptom that fails is an error here.
    """
    catalog = catalog or Catalog.installed()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "out"
        tlhub.adapt(manifest, out=folder, device="cpu", keep=False, watch=watch, catalog=catalog)
        after = artifact.load(folder, "cpu", catalog)
        findings, notes = examine(Case(after, baseline_of(after, "cpu", catalog), catalog))
    assert not notes, notes
    return {finding.symptom: finding for finding in findings}


def ill(findings: Mapping[str, Finding]) -> dict[str, str]:
    """What there is to mend, in words."""
    return {name: str(finding) for name, finding in findings.items() if finding.ill}


class DrawnDigits(Dataset):
    """Built-in digits, of every class so many; with what a data set may have wrong.

    Args:
        photo: whether they are on photographs.
        counts: by class how many; its classes alone are there. By default all.
        shuffled: whether every label is another example's.
        inverted: whether black is white.
    """

    name = "drawn_digits"
    modality = "image"

    def __init__(
        self,
        photo: bool = False,
        counts: dict[str, int] | None = None,
        shuffled: bool = False,
        inverted: bool = False,
    ) -> None:
        self.photo, self.counts, self.shuffled, self.inverted = photo, counts, shuffled, inverted

    def splits(self) -> Sequence[str]:
        return ("train", "test")

    def class_names(self) -> tuple[str, ...] | None:
        return tuple(self.counts or "0123456789")

    def open(self, split: str | None, labels: bool) -> Examples:
        given = (DigitsPhoto() if self.photo else Digits()).open(split, labels=True)
        assert given.labels is not None
        numbers, names = np.asarray(given.labels), self.class_names() or ()
        most = {int(name): (self.counts or {}).get(name, len(numbers)) for name in names}
        rows = np.sort(np.concatenate([np.flatnonzero(numbers == number)[:count] for number, count in most.items()]))
        order = np.random.default_rng(0).permutation(rows) if self.shuffled else rows
        told = [names.index(str(number)) for number in numbers[order]]
        images = [given.inputs[row] for row in rows]
        return Examples(
            inputs=[self.seen(ImageOps.invert(image) if self.inverted else image) for image in images],
            labels=told if labels else None,
            classes=names if labels else None,
            fingerprint=f"{given.fingerprint} {self.settings}",
            where=f"{split} digit {{}}".format,
        )

    def seen(self, image: Image.Image) -> Any:
        """An input."""
        return image


class PixelDigits(DrawnDigits):
    """The same as vectors of 784 grey pixels.

    Args:
        photo: whether they are on photographs.
        scale: what white is; black is 0.
    """

    name = "pixel_digits"
    modality = "vector"

    def __init__(self, photo: bool = False, scale: float = 1.0) -> None:
        super().__init__(photo)
        self.scale = scale

    def seen(self, image: Image.Image) -> Any:
        return np.asarray(image.convert("L"), dtype=np.float32).ravel() * (self.scale / 255)


class PhotoCounts(Dataset):
    """The photos of a domain of Office-Caltech10 as 800 SURF counts, standardised in this domain.

    Args:
        folder: where the domains' files are.
        domain: its name.
    """

    name = "photo_counts"
    modality = "vector"

    def __init__(self, folder: str, domain: str) -> None:
        self.folder, self.domain = folder, domain

    def splits(self) -> Sequence[str]:
        return ()

    def open(self, split: str | None, labels: bool) -> Examples:
        content = loadmat(Path(self.folder) / f"{self.domain}.mat")
        counts = content["fts"] / content["fts"].sum(1, keepdims=True)
        numbers = content["labels"].ravel().astype(int) - 1
        return Examples(
            inputs=list(((counts - counts.mean(0)) / (counts.std(0) + 1e-9)).astype(np.float32)),
            labels=numbers.tolist() if labels else None,
            classes=tuple(f"class {number}" for number in range(10)) if labels else None,
            fingerprint=f"counts {self.domain}",
            where=f"{self.domain} photo {{}}".format,
        )


class Worlds:
    """The plugin of these data sets."""

    @hookimpl
    def tlhub_datasets(self) -> list[type[Dataset]]:
        return [DrawnDigits, PixelDigits, PhotoCounts]


def worlds() -> Catalog:
    """Everything that is installed, and the data sets here."""
    catalog = Catalog.installed()
    catalog.add("worlds", Worlds())
    return catalog
