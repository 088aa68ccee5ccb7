"""Images from files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from tlhub.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image


def read_file(path: Path) -> Image:
    """The image in a file, decoded. Raises DataError naming a file that is missing or no image."""
    return decode(read_bytes(path), str(path))


def read_bytes(file: Path) -> bytes:
    """A file's content. Raises DataError where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error


def decode(content: bytes, where: str) -> Image:
    """The image in a file's content, turned upright as its EXIF orientation says; in whatever mode it was stored.

    Raises DataError that begins with `where` if it cannot be decoded.
    """
    from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(content), formats=_formats(content))
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # asked first: `exif_transpose` asks slowly
            ImageOps.exif_transpose(image, in_place=True)
    except Exception as error:  # Pillow's decoders raise whatever they stumble over
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "it is empty" if not content else "no known image format" if unknown else str(error)
        raise DataError(f"{where} cannot be read as an image: {reason}", "replace it, or remove it") from error
    return image


def _formats(content: bytes) -> list[str] | None:
    """The format by its first bytes; Pillow tries one decoder after the other, which takes longer than decoding."""
    if content.startswith(b"\xff\xd8"):
        return ["JPEG"]
    if content.startswith(b"\x89PNG"):
        return ["PNG"]
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return ["WEBP"]
    return None
