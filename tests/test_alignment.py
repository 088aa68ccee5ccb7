"""Alignment seen through real training: terms, gradients, layers, and how adapters compose."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.steps import penalty, step_of, term_of_halves
from tests.tiny import make_run, state, train_run
from tlhub.errors import UserError
from tlhub.train import refuse_inexact
from tlhub_alignment.dann import DANN
from tlhub_alignment.gaussian import multi_gaussian_mmd2


class TestMMD:
    def test_the_term_is_the_formula_summed_over_layers(self) -> None:
        run = make_run({"use": "mmd", "layers": ["features", "logits", "backbone", "conv2"], "strength": 3.0})
        run.model.eval()
        step = step_of(run)
        layers = ("features", "logits", "backbone", "conv2")
        pairs = [(step.source.layer(name), step.target.layer(name)) for name in layers]
        expected = 3 * sum(multi_gaussian_mmd2(x, y, unbiased=True).item() for x, y in pairs)
        assert [tuple(x.shape) for x, _ in pairs] == [(6, 6), (6, 2), (6, 6), (6, 5)]
        assert penalty(run.adapters[0], step).item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize(
        ("settings", "arguments"),
        [
            ({"kernels": 1, "bandwidth": 0.5}, (1, 0.5, True)),
            ({"kernels": 3, "estimator": "biased"}, (3, None, False)),
            ({"bandwidth": 2}, (5, 2.0, True)),
        ],
    )
    def test_settings(self, settings: dict[str, Any], arguments: tuple[Any, ...]) -> None:
        run = make_run({"use": "mmd", **settings})
        step = step_of(run, rows=(6, 4))
        expected = multi_gaussian_mmd2(step.source.features, step.target.features, *arguments)
        assert penalty(run.adapters[0], step).item() == pytest.approx(expected.item(), rel=1e-6)

    def test_warm_up(self) -> None:
        run = make_run({"use": "mmd", "schedule": "dann"})
        assert penalty(run.adapters[0], step_of(run, progress=0)).item() == 0
        early, late = (penalty(run.adapters[0], step_of(run, progress=progress)).item() for progress in (0.1, 0.9999))
        assert early / late == pytest.approx(0.46211715726, rel=1e-3)

    @pytest.mark.parametrize("layer", ["features", "conv1"])
    def test_training_brings_the_domains_together(self, layer: str, tmp_path: Path) -> None:
        """Against the same training without it: less of the difference that the term measures."""
        settings: dict[str, Any] = {"epochs": 4, "steps_per_epoch": 20, "lr": 0.01, "backbone_lr": 1.0}
        found = []
        for strength in (1.0, 1e-9):
            run = make_run({"use": "mmd", "layers": [layer], "strength": strength}, **settings)
            train_run(run, tmp_path / str(strength))
            step = step_of(run, rows=(40, 40))
            found.append(multi_gaussian_mmd2(step.source.layer(layer), step.target.layer(layer), unbiased=True).item())
        assert found[0] < found[1] / 2

    def test_an_unknown_layer_is_told_with_those_there_are(self) -> None:
        with pytest.raises(UserError, match=r"no layer `conv9`(.|\n)*conv2"):
            make_run({"use": "mmd", "layers": ["conv9"]})

    def test_a_batch_of_one(self) -> None:
        with pytest.raises(UserError, match=r"one example(.|\n)*biased"):
            make_run({"use": "mmd"}, batch=1)
        make_run({"use": "mmd", "estimator": "biased"}, batch=1)

    def test_gradients_are_not_accumulated_over_parts_of_a_batch(self) -> None:
        with pytest.raises(UserError, match="`mmd`"):
            refuse_inexact(make_run({"use": "mmd"}, accumulate=2))


class TestDANN:
    @pytest.mark.parametrize(("layer", "width"), [("features", 4), ("backbone", 6), ("logits", 2)])
    def test_the_discriminator_fits_its_layer(self, layer: str, width: int, tmp_path: Path) -> None:
        run = make_run({"use": "dann", "layers": [layer], "hidden": 8}, {"use": "head_swap", "bottleneck": 4})
        dann = run.adapters[0]
        assert isinstance(dann, DANN)
        weights = [tuple(p.shape) for p in dann.discriminator.parameters() if p.ndim == 2]
        assert weights == [(8, width), (8, 8), (1, 8)]
        before = state(dann)
        train_run(run, tmp_path)
        assert all(not torch.equal(value, before[name]) for name, value in dann.state_dict().items())

    def test_a_fresh_discriminator_knows_next_to_nothing(self) -> None:
        run = make_run({"use": "dann"})
        assert penalty(run.adapters[0], step_of(run)).item() == pytest.approx(math.log(2), abs=0.05)

    def test_the_reversed_gradient_follows_progress_and_the_discriminators_does_not(self) -> None:
        run = make_run({"use": "dann", "hidden": 8, "strength": 0.5})
        dann = run.adapters[0]
        assert isinstance(dann, DANN)
        parameters = dict(run.model.named_parameters()) | dict(dann.named_parameters())
        watched = [parameters["backbone.fc.weight"], parameters["discriminator.0.weight"]]
        run.model.eval()
        found = [
            torch.autograd.grad(penalty(dann, step_of(run, progress=progress)), watched) for progress in (0.0, 0.1, 0.5)
        ]
        assert not found[0][0].any()
        torch.testing.assert_close(found[1][0] / 0.4621171572600098, found[2][0] / 0.9866142981514305)
        torch.testing.assert_close(found[0][1], found[2][1])
        plain = DANN(hidden=8, strength=1, schedule="constant")
        plain.discriminator = dann.discriminator
        whole = torch.autograd.grad(penalty(plain, step_of(run)), watched[0])[0]
        torch.testing.assert_close(found[2][0], 0.5 * 0.9866142981514305 * whole)

    def test_the_features_deceive_it(self, tmp_path: Path) -> None:
        """Trained with a reversed gradient, a discriminator stays near ln 2; without, it tells the domains apart."""
        settings: dict[str, Any] = {"epochs": 6, "steps_per_epoch": 30, "lr": 0.01, "backbone_lr": 1.0}
        losses = []
        for strength in (1.0, 1e-9):
            run = make_run({"use": "dann", "hidden": 16, "strength": strength}, **settings)
            losses.append(train_run(run, tmp_path / str(strength))[-1]["loss"]["dann"])
        assert losses[0] > 0.5
        assert losses[1] < losses[0] / 2

    def test_accumulated_parts_give_the_whole_batchs_gradient(self) -> None:
        run = make_run({"use": "dann", "hidden": 8})
        run.model.eval()
        dann, step = run.adapters[0], step_of(run, rows=(8, 8))
        assert term_of_halves(dann, step) == pytest.approx(penalty(dann, step).item(), rel=1e-5)
        assert dann.additive

    def test_with_batch_norm_it_is_not_accumulated(self) -> None:
        run = make_run({"use": "dann", "batch_norm": True}, accumulate=2)
        with pytest.raises(UserError, match="`dann`"):
            refuse_inexact(run)


ADAPTERS: list[dict[str, Any]] = [
    {"use": "head_swap", "bottleneck": 4},
    {"use": "partial_freeze", "stages": 2},
    {"use": "mmd", "layers": ["features", "conv2"]},
    {"use": "dann", "hidden": 8},
]


def test_all_in_one_manifest_in_any_order(tmp_path: Path) -> None:
    """Each logs its term, and what is frozen stays bit-equal."""
    for number, order in enumerate(itertools.permutations(ADAPTERS)):
        run = make_run(*order, epochs=1, optimizer="sgd", weight_decay=0.1)
        before = state(run.model)
        [row] = train_run(run, tmp_path / str(number))
        assert all(row["loss"][name] != 0 for name in ("task", "mmd", "dann"))
        after = state(run.model)
        moved = {name for name in before if "backbone." in name and not torch.equal(after[name], before[name])}
        assert moved - {"backbone.fc.bias"} == {"backbone.fc.weight"}, "the neck's batch norm takes the bias out again"
