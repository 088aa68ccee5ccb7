"""Images whose pixels are moved."""

from __future__ import annotations

import torch
from torch import Tensor


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """`[1, width]` and `[height, 1]`: the places x and y of pixels, counted from the centre of the image."""
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    return x[None], y[:, None]


def warped(images: Tensor, x: Tensor, y: Tensor, border: bool = False) -> Tensor:
    """Images `[rows, channels, height, width]` whose pixels come from the places `x`, `y` of each image, the nearest.

    Args:
        x: `[rows, 1, height, width]` or what is broadcast to it, as `grid` counts; `y` too.
        border: whether what lies outside is like the border of the image; otherwise it is black.
    """
    rows, _, height, width = images.shape
    # half a pixel is rounded up, as if by floor: rounding to even would tear neighbours apart
    across, down = (x + width / 2).floor().long(), (y + height / 2).floor().long()
    inside = (across >= 0) & (across < width) & (down >= 0) & (down < height)
    places = down.clamp(0, height - 1) * width + across.clamp(0, width - 1)
    places = places.expand(rows, 1, height, width).flatten(2).expand(-1, images.shape[1], -1)
    found = images.flatten(2).gather(2, places).view(images.shape)
    return found if border else found * inside


def nudged(images: Tensor) -> Tensor:
    """Each image moved by up to a sixteenth of its side, at least a pixel, either way; its border fills what it leaves.

    Two pixels of 32, as Tarvainen & Valpola 2017 move theirs.
    """
    x, y = grid(images)
    across, down = (
        torch.randint(-far, far + 1, (len(images), 1, 1, 1), device=images.device)
        for far in (max(1, side // 16) for side in (images.shape[3], images.shape[2]))
    )
    return warped(images, x + across, y + down, border=True)
