"""Images of rings and discs."""

import colorsys

from tlhub import Dataset, Examples

CLASSES = ("disc", "ring")


class Rings(Dataset):
    """Coloured rings and discs on noise, drawn when they are asked for.

    Args:
        count: how many images.
        hue: their colour, from 0 to 1: the shift between domains.
        seed: other seeds draw other images.
    """

    name = "rings"
    modality = "image"

    def __init__(self, count: int = 200, hue: float = 0.0, seed: int = 0) -> None:
        self.count = count
        self.hue = hue
        self.seed = seed

    def splits(self):
        return ()

    def class_names(self):
        return CLASSES

    def open(self, split, labels):
        import numpy as np
        from PIL import Image, ImageDraw

        generator = np.random.default_rng(self.seed)
        numbers = generator.integers(0, 2, self.count)
        colour = tuple(int(255 * part) for part in colorsys.hsv_to_rgb(self.hue, 1, 1))
        images = []
        for number in numbers:
            image = Image.fromarray(generator.integers(0, 90, (24, 24, 3), dtype=np.uint8))
            ImageDraw.Draw(image).ellipse((4, 4, 19, 19), fill=None if number else colour, outline=colour, width=3)
            images.append(image)
        return Examples(
            inputs=images,
            labels=numbers.tolist() if labels else None,
            classes=CLASSES if labels else None,
            fingerprint=f"rings-{self.count}-{self.hue}-{self.seed}",
            where="ring image {}".format,
        )
