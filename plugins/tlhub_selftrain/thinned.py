"""Texts with some of their tokens left out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def thinned(inputs: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """A batch of texts, each without a share of its tokens, chosen at random; the first and the last always stay.

    Exactly the share of the inner tokens goes, rounded, so that the lengths are known without waiting for the device.

    Args:
        inputs: `tokens` `[rows, longest, fields]` and `lengths` `[rows]`, as `Ragged.batch` gives them.
    """
    tokens, lengths = inputs["tokens"], inputs["lengths"]
    kept = lengths - ((lengths - 2).clamp(min=0) * share).round().long()
    there, left = (count.to(tokens.device, non_blocking=True)[:, None] for count in (lengths, kept))
    places = torch.arange(tokens.shape[1], device=tokens.device)
    scores = torch.rand(tokens.shape[:2], device=tokens.device)
    scores = torch.where((places == 0) | (places == there - 1), -1, scores)
    scores = torch.where(places < there, scores, 2)
    stays = scores.argsort(1).argsort(1) < left
    order = torch.sort((~stays).int(), dim=1, stable=True).indices[:, : int(kept.max())]
    found = tokens.gather(1, order[..., None].expand(-1, -1, tokens.shape[2]))
    return {"tokens": found * (places[: order.shape[1]] < left)[..., None], "lengths": kept}
