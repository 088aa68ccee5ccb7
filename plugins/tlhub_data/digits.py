"""Two built-in domains of handwritten digits that need no download.

Both come from scikit-learn: its 1,797 real handwritten digits, and its two sample photographs. `digits` holds one half
of the digits; `digits_photo` holds the other half, each blended with a patch of a photograph as MNIST-M blends MNIST
with BSDS500: the absolute difference of the two. No digit is in both domains, and no part of a photograph in both train
and test.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tlhub.data import Dataset, Examples
from tlhub.errors import DataError

if TYPE_CHECKING:
    import numpy as np

SEED = 0
SIZE = 28
"""Height and width of the images, as in MNIST; scikit-learn's are 8 × 8."""
MARGIN = 2
"""Black pixels left on each side of a digit."""
TEST = {"digits": 180, "digits_photo": 297}
"""How many images of each domain are its test split; the others are its train split."""
STRENGTH = 0.5
"""Brightness of the photographs before they are blended; at 1, bright patches hide an 8 × 8 digit altogether."""
TILE = 64
"""The photographs are cut into tiles of this size, coloured like a chessboard: patches for training come from one
colour, those for testing from the other."""

_CLASSES = tuple("0123456789")
_SPLITS = ("train", "test")


class _BuiltIn(Dataset):
    modality = "image"

    def splits(self) -> Sequence[str]:
        return _SPLITS

    def class_names(self) -> tuple[str, ...] | None:
        return _CLASSES

    def open(self, split: str | None, labels: bool) -> Examples:
        if split not in _SPLITS:
            raise DataError(f"`{self.name}` has no split `{split}`; it has {', '.join(_SPLITS)}")
        pixels, numbers = _build(self.name, split)
        known = hashlib.sha256(pixels.tobytes() + (numbers.tobytes() if labels else b""))
        return Examples(
            inputs=_Pixels(pixels),
            labels=numbers.tolist() if labels else None,
            classes=_CLASSES if labels else None,
            fingerprint=known.hexdigest(),
            where=f"{self.name} {split}, image {{}}".format,
        )


class Digits(_BuiltIn):
    """Handwritten digits on a black ground, 28 × 28: half of scikit-learn's real ones. Built in, nothing is downloaded.

    The other half is in `digits_photo`.
    """

    name = "digits"


class DigitsPhoto(_BuiltIn):
    """Handwritten digits blended with patches of photographs, 28 × 28. Built in, nothing is downloaded.

    The digits are the half of scikit-learn's that is not in `digits`; each is blended with its patch as in MNIST-M.
    """

    name = "digits_photo"


class _Pixels(Sequence[Any]):
    def __init__(self, pixels: np.ndarray[Any, Any]) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: Any) -> Any:
        from PIL import Image

        return Image.fromarray(self.pixels[index])


@functools.cache
def _build(domain: str, split: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pixels `[images, SIZE, SIZE, 3]` and classes `[images]` of one split."""
    import numpy as np
    from sklearn.datasets import load_digits

    bunch = load_digits()
    halves = _halves(bunch.target)
    place = list(TEST).index(domain)
    own, tests = halves[place], TEST[domain]
    rows = own[:-tests] if split == "train" else own[-tests:]
    # the halves are in an order that tells the classes; what is opened without labels must not
    rows = np.random.default_rng([SEED, place, _SPLITS.index(split)]).permutation(rows)
    digits = _enlarged(bunch.images[rows] / 16)[..., None].repeat(3, axis=-1)
    if domain == "digits_photo":
        digits = np.abs(STRENGTH * _patches(len(rows), _SPLITS.index(split)) - digits)
    return np.round(digits * 255).astype(np.uint8), bunch.target[rows].astype(np.int64)


def _halves(classes: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All images in two halves, each in a random order in which the classes take turns, so any part is balanced."""
    import numpy as np

    order = np.random.default_rng(SEED).permutation(len(classes))
    turn = np.empty(len(classes), dtype=int)
    for number in range(len(_CLASSES)):
        of_class = order[classes[order] == number]
        turn[of_class] = np.arange(len(of_class))
    order = order[np.lexsort((classes[order], turn[order]))]
    rounds = np.arange(len(order)) // len(_CLASSES)
    return order[rounds % 2 == 0], order[rounds % 2 == 1]


def _enlarged(images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """`[images, 8, 8]` → `[images, SIZE, SIZE]`, bilinear; written out, because libraries differ in the last digit."""
    import numpy as np

    side, wide = images.shape[1], SIZE - 2 * MARGIN
    place = np.clip((np.arange(wide) + 0.5) * side / wide - 0.5, 0, side - 1)
    low = np.floor(place).astype(int)
    weights = np.zeros((wide, side))
    weights[np.arange(wide), low] += 1 - (place - low)
    weights[np.arange(wide), np.minimum(low + 1, side - 1)] += place - low
    enlarged: np.ndarray[Any, Any] = weights @ images @ weights.T
    return np.pad(enlarged, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))


def _patches(count: int, colour: int) -> np.ndarray[Any, Any]:
    """`[count, SIZE, SIZE, 3]`: random patches of the photographs, each within one tile of a colour."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    photos = [photo / 255 for photo in load_sample_images().images]
    random = np.random.default_rng([SEED, 1 + colour])
    tiles = [
        photo[top : top + TILE, left : left + TILE]
        for photo in photos
        for top in range(0, photo.shape[0] - TILE + 1, TILE)
        for left in range(0, photo.shape[1] - TILE + 1, TILE)
        if (top + left) // TILE % 2 == colour
    ]
    patches = np.empty((count, SIZE, SIZE, 3))
    for patch in patches:
        tile = tiles[random.integers(len(tiles))]
        top, left = random.integers(TILE - SIZE + 1, size=2)
        patch[:] = tile[top : top + SIZE, left : left + SIZE]
    return patches
