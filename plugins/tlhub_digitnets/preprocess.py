"""Digits as the small networks want them, still in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class DigitPreprocess:
    """A PIL image of any mode to an 8-bit tensor `[1 or 3, size, size]`; not square ones are distorted."""

    size: int
    grey: bool

    @property
    def random(self) -> bool:
        return False

    def __call__(self, raw: Any) -> Tensor:
        import numpy as np
        from PIL import Image

        if not isinstance(raw, Image.Image):
            raise TypeError(f"expected an image, found {type(raw).__name__}")
        image = raw.convert("L" if self.grey else "RGB")
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(image))
        return pixels.unsqueeze(0) if self.grey else pixels.permute(2, 0, 1).contiguous()
