"""Folders of images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError
from tlhub_data.files import digests, missing, split_names
from tlhub_data.inputs import ImageFiles

_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"}


class ImageFolder(Dataset):
    """A folder of images with one folder for each class, such as `cat/1.jpg` and `dog/7.jpg`.

    Where the folders at the top are all named after splits (`train`, `test`, `validation` …), they are the splits, and
    the class folders lie in them. With `labels: none` the images may lie anywhere, a flat folder of them will do, and
    the name of the folder an image lies in is not looked at.

    File names decide the order, shuffled: it mixes the classes, so that a slice such as `train[:10%]` is a fair sample,
    and it is the same with and without labels, so that slices of one folder fit together. Files that begin with a dot
    or do not end like an image are passed over.

    Args:
        path: the folder.
    """

    name = "imagefolder"
    modality = "image"

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()

    def splits(self) -> Sequence[str]:
        folders, images = _listed(self.path)
        return [] if images else split_names(folder.name for folder in folders)

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the class folders, in any of the splits."""
        parts = [self.path / split for split in self.splits()] or [self.path]
        return tuple(sorted({folder.name for part in parts for folder in _listed(part)[0]})) or None

    def open(self, split: str | None, labels: bool) -> Examples:
        folder = self.path / (split or "")
        class_of = _by_class(folder) if labels else dict.fromkeys(_images_under(folder), "")
        if not class_of:
            raise DataError(f"{folder} holds no images", f"an image's name ends in {', '.join(sorted(_ENDINGS))}")
        files = sorted(class_of, key=_place)
        classes = self.class_names() if labels else None
        number = {name: index for index, name in enumerate(classes or ())}
        known = hashlib.sha256()
        for file, digest in zip(files, digests(files), strict=True):
            known.update(f"{digest} {class_of[file]}\n".encode())
        inputs = ImageFiles(files)
        return Examples(
            inputs=inputs,
            labels=[number[class_of[file]] for file in files] if labels else None,
            classes=classes,
            fingerprint=known.hexdigest(),
            where=inputs.where,
        )


def _by_class(folder: Path) -> dict[Path, str]:
    """Every image's class, which is the name of its folder. Raises DataError where an image or folder does not fit."""
    folders, loose = _listed(folder)
    if loose:
        raise DataError(
            f"{folder} holds {len(loose)} images that lie in no class folder, such as {loose[0].name}",
            "move each into the folder of its class, or write `labels: none` where the classes are unknown",
        )
    images = {each: _images_under(each) for each in folders}
    if not any(images.values()):
        return {}
    deep = all(file.parent != each for each, files in images.items() for file in files)
    if deep:
        example = next(file for files in images.values() for file in files)
        raise DataError(
            f"{folder} is no folder of class folders: its images lie deeper, such as {example.relative_to(folder)}",
            f"name the folder that holds the class folders, such as `path: {example.parent.parent}`",
        )
    for each, files in images.items():
        if not files:
            raise DataError(f"the class folder {each} holds no images", "remove it, or fill it")
    return {file: each.name for each, files in images.items() for file in files}


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """The folders and the images that lie directly in a folder."""
    _check_folder(folder)
    items = sorted(item for item in folder.iterdir() if not _hidden(item.name))
    folders = [item for item in items if item.is_dir()]
    return folders, [item for item in items if _is_image(item.name) and item not in folders]


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise DataError(f"{folder} is a file, expected a folder of images")
    if not folder.is_dir():
        raise missing(folder)


def _images_under(folder: Path) -> list[Path]:
    _check_folder(folder)
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not _hidden(name)]
        found += [Path(place, name) for name in names if _is_image(name) and not _hidden(name)]
    return found


def _place(file: Path) -> tuple[bytes, int, str]:
    """Where a file stands in the order: by its name without its folders, so that the class has no say."""
    size = file.stat().st_size if file.exists() else 0
    return hashlib.sha256(file.name.encode(errors="surrogateescape")).digest(), size, str(file)


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in _ENDINGS


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what archivers and file managers leave behind
