"""A model in timm's own form: a folder that timm and transformers load, label names and preprocessing included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlhub.errors import ArtifactError
from tlhub.model import Model
from tlhub_timm.create import Recipe, features


def export(net: Any, recipe: Recipe, model: Model, classes: Sequence[str] | None, folder: Path) -> str | None:
    """Write `config.json` and `model.safetensors`; None where timm's own network cannot hold the model."""
    import timm
    from safetensors.torch import save_file

    if model.neck.name != "identity" or model.head.name != "linear":
        return None
    linear: Any = model.head.linear
    whole: Any = timm.create_model(recipe.architecture, num_classes=linear.out_features, **recipe.args)
    classifier = whole.get_classifier() if hasattr(whole, "get_classifier") else None
    if not isinstance(classifier, nn.Linear):
        return None
    name = next(name for name, module in whole.named_modules() if module is classifier)
    tensors = {**net.state_dict(), f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    # copies, because safetensors refuses tensors that share memory, as tied ones do
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    if _shapes(copies) != _shapes(whole.state_dict()):
        return None  # the network was changed (adapters inside it), or its classifier is more than the linear layer
    whole.load_state_dict(copies)
    if not reads_features_only(whole, classifier, recipe):
        return None

    folder.mkdir(parents=True, exist_ok=True)
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})
    own = whole.pretrained_cfg
    config: dict[str, Any] = {
        "architecture": recipe.architecture,
        "num_classes": linear.out_features,
        "num_features": whole.num_features,
        "pretrained_cfg": {
            **recipe.data,
            "fixed_input_size": own.get("fixed_input_size", False),
            "num_classes": linear.out_features,
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
        },
    }
    if classes is not None:
        config["label_names"] = list(classes)
    if recipe.args:
        config["model_args"] = dict(recipe.args)  # without num_classes: transformers passes its own
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return "timm"


def load(net: Any, model: Model, folder: Path) -> None:
    """Fill `net` and the linear head of `model` from what `export` wrote."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    linear: Any = model.head.linear
    try:
        tensors = load_file(file)
        own = net.state_dict().keys()
        net.load_state_dict({key: value for key, value in tensors.items() if key in own})
        linear.load_state_dict({key.rpartition(".")[2]: value for key, value in tensors.items() if key not in own})
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ArtifactError(
            f"`{file}` does not hold this model: {error}", "the folder may be incomplete; fetch it again"
        ) from error


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}


@torch.inference_mode()
def reads_features_only(whole: Any, classifier: nn.Module, recipe: Recipe) -> bool:
    """Whether the network's answer is its classifier on its features, for which the adapted head stands in."""
    whole.eval()
    images = torch.rand(1, *recipe.data["input_size"], generator=torch.Generator().manual_seed(0))
    return torch.allclose(whole(images), classifier(features(whole, images)), rtol=1e-4, atol=1e-4)
