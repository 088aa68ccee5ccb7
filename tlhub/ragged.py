"""Examples of different lengths, such as tokenised texts, held without padding until they meet in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Ragged:
    """Examples of different lengths, one behind the other.

    Attributes:
        values: `[all tokens, fields]`, whole numbers.
        lengths: `[examples]`, how many tokens each example has; always on the CPU, so that asking for the longest of a
            batch never waits for a GPU.
        remark: what the user should know of how they were made, such as that texts were cut.
    """

    values: Tensor
    lengths: Tensor
    remark: str | None = None

    @staticmethod
    def of(examples: Sequence[Tensor]) -> Ragged:
        """From one tensor `[tokens, fields]` an example."""
        return Ragged(torch.cat(list(examples)).int(), torch.tensor([len(example) for example in examples]))

    @staticmethod
    def joined(parts: Sequence[Ragged]) -> Ragged:
        """The examples of several, in order."""
        return Ragged(torch.cat([part.values for part in parts]), torch.cat([part.lengths for part in parts]))

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def starts(self) -> Tensor:
        """`[examples]`: where in `values` each example begins."""
        return self.lengths.cumsum(0) - self.lengths

    def to(self, device: torch.device) -> Ragged:
        """The same with `values` on a device."""
        return replace(self, values=self.values.to(device))

    def batch(self, rows: Tensor) -> dict[str, Tensor]:
        """`tokens` `[rows, longest, fields]`, padded with zeros, and `lengths` `[rows]`, which stay on the CPU."""
        lengths = self.lengths[rows]
        device = self.values.device
        offsets = torch.arange(int(lengths.max()), device=device)
        inside = offsets < lengths.to(device, non_blocking=True)[:, None]
        places = (self.starts[rows].to(device, non_blocking=True)[:, None] + offsets) * inside
        return {"tokens": self.values[places].long() * inside[..., None], "lengths": lengths}


def padded(parts: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Rows of several tensors as one; rows `[words, ...]` are filled up to the most words that one of them has."""
    if parts[0].ndim == 1:
        return torch.cat(list(parts))
    words = max(part.shape[1] for part in parts)
    if all(part.shape[1] == words for part in parts):
        return torch.cat(list(parts))
    beyond = [0, 0] * (parts[0].ndim - 2)
    return torch.cat([F.pad(part, [*beyond, 0, words - part.shape[1]], value=fill) for part in parts])
