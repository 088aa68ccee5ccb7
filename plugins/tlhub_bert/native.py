"""A model as a folder: in transformers' own form where there is one, and always with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlhub.errors import ArtifactError
from tlhub.model import Model
from tlhub.task import Task
from tlhub_bert.encoder import bare
from tlhub_bert.tokenizer import Source, load as load_tokenizer

PROBLEMS = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
"""What transformers calls a task of whole texts: its pipelines turn logits into scores by that."""


def export(
    net: Any,
    classifier: str | None,
    pooling: str,
    model: Model,
    task: Task,
    classes: Sequence[str] | None,
    folder: Path,
) -> str:
    """Write `config.json` and `model.safetensors` as transformers has them; the latter alone where it has no such form.

    Returns the name of the form. `classifier` is the name of the linear layer that the head stands in for.
    """
    config = type(net.config).from_dict(net.config.to_dict())
    if classifier is not None and model.neck.name == "identity" and model.head.name == "linear":
        linear: Any = model.head.linear
        config.architectures = [type(net).__name__]
        config.problem_type = PROBLEMS.get(task.name)
        config.num_labels = linear.out_features
        if classes is not None:
            config.id2label = dict(enumerate(classes))
            config.label2id = {name: number for number, name in enumerate(classes)}
        tensors = {**net.state_dict(), f"{classifier}.weight": linear.weight, f"{classifier}.bias": linear.bias}
        if _shapes(tensors) == _shapes(bare(config, pooling).state_dict()):  # else adapters changed the network
            _write(tensors, folder)
            config.save_pretrained(folder)
            return "transformers"
    _write(model.state_dict(), folder)
    return "tlhub-bert"


def export_tokenizer(source: Source, max_length: int, inputs: Sequence[str], folder: Path) -> None:
    """Write the tokenizer, for texts of `max_length` tokens and a network that takes these inputs."""
    tokenizer = load_tokenizer(source)
    tokenizer.model_max_length = max_length
    tokenizer.init_kwargs["model_input_names"] = list(inputs)
    tokenizer.save_pretrained(folder)


def load(net: Any, model: Model, folder: Path) -> None:
    """Fill `model`, around `net`, from what `export` wrote. Raises ArtifactError where that does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    try:
        tensors = load_file(file)
        if (folder / "config.json").is_file():
            own = net.state_dict().keys()
            linear: Any = model.head.linear
            net.load_state_dict({key: value for key, value in tensors.items() if key in own})
            linear.load_state_dict({key.rpartition(".")[2]: value for key, value in tensors.items() if key not in own})
        else:
            model.load_state_dict(tensors)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ArtifactError(
            f"`{file}` does not hold this model: {error}", "the folder may be incomplete; fetch it again"
        ) from error


def _write(tensors: Mapping[str, Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # copies, because safetensors refuses tensors that share memory, as tied ones do
    copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in tensors.items()}
