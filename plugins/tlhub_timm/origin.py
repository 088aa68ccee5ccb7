"""Where a network's weights came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlhub.checkpoint import sha256
from tlhub.lineage import Origin

FILES = ("model.safetensors", "open_clip_model.safetensors", "config.json", "pytorch_model.bin")
"""What timm may have fetched of a model on the Hub."""


def of_network(net: Any, model: str) -> Origin:
    """The model whose pretrained weights timm filled `net` with, at the commit that is in the Hub's cache."""
    source, _, place = model.partition(":")
    if source.replace("_", "-") == "local-dir":
        return of_file(str(Path(place) / "model.safetensors"), Path(place).resolve().name)
    repo, _, revision = (net.pretrained_cfg.get("hf_hub_id") or "").partition("@")
    if not repo:
        return Origin("backbone", model, None)
    return Origin("backbone", repo, _commit(repo, revision or "main"))


def of_file(weights: str, name: str | None = None) -> Origin:
    """A file of weights by its name, or another."""
    file = Path(weights).expanduser()
    return Origin("backbone", name or file.name, f"sha256:{sha256(file)}" if file.is_file() else None)


def _commit(repo: str, revision: str) -> str | None:
    from huggingface_hub import try_to_load_from_cache

    found = (try_to_load_from_cache(repo, name, revision=revision) for name in FILES)
    return next((Path(file).parent.name for file in found if isinstance(file, str)), None)
