"""Strong augmentation of images on the device: RandAugment and Cutout, as FixMatch uses them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tlhub_selftrain.warp import grid, warped


def strong(images: Tensor) -> Tensor:
    """8-bit images `[rows, channels, height, width]`, each disturbed by two operations and a grey square.

    Each operation is applied to an equal share of the rows (one more or less), which ones by chance, with a magnitude
    for each row, so that it costs one pass over the batch and nothing waits for the device.
    """
    pixels = images.float()
    for _ in range(2):
        order = torch.randperm(len(OPERATIONS)).tolist()
        mixed = torch.rand(len(images), device=images.device).argsort()
        parts = zip(order, pixels[mixed].tensor_split(len(OPERATIONS)), strict=True)
        done = [
            OPERATIONS[number](part, torch.rand(len(part), 1, 1, 1, device=part.device))
            for number, part in parts
            if len(part)
        ]
        pixels = torch.cat(done)[mixed.argsort()].round().clamp(0, 255)
    return cutout(pixels).to(torch.uint8)


def cutout(pixels: Tensor) -> Tensor:
    """Grey in a square of half the shorter side, whose centre lies anywhere in the image (DeVries & Taylor 2017)."""
    height, width = pixels.shape[2:]
    x, y = grid(pixels)
    across, down = torch.rand(2, len(pixels), 1, 1, 1, device=pixels.device) - 0.5
    half = min(height, width) / 4
    covered = ((x - across * width).abs() < half) & ((y - down * height).abs() < half)
    return torch.where(covered, 127, pixels)


# The operations and their ranges are those of FixMatch's appendix. Each is given `pixels`, `[rows, channels, height,
# width]` whole numbers from 0 to 255, and magnitudes `[rows, 1, 1, 1]` from 0 to 1.


def identity(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return pixels


def autocontrast(pixels: Tensor, magnitude: Tensor) -> Tensor:
    low, high = pixels.amin((2, 3), keepdim=True), pixels.amax((2, 3), keepdim=True)
    return torch.where(high > low, (pixels - low) * 255 / (high - low), pixels)


def brightness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _towards(torch.zeros_like(pixels), pixels, magnitude)


def color(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _towards(_grey(pixels), pixels, magnitude)


def contrast(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return _towards(_grey(pixels).mean((2, 3), keepdim=True), pixels, magnitude)


def equalize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    """Every brightness about equally often, by channel; as the Python Imaging Library does it."""
    values = pixels.flatten(2).long()
    counts = pixels.new_zeros(*pixels.shape[:2], 256).scatter_add_(2, values, torch.ones_like(pixels).flatten(2))
    brightest = counts.gather(2, values.amax(2, keepdim=True))
    size = torch.floor((values.shape[2] - brightest) / 255)
    table = torch.floor((torch.floor(size / 2) + counts.cumsum(2) - counts) / size).clamp(max=255)
    return torch.where(size[..., None] > 0, table.gather(2, values).view(pixels.shape), pixels)


def posterize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    step = 2 ** (4 - (4 * magnitude).round())  # 4 to 8 bits are left
    return pixels - pixels % step


def rotate(pixels: Tensor, magnitude: Tensor) -> Tensor:
    (x, y), angle = grid(pixels), _either_way(magnitude) * math.radians(30)
    return warped(pixels, x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin())


def sharpness(pixels: Tensor, magnitude: Tensor) -> Tensor:
    smooth = (9 * F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False) + 4 * pixels) / 13
    return _towards(smooth, pixels, magnitude)


def shear_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    x, y = grid(pixels)
    return warped(pixels, x + 0.3 * _either_way(magnitude) * y, y)


def shear_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    x, y = grid(pixels)
    return warped(pixels, x, y + 0.3 * _either_way(magnitude) * x)


def solarize(pixels: Tensor, magnitude: Tensor) -> Tensor:
    return torch.where(pixels < 255 * magnitude, pixels, 255 - pixels)


def translate_x(pixels: Tensor, magnitude: Tensor) -> Tensor:
    x, y = grid(pixels)
    return warped(pixels, x + 0.3 * _either_way(magnitude) * pixels.shape[3], y)


def translate_y(pixels: Tensor, magnitude: Tensor) -> Tensor:
    x, y = grid(pixels)
    return warped(pixels, x, y + 0.3 * _either_way(magnitude) * pixels.shape[2])


OPERATIONS: list[Callable[[Tensor, Tensor], Tensor]] = [
    identity,
    autocontrast,
    brightness,
    color,
    contrast,
    equalize,
    posterize,
    rotate,
    sharpness,
    shear_x,
    shear_y,
    solarize,
    translate_x,
    translate_y,
]


def _either_way(magnitude: Tensor) -> Tensor:
    return 2 * magnitude - 1


def _towards(plain: Tensor, pixels: Tensor, magnitude: Tensor) -> Tensor:
    """5 to 95 % of what distinguishes `pixels` from an image without the quality in question."""
    return plain + (0.05 + 0.9 * magnitude) * (pixels - plain)


def _grey(pixels: Tensor) -> Tensor:
    """`[rows, 1, height, width]`: luminance where there are three channels, else their mean."""
    if pixels.shape[1] != 3:
        return pixels.mean(1, keepdim=True)
    return 0.299 * pixels[:, :1] + 0.587 * pixels[:, 1:2] + 0.114 * pixels[:, 2:]
