"""The epoch that the final test's labels would choose: nobody can select it, and it says what the choice cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.data import Domain
from tlhub.measure import outputs, side_by_side
from tlhub.run import Run


@dataclass(frozen=True)
class Oracle:
    """The best epoch on the very examples that are scored, counted from 1, and the score of every epoch."""

    epoch: int
    value: float
    each: list[float]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def keep(model: nn.Module, folder: Path, epoch: int) -> None:
    """Keep what the model is after an epoch."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    save_file(tensors, folder / f"{epoch:06d}.safetensors")


def oracle(run: Run, folder: Path, domains: Sequence[Domain]) -> Oracle | None:
    """Score the epochs kept in `folder` on labelled domains, now that training is over; changes the run's model.

    None where nothing was kept, or where an adapter gave the model another structure at the end.
    """
    from safetensors.torch import load_file

    run.model.to(run.device)
    found = []
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        there = run.model.state_dict()
        if {name: value.shape for name, value in tensors.items()} != {name: v.shape for name, v in there.items()}:
            return None
        run.model.load_state_dict(tensors)
        seen = side_by_side([outputs(run.model, domain, run.device, run.workers) for domain in domains])
        assert seen is not None
        assert seen.labels is not None
        found.append(float(run.task.score(seen.logits, seen.labels).double().mean()))
    return Oracle(found.index(max(found)) + 1, max(found), found) if found else None
