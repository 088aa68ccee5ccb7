"""What folders of files by class have in common: splits, classes and order by names, and the fingerprint."""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError
from tlhub_data.files import digests, missing, split_names
from tlhub_data.inputs import Files


class Folder(Dataset):
    """A folder of files with one folder for each class. A subclass knows which files, and reads them.

    Args:
        path: the folder.

    Class attributes:
        endings: how the names of files end, in lower case.
        one, several: what messages call a file, and files.
    """

    endings: ClassVar[tuple[str, ...]]
    one: ClassVar[str]
    several: ClassVar[str]

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()

    def splits(self) -> Sequence[str]:
        folders, files = self._listed(self.path)
        return [] if files else split_names(folder.name for folder in folders)

    def class_names(self) -> tuple[str, ...] | None:
        """The names of the class folders, in any of the splits."""
        parts = [self.path / split for split in self.splits()] or [self.path]
        return tuple(sorted({folder.name for part in parts for folder in self._listed(part)[0]})) or None

    def open(self, split: str | None, labels: bool) -> Examples:
        folder = self.path / (split or "")
        class_of = self._by_class(folder) if labels else dict.fromkeys(self._under(folder), "")
        if not class_of:
            raise DataError(f"{folder} holds no {self.several}", f"{self.one}'s name ends in {', '.join(self.endings)}")
        files = sorted(class_of, key=_place)
        classes = self.class_names() if labels else None
        number = {name: index for index, name in enumerate(classes or ())}
        known = hashlib.sha256()
        for file, digest in zip(files, digests(files), strict=True):
            known.update(f"{digest} {class_of[file]}\n".encode())
        inputs = self._inputs(files)
        return Examples(
            inputs=inputs,
            labels=[number[class_of[file]] for file in files] if labels else None,
            classes=classes,
            fingerprint=known.hexdigest(),
            where=inputs.where,
        )

    @abstractmethod
    def _inputs(self, files: Sequence[Path]) -> Files:
        """The files as inputs."""

    def _by_class(self, folder: Path) -> dict[Path, str]:
        """Every file's class, which is the name of its folder. Raises DataError where a file or folder does not fit."""
        folders, loose = self._listed(folder)
        if loose:
            raise DataError(
                f"{folder} holds {len(loose)} {self.several} that lie in no class folder, such as {loose[0].name}",
                "move each into the folder of its class, or write `labels: none` where the classes are unknown",
            )
        files_of = {each: self._under(each) for each in folders}
        if not any(files_of.values()):
            return {}
        deep = all(file.parent != each for each, files in files_of.items() for file in files)
        if deep:
            example = next(file for files in files_of.values() for file in files)
            raise DataError(
                f"{folder} is no folder of class folders: its {self.several} lie deeper, such as "
                f"{example.relative_to(folder)}",
                f"name the folder that holds the class folders, such as `path: {example.parent.parent}`",
            )
        for each, files in files_of.items():
            if not files:
                raise DataError(f"the class folder {each} holds no {self.several}", "remove it, or fill it")
        return {file: each.name for each, files in files_of.items() for file in files}

    def _listed(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """The folders and the files that lie directly in a folder."""
        self._check_folder(folder)
        items = sorted(item for item in folder.iterdir() if not _hidden(item.name))
        folders = [item for item in items if item.is_dir()]
        return folders, [item for item in items if self._is_one(item.name) and item not in folders]

    def _check_folder(self, folder: Path) -> None:
        if folder.is_file():
            raise DataError(f"{folder} is a file, expected a folder of {self.several}")
        if not folder.is_dir():
            raise missing(folder)

    def _under(self, folder: Path) -> list[Path]:
        """The files that lie anywhere in a folder."""
        self._check_folder(folder)
        found = []
        for place, folders, names in os.walk(folder, followlinks=True):
            folders[:] = [name for name in folders if not _hidden(name)]
            found += [Path(place, name) for name in names if self._is_one(name) and not _hidden(name)]
        return found

    def _is_one(self, name: str) -> bool:
        return Path(name).suffix.lower() in self.endings


def _place(file: Path) -> tuple[bytes, int, str]:
    """Where a file stands in the order: by its name without its folders, so that the class has no say."""
    size = file.stat().st_size if file.exists() else 0
    return hashlib.sha256(file.name.encode(errors="surrogateescape")).digest(), size, str(file)


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # what archivers and file managers leave behind
