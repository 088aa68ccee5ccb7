"""Whether two folders hold the same model, as its answers tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlhub.artifact import Adapted, load
from tlhub.catalog import Catalog

TOLERANCE = 1e-5

_TEXTS = ("good", "the service was slow, but friendly enough", "Nothing of this was expected in 1984: avoid it!")


def differences(one: Path, other: Path) -> list[str]:
    """What differs: nothing, or the answers to made-up inputs; where a model cannot be asked those, its weights."""
    import torch

    catalog = Catalog.installed()
    first, second = load(one, "cpu", catalog), load(other, "cpu", catalog)
    if first.classes != second.classes:
        return ["its classes"]
    try:
        asked = probes(first)
        answers = first.logits(asked)
    except Exception:  # some plugin's model, whose inputs are not what its modality is elsewhere
        states = first.model.state_dict(), second.model.state_dict()
        return [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
    close = torch.allclose(answers, second.logits(asked), rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return [] if close else ["its answers"]


def probes(adapted: Adapted) -> Sequence[Any]:
    """A few inputs of the kind that a model reads, always the same."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    if adapted.record["modality"] == "image":
        return [Image.fromarray(random.integers(0, 256, (96, 128, 3), dtype=np.uint8)) for _ in range(3)]
    if adapted.record["modality"] == "text":
        return [text.split() for text in _TEXTS] if adapted.task.per_word else _TEXTS
    return list(random.normal(size=(3, adapted.model.backbone.width)).astype(np.float32))
