"""Fine-tuning: a fresh head, and which parts of the network learn when, seen through real training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import make_run, state, train_run
from tlhub.checkpoint import Checkpoints
from tlhub.errors import SettingError, UserError
from tlhub.run import Run
from tlhub.train import train
from tlhub.watch import Watch
from tlhub_finetune.bottleneck import Bottleneck
from tlhub_finetune.partial_freeze import PartialFreeze

SGD = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 0.1, "lr": 0.05, "backbone_lr": 1.0}
"""Whatever may move a parameter without a gradient does so."""


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The modules of which a parameter or a statistic is not bit-equal."""
    return {name.rpartition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}


def trained(run: Run, folder: Path) -> set[str]:
    """What training changes in the model."""
    before = state(run.model)
    train_run(run, folder)
    return changed(before, state(run.model))


CONV1, CONV2 = {"backbone.conv1", "backbone.bn1"}, {"backbone.conv2", "backbone.bn2"}
FC, HEAD = {"backbone.fc"}, {"head.linear"}


class TestHeadSwap:
    def test_a_fresh_head_reads_the_backbone(self) -> None:
        run, plain = make_run({"use": "head_swap"}), make_run()
        assert run.model.neck.spec == {"use": "identity", "features": 6}
        assert run.model.head.spec == {"use": "linear", "features": 6, "outputs": 2}
        assert not torch.equal(run.model.head.linear.weight, plain.model.head.linear.weight)  # type: ignore[union-attr, arg-type]

    @pytest.mark.parametrize(
        ("settings", "kinds"),
        [
            ({}, [nn.Linear, nn.BatchNorm1d, nn.ReLU]),
            ({"normalise": "layer", "dropout": 0.5}, [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Dropout]),
            ({"normalise": "none"}, [nn.Linear, nn.ReLU]),
        ],
    )
    def test_a_bottleneck_before_the_head(self, settings: dict[str, Any], kinds: list[type], tmp_path: Path) -> None:
        run = make_run({"use": "head_swap", "bottleneck": 4, **settings})
        neck = run.model.neck
        assert isinstance(neck, Bottleneck)
        assert [type(layer) for layer in neck.layers] == kinds
        assert (neck.width, run.model.head.spec["features"]) == (4, 4)
        assert {"neck.layers.0", *HEAD} < trained(run, tmp_path)
        rebuilt = run.catalog.create("heads", "bottleneck", neck.settings)
        rebuilt.load_state_dict(neck.state_dict())

    def test_the_same_seed_gives_the_same_head(self) -> None:
        first, second = (make_run({"use": "head_swap", "bottleneck": 4}, seed=3) for _ in range(2))
        assert not changed(state(first.model), state(second.model))

    def test_dropout_without_a_bottleneck_is_refused(self) -> None:
        with pytest.raises(UserError, match="dropout"):
            make_run({"use": "head_swap", "dropout": 0.5})


class TestPartialFreeze:
    @pytest.mark.parametrize(
        ("settings", "learns"),
        [
            ({"stages": 1}, CONV2 | FC | HEAD),
            ({"stages": 2}, FC | HEAD),
            ({"stages": "all"}, HEAD),
            ({"names": ["conv1.*", "bn1.*"]}, CONV2 | FC | HEAD),
            ({"names": ["backbone.conv2.weight", "*fc*"]}, CONV1 | {"backbone.bn2"} | HEAD),
            ({"names": ["head.*"]}, CONV1 | CONV2 | FC),
        ],
    )
    def test_what_is_frozen_stays_bit_equal(self, settings: dict[str, Any], learns: set[str], tmp_path: Path) -> None:
        """Parameters and running statistics, in spite of weight decay and momentum; and all else learns."""
        run = make_run({"use": "partial_freeze", **settings}, **SGD)
        assert trained(run, tmp_path) == learns

    @pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
    def test_beside_an_alignment_and_a_new_head(self, optimizer: str, tmp_path: Path) -> None:
        freeze: dict[str, Any] = {"use": "partial_freeze", "stages": 2}
        others: list[dict[str, Any]] = [{"use": "head_swap", "bottleneck": 4}, {"use": "mmd"}, {"use": "dann"}]
        run = make_run(freeze, *others, **{**SGD, "optimizer": optimizer})
        assert trained(run, tmp_path) == FC | HEAD | {"neck.layers.0", "neck.layers.1"}

    def test_norms_may_go_on_learning(self, tmp_path: Path) -> None:
        run = make_run({"use": "partial_freeze", "stages": "all", "train_norms": True}, **SGD)
        assert trained(run, tmp_path) == {"backbone.bn1", "backbone.bn2"} | HEAD

    def test_frozen_norms_stay_in_evaluation_mode_whoever_calls_train(self) -> None:
        run = make_run({"use": "partial_freeze", "stages": 1})
        run.model.train()
        training = {name: module.training for name, module in run.model.named_modules()}
        assert not training["backbone.bn1"]
        assert training["backbone.bn2"]

    @pytest.mark.parametrize("settings", [{}, {"stages": 1, "names": ["conv1.*"]}])
    def test_either_stages_or_names(self, settings: dict[str, Any]) -> None:
        with pytest.raises(SettingError, match="either `stages` or `names`"):
            PartialFreeze(**settings)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"stages": 4}, "4 stages; `tinynet` has 3"),
            ({"names": ["conv1.*", "layer9.*"]}, "`layer9.*`(.|\n)*backbone.conv1.weight"),
            ({"names": ["*"]}, "nothing of the model to train"),
        ],
    )
    def test_what_cannot_be_frozen_is_told(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            make_run({"use": "partial_freeze", **settings})


class Diary(Watch):
    """Notes at the end of every epoch what it changed."""

    def __init__(self, run: Run) -> None:
        self.run, self.last, self.changes = run, state(run.model), list[set[str]]()

    def epoch(self, row: Any) -> None:
        now = state(self.run.model)
        self.changes.append(changed(self.last, now))
        self.last = now


class TestGradualUnfreeze:
    def diary(self, run: Run, folder: Path) -> list[set[str]]:
        from tlhub.checkpoint import Checkpoints
        from tlhub.train import train

        watch = Diary(run)
        train(run, Checkpoints(folder), watch)
        return watch.changes

    def test_head_first_then_a_stage_an_epoch_from_the_output(self, tmp_path: Path) -> None:
        run = make_run({"use": "gradual_unfreeze"}, epochs=5, **SGD)
        everything = HEAD | FC | CONV2 | CONV1
        assert self.diary(run, tmp_path) == [HEAD, HEAD | FC, HEAD | FC | CONV2, everything, everything]

    def test_every_other_epoch(self, tmp_path: Path) -> None:
        run = make_run({"use": "gradual_unfreeze", "every": 2}, epochs=3, **SGD)
        assert self.diary(run, tmp_path) == [HEAD, HEAD, HEAD | FC]

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_is_frozen_for_good_stays_frozen(self, order: int, tmp_path: Path) -> None:
        both: list[dict[str, Any]] = [{"use": "gradual_unfreeze"}, {"use": "partial_freeze", "stages": 2}]
        run = make_run(*both[::order], epochs=4, **SGD)
        assert self.diary(run, tmp_path) == [HEAD, *[HEAD | FC] * 3]

    @pytest.mark.parametrize("stop", [1, 4, 6, 7])
    def test_a_resumed_run_is_bit_equal(self, stop: int, tmp_path: Path) -> None:
        """Stopped inside an epoch, and at the border of two."""

        class KilledError(Exception):
            pass

        def run() -> Run:
            adapters: list[dict[str, Any]] = [{"use": "gradual_unfreeze"}, {"use": "partial_freeze", "stages": 1}]
            return make_run(*adapters, epochs=4, checkpoint_every=1, **SGD)

        class Killer(Watch):
            def step(self, done: int) -> None:
                if done == stop:
                    raise KilledError

        whole, broken, resumed = run(), run(), run()
        train_run(whole, tmp_path / "whole")
        with pytest.raises(KilledError):
            train(broken, Checkpoints(tmp_path / "broken"), Killer())
        train_run(resumed, tmp_path / "broken")
        assert not changed(state(whole.model), state(resumed.model))
