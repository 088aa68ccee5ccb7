"""A timm network without classifier, and all that is needed to make it again without a network connection."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlhub.errors import SettingError, UserError

OFFLINE = "give `weights` a local .safetensors file, or set `pretrained: false` to start from random weights"

UNSAID = {"input_size": (3, 224, 224)}

# arguments that would make something else of the network than features of an RGB image, and what to do instead
RESERVED = {
    "num_classes": "the classifier is the task's",
    "in_chans": "images are read as RGB",
    "img_size": "use the setting `input_size`",
    "features_only": "features are always one vector an image",
    "pretrained_cfg": "use the settings `mean`, `std`, `interpolation`, `crop_pct`, `crop_mode` and `weights`",
    "pretrained_cfg_overlay": "use the settings `mean`, `std`, `interpolation`, `crop_pct`, `crop_mode` and `weights`",
    "checkpoint_path": "use the setting `weights`",
    "cache_dir": "set the environment variable HF_HOME",
}


@dataclass(frozen=True)
class Recipe:
    """What a network was made from.

    Attributes:
        architecture: its name in timm, without the tag of pretrained weights.
        args: arguments it was made with, but for `num_classes`.
        data: timm's data configuration: `input_size` [channels, height, width], `mean`, `std`, `interpolation`,
            `crop_pct`, `crop_mode`.
    """

    architecture: str
    args: Mapping[str, Any]
    data: Mapping[str, Any]


def create(
    model: str, pretrained: bool, args: Mapping[str, Any], size: tuple[int, int] | None, wanted: Mapping[str, Any]
) -> tuple[Any, int, Recipe]:
    """The network of that name, the width of its features, and its recipe.

    `size` and `wanted` override the model's own data configuration.

    Raises UserError where timm has no such model, or cannot make it with these arguments, or cannot fetch its weights.
    """
    import timm
    from timm.data.config import resolve_data_config

    for name in args:
        if name in RESERVED:
            raise SettingError("args", f"`args` cannot hold `{name}`", RESERVED[name])
    architecture, config, arguments = _find(model)
    arguments.update(args)
    if config["input_size"][0] != 3:
        raise SettingError("model", f"`{model}` does not read RGB images", "choose a model with three input channels")
    if pretrained and not any(config.get(source) for source in ("url", "file", "hf_hub_id")):
        raise SettingError("pretrained", f"timm has no pretrained weights for `{model}`", OFFLINE)
    own_size = arguments.pop("img_size", None)
    if own_size is not None or config.get("fixed_input_size"):
        # where an architecture has a size at all, name it: another tag or version of timm may have another default
        size = size or _pair(own_size or config["input_size"][1:])
        arguments["img_size"] = size[0] if size[0] == size[1] else list(size)  # some architectures know squares only

    overrides = {key: value for key, value in wanted.items() if value is not None}
    overrides["input_size"] = (3, *(size or config["input_size"][1:]))
    resolve: Any = resolve_data_config
    data = resolve(overrides, pretrained_cfg=config)
    try:
        net = timm.create_model(model, pretrained=pretrained, num_classes=0, **arguments)
        width = _width(net, data["input_size"])
    except Exception as error:
        if isinstance(error, _fetch_errors()):
            raise _unfetched("the weights of ", model, error) from error
        setting = "args" if args else "input_size" if size else "model"
        problem = f"timm cannot make `{model}` for images of {data['input_size'][1:]}: {error}"
        raise SettingError(setting, problem) from error
    recipe = Recipe(architecture, arguments, {key: _frozen(value) for key, value in data.items()})
    return net, width, recipe


def features(net: Any, images: Tensor) -> Tensor:
    """What the network's own classifier would read of normalised images."""
    read: Tensor = net.forward_head(net.forward_features(images), pre_logits=True)
    return read


@torch.no_grad()
def _width(net: Any, input_size: tuple[int, int, int]) -> int:
    """The width of the features, seen on one image, which also shows now that images of this size will do."""
    seen = features(net.eval(), torch.zeros(1, *input_size))
    net.train()
    if seen.ndim != 2:
        raise ValueError(f"its features have the shape {list(seen.shape[1:])} instead of being one vector an image")
    return seen.shape[1]


def _find(model: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Name of the architecture, timm's configuration of the pretrained model, and the arguments it was made with."""
    from timm.models import get_pretrained_cfg, is_model, load_model_config_from_hf, split_model_name_tag
    from timm.models._hub import load_model_config_from_path

    source, colon, place = model.partition(":")
    if not colon:
        architecture, _ = split_model_name_tag(model)
        if not is_model(architecture):
            raise SettingError("model", f"timm has no model `{model}`", _similar(architecture))
        try:
            config: Any = get_pretrained_cfg(model)
            return architecture, {**UNSAID, **(config.to_dict() if config else {})}, {}
        except RuntimeError as error:
            raise SettingError("model", f"timm has no weights `{model}`", _tags(architecture)) from error

    loaders: dict[str, Any] = {"hf-hub": load_model_config_from_hf, "local-dir": load_model_config_from_path}
    loader = loaders.get(source.replace("_", "-"))
    if loader is None or not place:
        raise SettingError(
            "model", f"`{model}` names no model", "write `hf_hub:owner/name`, `local-dir:path` or a timm name"
        )
    try:
        config, architecture, arguments = loader(place)
    except _fetch_errors() as error:
        raise _unfetched("", model, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise SettingError("model", f"`{model}` is no timm model: {error}", "its config.json must be timm's") from error
    architecture, _ = split_model_name_tag(architecture)
    if not is_model(architecture):
        raise SettingError(
            "model", f"the installed timm lacks `{architecture}`, the architecture of `{model}`", "update timm"
        )
    arguments = {name: value for name, value in (arguments or {}).items() if name not in ("num_classes", "in_chans")}
    return architecture, {**UNSAID, **config}, arguments


def _fetch_errors() -> tuple[type[Exception], ...]:
    """What the ways timm fetches by raise when there is no connection, no such repository or no such file."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    return OSError, HfHubHTTPError, HFValidationError


def _unfetched(what: str, model: str, error: Exception) -> UserError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserError(f"could not fetch {what}`{model}`: {reason}", OFFLINE)


def _similar(name: str) -> str:
    import timm

    near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
    return f"did you mean {_listed(near)}?" if near else "`timm.list_models()` in Python lists the names"


def _tags(architecture: str) -> str:
    import timm

    tagged = timm.list_pretrained(f"{architecture}.*")
    return f"there are {_listed(tagged[:8])}" if tagged else f"write `{architecture}`"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _pair(size: Any) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
