"""What a run measures of its loss terms while it trains, and that measuring changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlhub import train as loop
from tlhub.adapter import Adapter
from tlhub.checkpoint import Checkpoints
from tlhub.run import Run
from tlhub.step import Step
from tlhub.train import train
from tlhub.watch import Watch

from .tiny import make_run, state, train_run

DANN = {"use": "dann", "hidden": 8}
LONG = {"epochs": 3, "steps_per_epoch": 15}
"""Of these 45 steps, number 12 and 37 compare gradients, in the first epoch and the last."""


def with_adapter(adapter: Adapter, *, epochs: int = 1, steps: int = 3) -> Run:
    """A run of one adapter that is made here."""
    run = make_run({"use": "mmd"}, epochs=epochs, steps_per_epoch=steps)
    run.adapters[:] = [adapter]
    return run


class ByHand(Adapter):
    """Pulls the features' means together, and notes what the gradients on the model are in every step."""

    name = "by_hand"

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[float, float]] = []

    def penalty(self, step: Step) -> Tensor:
        term = (step.source.features.mean(0) - step.target.features.mean(0)).square().sum()
        task = F.cross_entropy(step.source.logits, torch.as_tensor(step.source.labels))
        pulling, learning = (self._flat(loss, step.model) for loss in (term, task))
        cosine = float(F.cosine_similarity(pulling, learning, dim=0))
        self.found.append((float(pulling.norm() / learning.norm()), cosine))
        return term

    def _flat(self, loss: Tensor, model: nn.Module) -> Tensor:
        every = list(model.parameters())
        found = torch.autograd.grad(loss, every, retain_graph=True, allow_unused=True)
        both = zip(found, every, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten().double() for g, p in both])


class Counting(Adapter):
    """Notes in which steps what it measures is computed."""

    name = "counting"

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[int] = []

    def penalty(self, step: Step) -> Tensor:
        def value() -> Tensor:
            assert not torch.is_grad_enabled()
            self.steps.append(step.number)
            return torch.tensor(float(step.number))

        step.measure("number", value)
        return step.target.features.square().mean()


def test_the_history_has_a_mean_of_what_was_measured_of_every_term(tmp_path: Path) -> None:
    first, second, third = (row["measures"] for row in train_run(make_run(DANN, {"use": "mmd"}, **LONG), tmp_path))
    assert first["mmd"].keys() == {"pull", "agreement"}
    assert first["dann"].keys() == {
        "pull",
        "agreement",
        "discriminator_accuracy",
        "discriminator_loss",
        "discriminator_norm",
    }
    assert "pull" not in second["dann"], "in no step of this epoch were gradients compared"
    assert third.keys() == first.keys()
    for row in (first, second, third):
        assert 0 <= row["dann"]["discriminator_accuracy"] <= 1
        assert row["dann"]["discriminator_loss"] == pytest.approx(math.log(2), abs=0.3)


def test_adapters_of_one_name_are_told_apart(tmp_path: Path) -> None:
    rows = train_run(make_run({"use": "mmd"}, {"use": "mmd", "strength": 5}, epochs=1, steps_per_epoch=15), tmp_path)
    measures = rows[0]["measures"]
    assert measures.keys() == {"mmd", "mmd#2"}
    assert measures["mmd#2"]["pull"] == pytest.approx(5 * measures["mmd"]["pull"], rel=1e-4)
    assert measures["mmd#2"]["agreement"] == pytest.approx(measures["mmd"]["agreement"], rel=1e-4)


def test_pull_and_agreement_are_of_the_gradients_on_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMPARED", 1)
    adapter = ByHand()
    (row,) = train_run(with_adapter(adapter), tmp_path)
    pulls, agreements = zip(*adapter.found, strict=True)
    assert len(pulls) == 3
    assert row["measures"]["by_hand"]["pull"] == pytest.approx(sum(pulls) / 3, rel=1e-4)
    assert row["measures"]["by_hand"]["agreement"] == pytest.approx(sum(agreements) / 3, rel=1e-4)


def test_reversal_counts_as_the_model_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "COMPARED", 1)
    pulls = []
    for strength in (0.5, 1.0):
        settings = {**DANN, "strength": strength, "schedule": "constant"}
        (row,) = train_run(make_run(settings, epochs=1, steps_per_epoch=1), tmp_path / str(strength))
        pulls.append(row["measures"]["dann"]["pull"])
    assert pulls[1] == pytest.approx(2 * pulls[0], rel=1e-4)


def test_one_step_of_five_is_measured_without_a_gradient(tmp_path: Path) -> None:
    adapter = Counting()
    rows = train_run(with_adapter(adapter, epochs=2, steps=10), tmp_path)
    assert adapter.steps == [2, 7, 12, 17]
    assert [row["measures"]["counting"]["number"] for row in rows] == [4.5, 14.5]


def test_measuring_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapters: list[dict[str, Any]] = [{"use": "cdan", "hidden": 8, "random_width": 8}, {"use": "mmd"}]
    measured, plain = make_run(*adapters, **LONG), make_run(*adapters, **LONG)
    assert any("measures" in row for row in train_run(measured, tmp_path / "measured"))
    monkeypatch.setattr(loop, "COMPARED", 10**9)
    monkeypatch.setattr(loop, "MEASURED", 10**9)
    assert not any("measures" in row for row in train_run(plain, tmp_path / "plain"))
    for one, other in ((measured.model, plain.model), *zip(measured.adapters, plain.adapters, strict=True)):
        weights = state(other)
        assert all(torch.equal(value, weights[name]) for name, value in state(one).items())


@pytest.mark.parametrize("last", [14, 20])
def test_a_run_that_was_interrupted_has_the_same_measures(tmp_path: Path, last: int) -> None:
    class Leaves(Watch):
        def step(self, done: int) -> None:
            if done == last:
                raise KeyboardInterrupt

    settings = {**LONG, "checkpoint_every": 4}  # the checkpoints lie within epochs, before and after what is measured
    whole = train_run(make_run(DANN, **settings), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(make_run(DANN, **settings), Checkpoints(tmp_path / "cut"), Leaves())
    resumed = train_run(make_run(DANN, **settings), tmp_path / "cut")
    assert [row["measures"] for row in resumed] == [row["measures"] for row in whole]
