"""Runs of any catalog, and single steps of them: what adapters see, without the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tlhub import manifest as manifests
from tlhub.adapter import Adapter
from tlhub.catalog import Catalog
from tlhub.run import Run, open_data
from tlhub.step import Step, View, rows_of
from tlhub.testing.toys import CLASSES


def run_of(content: Mapping[str, Any], catalog: Catalog) -> Run:
    """A run of a manifest, ready to be trained on the CPU."""
    loaded = manifests.from_dict(content, catalog=catalog)
    return Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))


def step_of(
    run: Run, rows: int | Sequence[int] = 6, progress: float = 0.5, number: int = 0, inputs: Any = None
) -> Step:
    """A step of the first rows of all domains, or of given joint inputs, in the mode that the model is in."""
    backbone = run.model.backbone
    counts = [rows] * len(run.domains) if isinstance(rows, int) else rows
    if inputs is None:
        preprocess = backbone.preprocess(train=False)
        pairs = zip(run.domains, counts, strict=True)
        inputs = backbone.collate([preprocess(domain.raw(row)) for domain, count in pairs for row in range(count)])
        if isinstance(inputs, Tensor) and inputs.is_floating_point():
            inputs = inputs.to(next(run.model.parameters()).dtype)
    seen = run.model.see(inputs)
    whole = View("", (), torch.arange(0), inputs, None, seen.features, seen.logits, seen.layers.__getitem__)
    views, first = [], 0
    for domain, count in zip(run.domains, counts, strict=True):
        labels = None if domain.labels is None else domain.labels[:count]
        view = part(whole, slice(first, first + count))
        views.append(replace(view, role=domain.role, domains=(domain,), indices=torch.arange(count), labels=labels))
        first += count
    return Step(views, progress, number, run.model)


def part(view: View, rows: slice) -> View:
    """Some rows of a view."""
    return View(
        role=view.role,
        domains=view.domains,
        indices=view.indices[rows],
        inputs=rows_of(view.inputs, rows),
        labels=None if view.labels is None else view.labels[rows],
        features=view.features[rows],
        logits=view.logits[rows],
        tapped=lambda name: view.tapped(name)[rows],
    )


def term_of_halves(adapter: Adapter, step: Step) -> float:
    """The mean of the adapter's terms for the two halves of a step, as `accumulate: 2` has it."""
    terms = []
    for half in (0, 1):
        middles = [len(view) // 2 for view in step.views]
        slices = [slice(half * middle, (half + 1) * middle) for middle in middles]
        views = [part(view, rows) for view, rows in zip(step.views, slices, strict=True)]
        terms.append(penalty(adapter, replace(step, views=views)).item())
    return sum(terms) / 2


def penalty(adapter: Adapter, step: Step) -> Tensor:
    """An adapter's term, which it has."""
    found = adapter.penalty(step)
    assert found is not None
    return found


def accuracy(run: Run, domain: str = "target") -> float:
    """On a domain of the toys, whose labels follow each other."""
    [found] = [each for each in run.domains if each.key == domain]
    said = run.outputs(found).logits.argmax(1)
    return float((said == torch.arange(len(found)) % len(CLASSES)).float().mean())
