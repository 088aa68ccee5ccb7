"""The component `timm`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.backbone import Backbone
from tlhub.lineage import Origin
from tlhub.model import Model
from tlhub.task import Task
from tlhub_timm import native
from tlhub_timm.create import create, features
from tlhub_timm.origin import of_file, of_network
from tlhub_timm.preprocess import Augment, ImagePreprocess
from tlhub_timm.source import source_head
from tlhub_timm.weights import load_weights

Size = Annotated[int, Field(ge=1)]
Channels = tuple[float, float, float]


class TimmBackbone(Backbone):
    """Any image network of the timm library (Wightman 2019, "PyTorch Image Models"), without its classifier.

    Features are what the network's own classifier would read. Images arrive as 8-bit RGB, prepared as the network's
    data configuration says, and are normalised on the device.

    Args:
        model: name of an architecture, such as `resnet50`, of an architecture with certain weights, such as
            `resnet50.a1_in1k`, of a model on the Hugging Face Hub, `hf_hub:owner/name`, or of a folder that holds one,
            `local-dir:path`.
        pretrained: whether to start from the pretrained weights of that name, fetched from the Hub where they are not
            cached.
        weights: a `.safetensors` file to start from instead; nothing is downloaded then. A classifier in it is left
            out, everything else must fit.
        args: further arguments of the architecture, such as `drop_path_rate: 0.1`.
        input_size: side of the images in pixels, or height and width; as the network wants it unless given.
        mean: mean of the red, green and blue channel, where 1 is white, that the network wants subtracted.
        std: standard deviation of the channels that the network wants its input divided by.
        interpolation: how images are resized.
        crop_pct: share of the resized image's side that is kept when it is cropped to `input_size`.
        crop_mode: how an image becomes square: `center` crops its middle, `squash` distorts it, `border` pads it.
        augment: how training images vary: `flip` mirrors half of them; `crop` also takes `input_size` pixels anywhere
            out of an image resized to 8/7 of that (224 of 256), as is usual in domain adaptation; `resized_crop` also
            varies scale and shape (Szegedy et al. 2015), as is usual in training from scratch; `none` shows them as in
            evaluation.
    """

    name = "timm"
    modality = "image"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        weights: str | None = None,
        args: dict[str, Any] | None = None,
        input_size: Size | tuple[Size, Size] | None = None,
        mean: Channels | None = None,
        std: Channels | None = None,
        interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] | None = None,
        crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None,
        crop_mode: Literal["center", "squash", "border"] | None = None,
        augment: Augment = "crop",
    ) -> None:
        super().__init__()
        size = (input_size, input_size) if isinstance(input_size, int) else input_size
        wanted = {
            "mean": mean,
            "std": std,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
        }
        self.net: Any
        self.net, self.width, self.recipe = create(model, pretrained and weights is None, args or {}, size, wanted)
        if weights is not None:
            load_weights(self.net, weights, model)
        self.augment = augment
        # 255 times what timm names, since the images arrive in 0 ... 255; rebuilt from the settings, so not saved
        for buffer in ("mean", "std"):
            value = torch.tensor(self.recipe.data[buffer], dtype=torch.float32) * 255
            self.register_buffer(buffer, value.view(1, 3, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Features `[examples, width]` of images `[examples, 3, height, width]` in 0 ... 255."""
        return features(self.net, (inputs - self.mean) / self.std)

    def stages(self) -> Sequence[Sequence[str]]:
        """Stem, then stages or transformer blocks; what follows the last of them, such as a norm, belongs to it."""
        from timm.models import group_parameters

        if hasattr(self.net, "group_matcher"):
            groups = group_parameters(self.net, self.net.group_matcher(coarse=True))
        else:
            groups = _by_module([name for name, _ in self.net.named_parameters()])
        return [[f"net.{name}" for name in groups[key]] for key in groups]

    def preprocess(self, train: bool) -> ImagePreprocess:
        data = self.recipe.data
        return ImagePreprocess(
            size=data["input_size"][1:],
            interpolation=data["interpolation"],
            crop_pct=data["crop_pct"],
            crop_mode=data["crop_mode"],
            fill=data["mean"] if data["crop_mode"] == "border" else None,
            augment=self.augment if train else "none",
        )

    def pooled(self, output: Tensor, inputs: Any = None) -> Tensor:
        """Also of maps `[rows, height, width, channels]`, where the network passes those on, as Swin does."""
        if output.ndim == 4 and getattr(self.net, "output_fmt", "NCHW") == "NHWC":
            return output.mean((1, 2))
        return super().pooled(output, inputs)

    def origins(self) -> Sequence[Origin]:
        if self.settings["weights"] is not None:
            return [of_file(self.settings["weights"])]
        return [of_network(self.net, self.settings["model"])] if self.settings["pretrained"] else []

    def source_head(self) -> nn.Module | None:
        model, weights = self.settings["model"], self.settings["weights"]
        if weights is None and not self.settings["pretrained"]:
            return None
        return source_head(self.net, self.recipe, model, weights)

    def rebuild(self) -> Mapping[str, Any]:
        """Settings that name everything the weights or the Hub had a say in, so that nothing is fetched."""
        data = self.recipe.data
        return {
            "model": self.recipe.architecture,
            "pretrained": False,
            "args": {key: value for key, value in self.recipe.args.items() if key != "img_size"} or None,
            "input_size": list(data["input_size"][1:]),
            "mean": list(data["mean"]),
            "std": list(data["std"]),
            "interpolation": data["interpolation"],
            "crop_pct": data["crop_pct"],
            "crop_mode": data["crop_mode"],
            "augment": self.augment,
        }

    def export(self, model: Model, task: Task, classes: Sequence[str] | None, folder: Path) -> str | None:
        """timm's own form, where the head is one linear layer, as the architecture's own classifier is."""
        return native.export(self.net, self.recipe, model, classes, folder)

    def load_exported(self, model: Model, folder: Path) -> None:
        native.load(self.net, model, folder)


def _by_module(names: Sequence[str]) -> dict[str, list[str]]:
    """Parameters by the module, or numbered module of a list, that holds them; for architectures that do not say it."""
    groups: dict[str, list[str]] = {}
    for name in names:
        module = re.match(r"[^.]+(\.\d+)?", name)
        groups.setdefault(module[0] if module else name, []).append(name)
    return groups
