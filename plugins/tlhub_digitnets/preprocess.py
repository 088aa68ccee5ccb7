"""Digits as the small networks want them, still in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class DigitPreprocess:
    """A PIL image of any mode to an 8-bit tensor `[1 or 3, size, size]`; not square ones are distorted.

    With a `shift`, the image is moved by up to so many pixels either way, and its border fills what it leaves.
    """

    size: int
    grey: bool
    shift: int = 0

    @property
    def random(self) -> bool:
        return self.shift > 0

    def __call__(self, raw: Any) -> Tensor:
        import numpy as np
        from PIL import Image

        if not isinstance(raw, Image.Image):
            raise TypeError(f"expected an image, found {type(raw).__name__}")
        mode = "L" if self.grey else "RGB"
        image = raw if raw.mode == mode else raw.convert(mode)
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = np.array(image)
        if self.shift:
            down, right = torch.randint(-self.shift, self.shift + 1, (2,)).tolist()
            places = np.arange(self.size)
            rows, columns = ((places + moved).clip(0, self.size - 1) for moved in (down, right))
            pixels = pixels[rows[:, None], columns]
        tensor = torch.from_numpy(pixels)
        return tensor.unsqueeze(0) if self.grey else tensor.permute(2, 0, 1).contiguous()
