"""Images as a network wants them, still in 8 bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from torch import Tensor

Augment = Literal["none", "flip", "crop", "resized_crop"]


@dataclass(frozen=True)
class ImagePreprocess:
    """A PIL image of any mode to an 8-bit tensor `[3, height, width]`: timm's own transform, without the normalisation.

    Attributes:
        size: height and width.
        fill: colour of the borders where `crop_mode` is `border`, where 1 is white.
    """

    size: tuple[int, int]
    interpolation: str
    crop_pct: float
    crop_mode: str
    fill: tuple[float, ...] | None
    augment: Augment

    @property
    def random(self) -> bool:
        return self.augment != "none"

    def __call__(self, raw: Any) -> Tensor:
        if not hasattr(raw, "convert"):
            raise TypeError(f"expected an image, found {type(raw).__name__}")
        image: Tensor = _transform(self)(_rgb(raw))
        return image


def _rgb(image: Any) -> Any:
    if image.mode == "RGB":
        return image
    with warnings.catch_warnings():  # about palettes with transparency, which is dropped as timm and transformers do
        warnings.simplefilter("ignore", UserWarning)
        return image.convert("RGB")


@lru_cache(maxsize=8)
def _transform(how: ImagePreprocess) -> Callable[[Any], Tensor]:
    """The transform of a preprocessing; kept here and not in it, so that it stays small to send to worker processes."""
    from timm.data.transforms_factory import create_transform
    from torchvision import transforms

    def create(**more: Any) -> Any:
        return create_transform(how.size, interpolation=how.interpolation, use_prefetcher=True, **more)

    if how.augment == "resized_crop":
        return create(is_training=True, color_jitter=None)  # type: ignore[no-any-return]
    if how.augment == "crop":
        larger = [round(side * 8 / 7) for side in how.size]
        steps = [
            transforms.Resize(
                larger if how.crop_mode == "squash" else min(larger),
                transforms.InterpolationMode(how.interpolation),
            ),
            transforms.RandomCrop(how.size, pad_if_needed=True),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
        ]
        return transforms.Compose(steps)  # type: ignore[no-any-return]
    colours = {} if how.fill is None else {"mean": how.fill}
    plain = create(crop_pct=how.crop_pct, crop_mode=how.crop_mode, **colours)
    if how.augment == "flip":
        return transforms.Compose([plain, transforms.RandomHorizontalFlip()])  # type: ignore[no-any-return]
    return plain  # type: ignore[no-any-return]
