"""Folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlhub_data.folder import Folder
from tlhub_data.inputs import ImageFiles


class ImageFolder(Folder):
    """A folder of images with one folder for each class, such as `cat/1.jpg` and `dog/7.jpg`.

    Where the folders at the top are all named after splits (`train`, `test`, `validation` …), they are the splits, and
    the class folders lie in them. With `labels: none` the images may lie anywhere, a flat folder of them will do, and
    the name of the folder an image lies in is not looked at.

    File names decide the order, shuffled: it mixes the classes, so that a slice such as `train[:10%]` is a fair sample,
    and it is the same with and without labels, so that slices of one folder fit together. Files that begin with a dot
    or do not end like an image are passed over.
    """

    name = "imagefolder"
    modality = "image"
    endings = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
    one, several = "an image", "images"

    def _inputs(self, files: Sequence[Path]) -> ImageFiles:
        return ImageFiles(files)
