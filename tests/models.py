"""Adapted models that are made in a moment: any tensors, and a record such as `tlhub adapt` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tlhub.checkpoint import sha256
from tlhub.lineage import Origin


def write_model(
    folder: Path,
    tensors: Mapping[str, np.ndarray[Any, Any]],
    *,
    name: str = "digits",
    lineage: Sequence[Origin] = (),
    adapters: Sequence[str] = ("dann",),
) -> Path:
    """Write a model with two files, whose record says that it classifies digits."""
    folder.mkdir(parents=True)
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "tiny"}))
    files = {file.name: sha256(file) for file in sorted(folder.iterdir())}
    row = {"domain": "evaluate", "value": 0.913, "low": 0.9, "high": 0.92, "examples": 100, "metrics": {}}
    record = {
        "format": 1,
        "name": name,
        "form": "tlhub",
        "exporter": None,
        "modality": "image",
        "backbone": {"use": "timm", "model": "resnet18", "pretrained": False},
        "neck": {"use": "identity", "features": 4},
        "head": {"use": "linear", "features": 4, "outputs": 2},
        "task": {"use": "classification"},
        "classes": ["cat", "dog"],
        "composed": {"parameters": 8, "trainable": 8, "classes": ["cat", "dog"]},
        "lineage": [origin.as_dict() for origin in lineage],
        "manifest": {
            "backbone": {"use": "timm", "model": "resnet18"},
            "source": [{"use": "digits", "labels": "all", "split": "train"}],
            "target": [{"use": "imagefolder", "path": "photos", "labels": "none"}],
            "adapters": [{"use": adapter} for adapter in adapters],
            "train": {"epochs": 1},
        },
        "data": {"source": {"fingerprint": "f" * 64, "examples": 100}},
        "versions": {"python": "3.12.0", "tlhub": "0.1.0"},
        "history": [],
        "files": files,
        "result": {
            "metric": "accuracy",
            "rows": [{"model": "source-only", **row, "value": 0.7}, {"model": "adapted", **row}],
            "comparison": None,
            "sentence": "Adaptation helped.",
        },
    }
    (folder / "tlhub.json").write_text(json.dumps(record, indent=2) + "\n")
    return folder
