"""Raw inputs from files that a user names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlhub.errors import DataError


def read_file(path: Path) -> Any:
    """The image in a file, decoded. Raises DataError naming a file that is missing or no image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from None
