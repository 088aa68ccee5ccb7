"""Honest measurement: scores with intervals, and whether a difference is more than chance."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tlhub.data import NO_LABEL, Domain
from tlhub.loader import ordered
from tlhub.model import Model, memory_order
from tlhub.ragged import padded
from tlhub.task import Task
from tlhub.validator import Outputs

Z95 = 1.959963984540054
"""The standard normal's 97.5 % quantile: half the width of a 95 % interval in standard errors."""


def outputs(
    model: Model,
    domain: Domain,
    device: torch.device,
    workers: int,
    known: Tensor | None = None,
    tell: Callable[[int], None] | None = None,
) -> Outputs:
    """What `model` says of all examples of a domain, in evaluation mode and full precision; kept on the CPU.

    `known` is what the backbone gives for them, where that was computed before. `tell` hears after every batch how many
    examples are done.
    """
    was_training = model.training
    model.eval()
    if known is not None:
        with torch.inference_mode():
            seen = model.see_features(known)
        model.train(was_training)
        return Outputs(seen.features.float().cpu(), seen.logits.float().cpu(), domain.labels)
    rows, features, logits = [], [], []
    preprocess = model.backbone.preprocess(train=False)
    with torch.inference_mode():
        for index, inputs in ordered(domain, model.backbone, preprocess, workers):
            seen = model.see(to_device(inputs, device))
            rows.append(index)
            features.append(seen.features.float().cpu())
            logits.append(seen.logits.float().cpu())
            if tell is not None:
                tell(sum(map(len, rows)))
    model.train(was_training)
    back = torch.cat(rows).argsort()
    return Outputs(torch.cat(features)[back], padded(logits)[back], domain.labels)


def side_by_side(parts: Sequence[Outputs]) -> Outputs | None:
    """The outputs of several domains as one, with labels where all have them; None of none."""
    if not parts:
        return None
    labels = [part.labels for part in parts if part.labels is not None]
    return Outputs(
        torch.cat([part.features for part in parts]),
        padded([part.logits for part in parts]),
        padded(labels, NO_LABEL) if len(labels) == len(parts) else None,
    )


def to_device(inputs: Any, device: torch.device) -> Any:
    """A collated batch on `device`; images in the order of the model's own convolutions, `lengths` stay on the CPU."""
    if isinstance(inputs, Tensor):
        if inputs.ndim == 4:
            return inputs.to(device, non_blocking=True, memory_format=memory_order(device))
        return inputs.to(device, non_blocking=True)
    return {name: value if name == "lengths" else to_device(value, device) for name, value in inputs.items()}


@dataclass(frozen=True)
class Score:
    """The mean of a score over examples, with its 95 % interval."""

    value: float
    low: float
    high: float
    examples: int

    def as_dict(self) -> dict[str, float]:
        """JSON-ready."""
        return asdict(self)


def interval(scores: Tensor) -> Score:
    """Mean and 95 % interval of per-example scores: Wilson's for right-or-wrong scores, else the normal one."""
    n = len(scores)
    mean = float(scores.double().mean())
    if _right_or_wrong(scores):
        centre = (mean + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
        half = Z95 / (1 + Z95**2 / n) * math.sqrt(mean * (1 - mean) / n + Z95**2 / (4 * n**2))
    else:
        centre, half = mean, Z95 * _standard_error(scores.double())
    return Score(mean, centre - half, centre + half, n)


Outcome = Literal["helped", "no evidence", "hurt"]


@dataclass(frozen=True)
class Comparison:
    """Adapted against baseline on the same examples: mean difference, its 95 % interval, and what that says.

    Above zero it says `no evidence` all the same where the doctor found a fault with which scores mean nothing.
    """

    difference: float
    low: float
    high: float
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    def sentence(self, metric: str, seeds: int = 1) -> str:
        """The outcome in plain words; of several seeds, how many there were."""
        points = 100 * self.difference
        spread = f"95 % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"
        spread += f", {seeds} seeds" if seeds > 1 else ""
        rose = f"{metric} rose by {points:.1f} points ({spread})"
        if self.outcome == "helped":
            return f"Adaptation helped: {rose}."
        if self.outcome == "hurt":
            return f"Adaptation hurt: {metric} fell by {-points:.1f} points ({spread}): negative transfer."
        if self.low > 0:
            return f"No evidence that adaptation helped: {rose}, but with a fault that makes scores mean little."
        return f"No evidence that adaptation changed {metric}: {points:+.1f} points ({spread})."


def compare(task: Task, baseline: Outputs, adapted: Outputs) -> Comparison:
    """Paired comparison over the examples of one evaluation; its chance is that of drawing other examples.

    The interval of right-or-wrong scores is that of Bonett & Price 2012 (doi:10.3102/1076998611411915): as if there
    were two more examples, one better and one worse than before. Without them it would cover far less than 95 % where
    few answers differ, and five better answers out of five would leave no doubt at all.
    """
    assert baseline.labels is not None
    assert adapted.labels is not None
    before = task.score(baseline.logits, baseline.labels).double()
    after = task.score(adapted.logits, adapted.labels).double()
    gain = after - before
    if _right_or_wrong(torch.cat([before, after])):
        more = torch.cat([gain, gain.new_tensor([1.0, -1.0])])
        centre, half = float(more.mean()), Z95 * float(more.std(correction=0)) / math.sqrt(len(more))
        low, high = max(-1.0, centre - half), min(1.0, centre + half)
    else:
        centre, half = float(gain.mean()), Z95 * _standard_error(gain)
        low, high = centre - half, centre + half
    return Comparison(float(gain.mean()), low, high, _outcome(low, high))


def over_seeds(comparisons: Sequence[Comparison]) -> Comparison:
    """The comparisons of several seeds, on the same examples, as one.

    Two things are left to chance: the seeds, with Student's interval for their mean, and the examples, whose interval
    is that of the single comparisons on the mean, since all seeds share them. The half-widths add up in squares.
    """
    gains = torch.tensor([each.difference for each in comparisons], dtype=torch.float64)
    of_examples = statistics.mean((each.high - each.low) / 2 for each in comparisons)
    of_seeds = 0.0
    if len(gains) > 1:
        from scipy import stats

        of_seeds = float(stats.t.ppf(0.975, len(gains) - 1)) * _standard_error(gains)
    mean, half = float(gains.mean()), math.hypot(of_examples, of_seeds)
    outcome = _outcome(mean - half, mean + half)
    if outcome == "helped" and any(each.low > 0 and each.outcome != "helped" for each in comparisons):
        outcome = "no evidence"  # the doctor found a fault
    return Comparison(mean, mean - half, mean + half, outcome)


def _outcome(low: float, high: float) -> Outcome:
    return "helped" if low > 0 else "hurt" if high < 0 else "no evidence"


def _right_or_wrong(scores: Tensor) -> bool:
    return bool(((scores == 0) | (scores == 1)).all())


def _standard_error(values: Tensor) -> float:
    """Of the mean; one value says nothing of it."""
    return float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
