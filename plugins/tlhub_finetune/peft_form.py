"""Low-rank layers of the peft library inside a backbone: found, merged, saved in peft's own form, and loaded."""

from __future__ import annotations

import copy
import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.backbone import Backbone
from tlhub.errors import ArtifactError, UserError
from tlhub.model import Model
from tlhub.run import Run

ADAPTER = "adapter_model.safetensors"
REST = "head.safetensors"
"""Neck, head, and whatever else of the backbone is not pretrained, by its name in the model."""

WEIGHTS = "model.safetensors"
"""The weights of a native form."""

PREFIX = "base_model.model."
"""What peft writes before names of the network's tensors."""

TASKS = {"ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
"""peft's names of tasks, by the end of the name of transformers' class."""


def network(backbone: Backbone) -> Any:
    """The library's own network in a backbone, by whose names peft goes; the backbone itself where there is none."""
    return getattr(backbone, "net", backbone)


def fresh(net: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters of transformers' classifiers outside the pretrained encoder; peft trains and saves them whole too."""
    encoder: nn.Module = getattr(net, "base_model", net)
    known = {id(parameter) for parameter in encoder.parameters()}
    return {name: parameter for name, parameter in net.named_parameters() if id(parameter) not in known}


def low_rank_layers(backbone: Backbone) -> dict[str, Any]:
    """Layers with a low-rank change, by their names in the network."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: layer for name, layer in network(backbone).named_modules() if isinstance(layer, BaseTunerLayer)}


def merge(backbone: Backbone) -> None:
    """Add the changes to the weights, and put the plain layers back."""
    net = network(backbone)
    for name, layer in low_rank_layers(backbone).items():
        layer.merge()
        net.set_submodule(name, layer.get_base_layer())
    del net.peft_config


def refuse_unpinned(run: Run) -> None:
    """Raise UserError where the settings do not give the same weights again: peft's form leaves those out."""
    again = type(run.named)(**run.named.settings).resolved().state_dict()
    pretrained = _pretrained(run.model.backbone)
    others = [name for name, value in pretrained.items() if not torch.equal(value, again[name])]
    if others:
        raise UserError(
            f"`lora` cannot save an adapter alone: {len(others)} of {len(pretrained)} tensors of the backbone, such as "
            f"`{others[0]}`, are not those that its settings name, so that nobody has the weights it belongs to",
            "write `save: merged`, or start from pretrained weights, which no adapter before replaces, as `lwf` does",
        )


def export(run: Run, folder: Path) -> str:
    """Write peft's `adapter_config.json` and `adapter_model.safetensors`, and the rest of the model beside them.

    Where the backbone has a native form, peft's file has its classifier too, so that the native network is whole with
    it. What else the native form comes with, such as a tokenizer, is there as well.
    """
    backbone = run.model.backbone
    net = network(backbone)
    prefix = "" if net is backbone else "net."
    low_rank = {name: value for name, value in backbone.state_dict().items() if ".lora_" in name}
    pretrained = _pretrained(backbone)
    plain = copy.deepcopy(run.model)
    merge(plain.backbone)
    classifier = _classifier(run, plain, folder)
    modules = {_module(name, fresh(net)) for name in classifier}
    ends = (task for end, task in TASKS.items() if type(net).__name__.endswith(end))

    config = copy.copy(net.peft_config["default"])
    config.base_model_name_or_path = run.named.settings.get("model")
    config.revision = run.named.settings.get("revision")
    config.modules_to_save = sorted(modules) or None
    config.task_type = next(ends, None) if classifier else None
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {name.removeprefix(prefix).replace(".default.", "."): value for name, value in low_rank.items()}
    _save({f"{PREFIX}{name}": value for name, value in {**tensors, **classifier}.items()}, folder / ADAPTER)
    rest = {name: v for name, v in plain.state_dict().items() if name.removeprefix("backbone.") not in pretrained}
    _save(rest, folder / REST, pretrained=_digest(pretrained))
    return "peft"


def load(model: Model, folder: Path) -> None:
    """Fill `model`, whose backbone is the pretrained one, from what `export` wrote; the changes are merged.

    Raises ArtifactError where the backbone's weights are not those that the adapter was trained on.
    """
    from peft import LoraConfig, inject_adapter_in_model
    from safetensors import safe_open
    from safetensors.torch import load_file

    config: Any = LoraConfig.from_pretrained(str(folder))
    with safe_open(folder / REST, "pt") as file:
        digest = file.metadata()["pretrained"]
    if _digest(_pretrained(model.backbone)) != digest:
        raise ArtifactError(
            f"the weights of `{config.base_model_name_or_path}` are not those that {folder} was trained on",
            "fetch them in the version of then, or adapt again",
        )
    config.modules_to_save = None
    net = network(model.backbone)
    inject_adapter_in_model(config, net)
    tensors = {name.removeprefix(PREFIX): value for name, value in load_file(folder / ADAPTER).items()}
    low_rank = {name: value for name, value in tensors.items() if ".lora_" in name}
    net.load_state_dict({f"{n.removesuffix('weight')}default.weight": v for n, v in low_rank.items()}, strict=False)
    merge(model.backbone)
    model.load_state_dict(load_file(folder / REST), strict=False)


def _pretrained(backbone: Backbone) -> dict[str, Tensor]:
    """The parameters that come with the pretrained network, by the names they have without low-rank layers."""
    own = {id(parameter) for parameter in fresh(network(backbone)).values()}
    return {
        name.replace(".base_layer.", "."): parameter.detach()
        for name, parameter in backbone.named_parameters()
        if id(parameter) not in own and ".lora_" not in name
    }


def _classifier(run: Run, plain: Model, folder: Path) -> dict[str, Tensor]:
    """What the native form of a model has beyond the pretrained network, by name; empty where it has no native form.

    Its other files, but for the configuration, are moved to `folder`.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as place:
        native = Path(place)
        plain.backbone.export(plain, run.task, run.classes, native)
        for file in native.iterdir():
            if file.name not in ("config.json", WEIGHTS):
                shutil.move(file, folder / file.name)
        whole = load_file(native / WEIGHTS) if (native / WEIGHTS).exists() else {}
    net = network(plain.backbone)
    if not net.state_dict().keys() <= whole.keys():
        return {}
    known = net.state_dict().keys() - fresh(net).keys()
    return {name: value for name, value in whole.items() if name not in known}


def _module(name: str, fresh: Mapping[str, Any]) -> str:
    """The module that peft is to save whole for a classifier's tensor: the outermost with nothing pretrained."""
    first = name.partition(".")[0]
    return first if any(each.startswith(f"{first}.") for each in fresh) else name.rpartition(".")[0]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _save(tensors: Mapping[str, Tensor], file: Path, **facts: str) -> None:
    from safetensors.torch import save_file

    copies = {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    save_file(copies, file, metadata={"format": "pt", **facts})
