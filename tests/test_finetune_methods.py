"""Methods of fine-tuning, against their papers' formulas written anew, and seen through real training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from tests.steps import run_of, step_of
from tests.tiny import make_run, state, train_run
from tlhub.adapter import Adapter
from tlhub.checkpoint import Checkpoints
from tlhub.errors import TrainingError, UserError
from tlhub.measure import outputs
from tlhub.run import Run
from tlhub.step import Step
from tlhub.testing import AdapterContract, toy_catalog, toy_manifest
from tlhub.train import make_optimizer, train
from tlhub.watch import Watch
from tlhub_finetune.adabn import AdaBN
from tlhub_finetune.attention import attention, channel_weights, without
from tlhub_finetune.bitfit import BitFit
from tlhub_finetune.bss import BSS, smallest_squares
from tlhub_finetune.delta import Delta, weighed
from tlhub_finetune.l2_sp import L2SP, l2_sp
from tlhub_finetune.layer_decay import LayerDecay
from tlhub_finetune.lp_ft import LinearProbeThenFinetune
from tlhub_finetune.statistics import moments

Array = npt.NDArray[np.float64]
Modality = Literal["image", "text"]


def exactly(value: Any) -> Any:
    """Equal to 10 digits."""
    return pytest.approx(value, rel=1e-10, abs=1e-14)


def slopes(function: Callable[[Array], float], point: Array, width: float = 1e-6) -> Array:
    """The gradient by central differences."""
    found = np.zeros_like(point)
    for place in np.ndindex(*point.shape):
        step = np.zeros_like(point)
        step[place] = width
        found[place] = (function(point + step) - function(point - step)) / (2 * width)
    return found


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def compose(*adapters: dict[str, Any], modality: Modality = "image", more: Any = (), **changes: Any) -> Run:
    """A run of these adapters on the toys; `changes` are those of the manifest, `more` further adapters' classes."""
    settings = changes.pop("train", {})
    return run_of({**toy_manifest(adapters, modality, **settings), **changes}, toy_catalog(adapters=list(more)))


def look(run: Run, rows: int = 6) -> Step:
    """A step of every domain's first examples, in evaluation mode."""
    run.model.eval()
    return step_of(run, rows)


def learning(run: Run) -> set[str]:
    return {name for name, parameter in run.model.named_parameters() if parameter.requires_grad}


class Diary(Watch):
    """Which entries of the model's state every epoch changed."""

    def __init__(self, run: Run) -> None:
        self.run, self.last, self.changes = run, state(run.model), list[set[str]]()

    def epoch(self, row: Any) -> None:
        now = state(self.run.model)
        self.changes.append({name for name, value in now.items() if not torch.equal(value, self.last[name])})
        self.last = now


def diary(run: Run, folder: Path) -> list[set[str]]:
    watch = Diary(run)
    train(run, Checkpoints(folder), watch)
    return watch.changes


class TestL2SP:
    """Li et al. 2018: alpha / 2 ||w - w0||^2 + beta / 2 ||head||^2."""

    def test_published_value(self) -> None:
        w, start, head = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 2.0], [0.0, 0.5], [3.0]))
        assert l2_sp([w], [start], [head], 0.1, 0.01).item() == exactly(0.2075)

    def test_value_and_gradient_number_by_number(self) -> None:
        random = np.random.default_rng(0)
        shapes = [(3, 4), (2, 3, 2, 2), (5, 2)]
        *weights, head = (random.normal(size=shape) for shape in shapes)
        starts = [random.normal(size=weight.shape) for weight in weights]

        def by_hand(changed: Array) -> float:
            total = 0.0
            for weight, start in zip([changed, weights[1]], starts, strict=True):
                for here, there in zip(weight.ravel(), start.ravel(), strict=True):
                    total += 0.3 / 2 * (here - there) ** 2
            return total + sum(0.7 / 2 * number**2 for number in head.ravel())

        tensors = [torch.from_numpy(weight).requires_grad_() for weight in weights]
        found = l2_sp(tensors, [torch.from_numpy(s) for s in starts], [torch.from_numpy(head)], 0.3, 0.7)
        assert found.item() == exactly(by_hand(weights[0]))
        found.backward()  # type: ignore[no-untyped-call]
        assert tensors[0].grad is not None
        np.testing.assert_allclose(tensors[0].grad.numpy(), slopes(by_hand, weights[0]), rtol=1e-7, atol=1e-8)

    def test_the_backbone_is_pulled_to_its_start_and_the_head_to_zero(self) -> None:
        run = make_run({"use": "l2_sp", "alpha": 0.5, "beta": 0.25}, {"use": "head_swap", "bottleneck": 4})
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.add_(0.1)
        penalty = run.adapters[0].penalty(Step([], 0.0, 0, run.model))
        assert penalty is not None
        penalty.backward()  # type: ignore[no-untyped-call]
        for name, parameter in run.model.named_parameters():
            pull = 0.5 * 0.1 * torch.ones_like(parameter) if name.startswith("backbone.") else 0.25 * parameter
            expected = pull.detach() if parameter.ndim > 1 else None
            if expected is None:
                assert parameter.grad is None, name
            else:
                torch.testing.assert_close(parameter.grad, expected, rtol=1e-5, atol=1e-6, msg=name)

    @pytest.mark.parametrize("order", [1, -1])
    def test_weight_decay_is_not_applied_beside_it(self, order: int) -> None:
        adapters: list[dict[str, Any]] = [{"use": "l2_sp"}, {"use": "head_swap", "bottleneck": 4}]
        run = make_run(*adapters[::order], weight_decay=0.1)
        assert {group["weight_decay"] for group in make_optimizer(run).param_groups} == {0.0}

    def test_the_start_is_where_training_proper_begins(self) -> None:
        """After another adapter's pretraining, and never again in later rounds."""
        run = make_run({"use": "l2_sp", "beta": 0.0})
        step = Step([], 0.0, 0, run.model)
        penalties = []
        for run.round in (0, 1):
            with torch.no_grad():
                run.model.backbone.get_parameter("fc.weight").add_(1)
            run.adapters[0].start_round(run)
            penalties.append(run.adapters[0].penalty(step))
        first, second = (penalty.item() for penalty in penalties if penalty is not None)
        assert first == 0
        assert second == pytest.approx(0.1 / 2 * 30)

    def test_the_stronger_the_nearer(self, tmp_path: Path) -> None:
        away = []
        for alpha in (0.0, 1.0, 100.0):
            run = make_run({"use": "l2_sp", "alpha": alpha}, optimizer="sgd", momentum=0.0, lr=0.01, backbone_lr=1.0)
            before = state(run.model.backbone)
            train_run(run, tmp_path / str(alpha))
            after = state(run.model.backbone)
            away.append(sum(float((after[n] - before[n]).norm()) for n in before if n.endswith("v2.weight")))
        assert away[0] > away[1] > away[2]


class TestDelta:
    """Li et al. 2019."""

    LAYERS: ClassVar[dict[str, Any]] = {"use": "delta", "layers": ["bn1", "fc"], "strength": 0.3}

    def disturbed(self) -> Run:
        """A run whose backbone is not the pretrained one any more."""
        run = make_run(self.LAYERS)
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in run.model.backbone.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        return run

    def maps(self, backbone: nn.Module, inputs: Tensor, layers: list[str]) -> list[Array]:
        kept: list[Tensor] = []
        hooks = [
            backbone.get_submodule(layer).register_forward_hook(lambda module, given, out: kept.append(out))
            for layer in layers
        ]
        with torch.no_grad():
            backbone(inputs)
        for hook in hooks:
            hook.remove()
        return [out.numpy() for out in kept]

    def by_hand(self, maps: list[Array], starts: list[Array], weights: list[Array], strength: float) -> float:
        """Position by position: W_j times the mean square over positions, halved; summed, and the mean over rows."""
        total = 0.0
        for now, start, weight in zip(maps, starts, weights, strict=True):
            for row in range(len(now)):
                for channel in range(now.shape[1]):
                    apart = np.ravel(now[row, channel]) - np.ravel(start[row, channel])
                    total += weight[channel] * sum(number**2 for number in apart) / len(apart) / 2
        return strength * total / len(maps[0])

    @pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 4, 2, 5)])
    def test_value_and_gradient_position_by_position(self, shape: tuple[int, ...]) -> None:
        """Of vectors, tokens and images."""
        random = np.random.default_rng(len(shape))
        now, start, weights = random.normal(size=shape), random.normal(size=shape), random.random(4)

        def by_hand(maps: Array) -> float:
            first = [np.moveaxis(each, 2, 1) if each.ndim == 3 else each for each in (maps, start)]
            return self.by_hand([first[0]], [first[1]], [weights], 3.0)

        tensor = torch.from_numpy(now).requires_grad_()
        squares = make_run().model.backbone.pooled((tensor - torch.from_numpy(start)).square())
        found = weighed(squares, torch.from_numpy(weights)).sum()
        assert found.item() == exactly(by_hand(now))
        (gradient,) = torch.autograd.grad(found, tensor)
        np.testing.assert_allclose(gradient.numpy(), slopes(by_hand, now), rtol=1e-6, atol=1e-8)

    def test_in_a_step_all_layers_and_domains_count(self) -> None:
        """The mean over the rows of all domains, the sum over layers."""
        run = self.disturbed()
        adapter = run.adapters[0]
        assert isinstance(adapter, Delta)
        weights = [np.random.default_rng(number).random(width) for number, width in enumerate((4, 6))]
        for number, weight in enumerate(weights):
            adapter.get_buffer(f"weights_{number}").copy_(torch.from_numpy(weight))
        inputs = torch.stack([torch.as_tensor(domain.raw(row)) for domain in run.domains for row in range(5)])
        run.model.eval()
        found = adapter.penalty(step_of(run, 5, inputs=inputs))
        layers = ["bn1", "fc"]
        now, start = (
            self.maps(backbone, inputs, layers) for backbone in (run.model.backbone, adapter.reference.backbone)
        )
        assert found.item() == pytest.approx(self.by_hand(now, start, weights, 0.3), rel=1e-5)
        learns = [run.model.backbone.get_parameter(name) for name in ("conv1.weight", "fc.bias")]
        assert all((gradient != 0).any() for gradient in torch.autograd.grad(found, learns))

    @pytest.mark.parametrize("modality", ["image", "text"])
    def test_it_is_nothing_at_the_start(self, modality: Modality) -> None:
        run = compose({"use": "delta", "attention": False}, modality=modality)
        penalty = run.adapters[0].penalty(look(run))
        assert penalty is not None
        assert penalty.item() == 0
        gradients = torch.autograd.grad(penalty, list(run.model.backbone.parameters()), allow_unused=True)
        assert all((gradient == 0).all() for gradient in gradients if gradient is not None)

    def test_the_pretrained_network_is_never_changed(self, tmp_path: Path) -> None:
        """Neither by the optimizer nor by training batches."""
        run = make_run(self.LAYERS, weight_decay=0.1, lr=0.1)
        adapter = run.adapters[0]
        assert isinstance(adapter, Delta)
        before = state(run.model.backbone)
        train_run(run, tmp_path)
        assert not torch.equal(run.model.backbone.state_dict()["bn1.running_mean"], before["bn1.running_mean"])
        for name, value in adapter.reference.backbone.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_the_backbone_is_not_decayed_and_the_head_is(self) -> None:
        run = make_run(self.LAYERS, weight_decay=0.1)
        groups = make_optimizer(run).param_groups
        decayed = {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}
        assert decayed == {id(run.model.get_parameter("head.linear.weight"))}

    def test_by_default_the_largest_module_of_every_stage_but_the_stem(self) -> None:
        run = make_run({"use": "delta"})
        assert isinstance(run.adapters[0], Delta)
        assert run.adapters[0].names == ["conv2", "fc"]

    @pytest.mark.parametrize("kind", ["bert", "deberta-v2", "mpnet"])
    def test_a_transformer_gives_its_layers(self, kind: str) -> None:
        """Those too that give a tuple, as the last two have them."""
        backbone = {"use": "bert", "config": {"model_type": kind, **SIZES}}
        run = compose({"use": "delta", "examples": 2}, modality="text", backbone=backbone)
        assert isinstance(run.adapters[0], Delta)
        assert [name.rpartition("layer.")[2] for name in run.adapters[0].names] == ["0", "1"]
        run.adapters[0].start_round(run)
        assert run.adapters[0].get_buffer("weights_0").std() > 0
        assert run.adapters[0].penalty(look(run)).item() == pytest.approx(0, abs=1e-10)

    def test_a_transformer_of_one_layer_gives_its_encoder(self) -> None:
        backbone = {"use": "bert", "config": {**SIZES, "num_hidden_layers": 1}}
        run = compose({"use": "delta", "attention": False}, modality="text", backbone=backbone)
        assert look(run).source.map("net.bert.encoder").std() > 0

    @pytest.mark.parametrize("backbone", ["toy_text_net", {"use": "bert", "config": SIZES}], ids=["toy", "bert"])
    def test_a_text_counts_alike_whatever_its_neighbours(self, backbone: Any) -> None:
        """Of the padding that a longer neighbour brings, nothing is seen."""
        run = compose({"use": "delta", "attention": False}, modality="text", backbone=backbone)
        with torch.no_grad():
            for parameter in run.model.backbone.parameters():
                parameter.add_(0.3)
        run.targets = []
        together = run.adapters[0].penalty(look(run, rows=6))
        preprocess = run.model.backbone.preprocess(train=False)
        alone = []
        for row in range(6):
            inputs = run.model.backbone.collate([preprocess(run.sources[0].raw(row))])
            alone.append(run.adapters[0].penalty(step_of(run, 1, inputs=inputs)))
        assert together is not None
        mean = torch.stack([each for each in alone if each is not None]).mean()
        torch.testing.assert_close(together, mean)

    @pytest.mark.parametrize("order", [1, -1])
    def test_it_sees_the_joint_pass_though_others_run_the_model_again(self, order: int, tmp_path: Path) -> None:
        class Again(Adapter):
            """Runs the model on something else."""

            name = "again"

            def penalty(self, step: Step) -> Tensor | None:
                with torch.no_grad():
                    step.model(255 - step.views[0].inputs)
                return None

        delta: dict[str, Any] = {"use": "delta", "attention": False}
        both: list[dict[str, Any]] = [delta, {"use": "again"}]
        losses = []
        for adapters in ([delta], both[::order]):
            run = compose(*adapters, more=[Again])
            rows = train(run, Checkpoints(tmp_path / str(len(adapters))), Watch())
            losses.append([row["loss"]["delta"] for row in rows])
        assert losses[0] == losses[1]
        assert losses[0][0] > 0

    def test_in_half_precision_the_pretrained_network_is_too(self, tmp_path: Path) -> None:
        """Else the rounding of one of the two would be a distance."""
        run = compose(
            {"use": "delta", "attention": False},
            modality="text",
            train={"precision": "bf16", "epochs": 1, "steps_per_epoch": 1},
        )
        (row,) = train(run, Checkpoints(tmp_path), Watch())
        assert row["loss"]["delta"] == 0

    def test_nothing_of_it_stays_in_the_model(self, tmp_path: Path) -> None:
        run = make_run(self.LAYERS)
        train_run(run, tmp_path)
        assert not any(module._forward_hooks for module in run.model.modules())

    @pytest.mark.parametrize(
        ("layer", "message"), [("layer9", "no layer `layer9`"), ("features", "no layer `features`")]
    )
    def test_layers_that_are_not_there_are_told(self, layer: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            make_run({"use": "delta", "layers": [layer]})


class TestAttention:
    """Channels x softmax of (loss without a channel - loss), standardised and divided by 5."""

    def by_hand(self, losses: Array, loss: float) -> Array:
        gains = losses - loss
        powers = [np.exp((gain - np.mean(gains)) / np.std(gains) / 5) for gain in gains]
        return np.array([len(gains) * power / sum(powers) for power in powers])

    def test_the_formula(self) -> None:
        losses = np.random.default_rng(0).random(7)
        found = attention(torch.from_numpy(losses), torch.tensor(0.4, dtype=torch.float64))
        np.testing.assert_allclose(found.numpy(), self.by_hand(losses, 0.4), rtol=1e-10)

    def test_channels_of_which_none_matters_count_alike(self) -> None:
        assert attention(torch.full((5,), 0.3), torch.tensor(0.3)).tolist() == [1.0] * 5

    def test_weights_are_those_of_networks_from_which_a_channel_was_cut(self) -> None:
        """A batch norm's channel is cut by its weight and bias."""
        run = make_run({"use": "delta", "layers": ["bn1"], "attention": False})
        model = copy.deepcopy(run.model).eval()
        (found,) = channel_weights(run, model, ["bn1"], [4], examples=1000)
        inputs = torch.stack([torch.as_tensor(run.sources[0].raw(row)) for row in range(len(run.sources[0]))])
        labels = run.sources[0].labels
        assert labels is not None

        def loss(cut: int | None) -> float:
            other = copy.deepcopy(model)
            if cut is not None:
                for name in ("bn1.weight", "bn1.bias"):
                    nn.init.zeros_(other.backbone.get_parameter(name)[cut : cut + 1])
            with torch.no_grad():
                logits = other(inputs).double().numpy()
            odds = np.exp(logits - logits.max(1, keepdims=True))
            right = odds[np.arange(len(labels)), labels.numpy()] / odds.sum(1)
            return float(-np.log(right).mean())

        expected = self.by_hand(np.array([loss(cut) for cut in range(4)]), loss(None))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3)

    def test_the_head_is_fitted_to_the_pretrained_features(self) -> None:
        """As scikit-learn fits it, which does not decay the bias."""
        from sklearn.linear_model import LogisticRegression

        run = make_run({"use": "delta", "layers": ["bn1"], "attention": False})
        model = copy.deepcopy(run.model).eval()
        channel_weights(run, model, ["bn1"], [4], examples=4)
        source = run.sources[0]
        inputs = torch.stack([torch.as_tensor(source.raw(row)) for row in range(len(source))])
        assert source.labels is not None
        with torch.no_grad():
            features = model.backbone(inputs).numpy()
            found = nn.functional.cross_entropy(model(inputs), source.labels).item()
        other = LogisticRegression(C=2 / (len(source) * 1e-4), max_iter=10_000).fit(features, source.labels.numpy())
        odds = other.predict_proba(features)[np.arange(len(source)), source.labels.numpy()]
        assert found == pytest.approx(-np.log(odds).mean(), rel=0.01)

    def test_a_frozen_head_is_fitted_in_a_copy_alone(self, tmp_path: Path) -> None:
        run = make_run({"use": "partial_freeze", "names": ["head.*"]}, {"use": "delta", "layers": ["bn1"]})
        before = state(run.model.head)
        train_run(run, tmp_path)
        assert run.adapters[1].get_buffer("weights_0").std() > 0
        assert all(torch.equal(value, before[name]) for name, value in run.model.head.state_dict().items())

    def test_the_channel_that_matters_counts_most(self) -> None:
        run = make_run({"use": "delta", "layers": ["bn1"]})
        with torch.no_grad():
            run.model.backbone.get_parameter("conv2.weight")[:, [0, 1, 3]] = 0
        run.adapters[0].start_round(run)
        weights = run.adapters[0].get_buffer("weights_0")
        assert weights.argmax() == 2
        torch.testing.assert_close(weights[[0, 1]], weights[[3, 3]], rtol=0.05, atol=0)

    @pytest.mark.parametrize(
        ("shape", "dimension"), [((2, 3), 1), ((2, 4, 3), 2), ((2, 3, 4, 4), 1), ((1, 3, 1, 1), 1), ((1, 3, 3), 2)]
    )
    def test_a_channel_is_where_the_backbone_says(self, shape: tuple[int, ...], dimension: int) -> None:
        backbone = make_run().model.backbone
        cut = without(backbone, torch.ones(shape), 1)
        assert (cut.select(dimension, 1) == 0).all()
        assert cut.sum() == cut.numel() * 2 / 3


class TestBSS:
    """Chen et al. 2019: the sum of the k smallest squared singular values."""

    @pytest.mark.parametrize(("rows", "width", "count"), [(4, 9, 1), (9, 4, 1), (6, 6, 3), (5, 8, 5)])
    def test_value_and_gradient_are_those_of_eigenvalues(self, rows: int, width: int, count: int) -> None:
        features = np.random.default_rng(rows).normal(1, 1, (rows, width))

        def by_hand(matrix: Array) -> float:
            gram = matrix @ matrix.T if rows <= width else matrix.T @ matrix
            return float(np.sort(np.linalg.eigvalsh(gram))[:count].sum())

        tensor = torch.from_numpy(features).requires_grad_()
        found = smallest_squares(tensor, count)
        assert found.item() == pytest.approx(by_hand(features), rel=1e-10)
        (gradient,) = torch.autograd.grad(found, tensor)
        np.testing.assert_allclose(gradient.numpy(), slopes(by_hand, features), rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize("features", [torch.zeros(4, 6), torch.ones(4, 6), torch.eye(4, 6)])
    def test_equal_and_missing_singular_values_give_a_finite_gradient(self, features: Tensor) -> None:
        features = features.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(smallest_squares(features, 2), features)
        assert torch.isfinite(gradient).all()

    def test_small_values_are_right_in_float32_beside_large_ones(self) -> None:
        features = torch.randn(32, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 100
        expected = smallest_squares(features, 1).item()
        assert smallest_squares(features.float(), 1).item() == pytest.approx(expected, rel=1e-3)

    def test_all_rows_of_a_step_make_one_matrix(self) -> None:
        target = {"use": "toy_stripes", "seed": 1, "labels": "all"}
        run = compose({"use": "bss", "count": 2, "strength": 0.5}, target=target)
        step = look(run)
        features = torch.cat([view.features for view in step.views]).detach().double().numpy()
        penalty = run.adapters[0].penalty(step)
        assert penalty is not None
        assert features.shape == (12, 8)
        expected = 0.5 * np.sort(np.linalg.eigvalsh(features.T @ features))[:2].sum()
        assert penalty.item() == pytest.approx(expected, rel=1e-4, abs=1e-12)

    def test_training_shrinks_them(self, tmp_path: Path) -> None:
        smallest = []
        for strength in (1e-9, 100.0):
            run = make_run({"use": "bss", "strength": strength}, epochs=6, lr=0.01, backbone_lr=1.0)
            train_run(run, tmp_path / str(strength))
            smallest.append(float(torch.linalg.svdvals(run.outputs(run.sources[0]).features)[-1]))
        assert smallest[1] < 0.5 * smallest[0]

    def test_features_that_are_not_finite_are_told_by_the_loop(self, tmp_path: Path) -> None:
        run = make_run({"use": "bss"})
        nn.init.constant_(run.model.backbone.get_parameter("fc.weight"), float("nan"))
        with pytest.raises(TrainingError, match="`task`"):
            train_run(run, tmp_path)

    def test_more_than_there_are_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"\[16, 6\] have fewer(.|\n)*`count: 6`"):
            make_run({"use": "bss", "count": 7})


def normalisations(run: Run) -> list[Any]:
    return [module for module in run.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def target_inputs(run: Run) -> Any:
    backbone = run.model.backbone
    preprocess = backbone.preprocess(train=False)
    return backbone.collate([preprocess(domain.raw(row)) for domain in run.targets for row in range(len(domain))])


class TestAdaBN:
    """Li et al. 2016."""

    NECK: ClassVar[dict[str, Any]] = {"use": "head_swap", "bottleneck": 5}

    def test_published_value(self) -> None:
        mean, variance = moments(torch.tensor(part, dtype=torch.float64)[:, None] for part in ([0, 2], [10, 14]))
        assert (mean.item(), variance.item()) == (exactly(6.5), exactly(32.75))

    def test_moments_do_not_depend_on_the_batches(self) -> None:
        values = np.random.default_rng(0).normal(1000, np.array([0.1, 3, 7])[:, None, None], (50, 3, 2, 4))
        for sizes in ([50], [1, 48, 1], [20, 20, 10]):
            mean, variance = moments(torch.split(torch.from_numpy(values), sizes))
            channels = [values[:, channel].ravel() for channel in range(3)]
            np.testing.assert_allclose(mean.numpy(), [c.mean() for c in channels], rtol=1e-10)
            np.testing.assert_allclose(variance.numpy(), [((c - c.mean()) ** 2).mean() for c in channels], rtol=1e-9)

    @pytest.mark.parametrize("modality", ["image", "text"])
    def test_it_answers_as_if_the_target_were_one_batch(self, modality: Modality) -> None:
        """Through all layers: a batch in training is normalised by its own statistics. 300 are more than one batch."""
        kind: dict[str, Any] = {"use": "toy_stripes" if modality == "image" else "toy_sentences"}
        targets = [{**kind, "count": 300, "seed": 1}, {**kind, "count": 40, "seed": 2}]
        run = compose({"use": "adabn"}, self.NECK, modality=modality, target=targets)
        inputs = target_inputs(run)
        twin = copy.deepcopy(run.model).eval()
        for norm in [module for module in twin.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]:
            norm.train()
        with torch.no_grad():
            expected, unadapted = twin(inputs), run.model.eval()(inputs)
        run.adapters[0].finish(run)
        with torch.no_grad():
            found = run.model.eval()(inputs)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(unadapted, expected, atol=0.01)

    def test_statistics_alone_are_changed(self) -> None:
        run = make_run({"use": "adabn"}, self.NECK)
        before = state(run.model)
        run.adapters[0].finish(run)
        after = state(run.model)
        changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
        norms = {name for name, module in run.model.named_modules() if module in normalisations(run)}
        assert len(norms) == 3
        assert changed == {f"{norm}.{statistic}" for norm in norms for statistic in ("running_mean", "running_var")}

    def test_it_does_not_depend_on_how_training_left_them(self, tmp_path: Path) -> None:
        """Nor on the source, nor on batches that training happened to see last."""
        runs = [make_run({"use": "adabn"}) for _ in range(2)]
        for norm in normalisations(runs[1]):
            norm.running_mean.fill_(5)
            norm.running_var.fill_(9)
        for run in runs:
            run.adapters[0].finish(run)
        first, second = (state(run.model) for run in runs)
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, msg=name)

    def test_a_frozen_backbone_is_adapted_and_its_stored_features_are_forgotten(self, tmp_path: Path) -> None:
        run = make_run({"use": "partial_freeze", "stages": "all"}, {"use": "adabn"})
        before = run.model.backbone.get_buffer("bn1.running_mean").clone()
        train_run(run, tmp_path)
        assert not torch.equal(run.model.backbone.get_buffer("bn1.running_mean"), before)
        target = run.targets[0]
        assert torch.equal(run.outputs(target).logits, outputs(run.model, target, run.device, 0).logits)

    def test_a_model_without_batch_normalisation_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"nothing to adapt(.|\n)*bottleneck"):
            compose({"use": "adabn"}, modality="text")


ROBERTA: dict[str, Any] = {
    "use": "bert",
    "config": {
        "model_type": "roberta",
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    },
}
"""Between its encoder and the head lies a dense layer that is not pretrained."""


class TestBitFit:
    def test_biases_and_the_head_learn_and_nothing_else(self, tmp_path: Path) -> None:
        run = make_run({"use": "bitfit"}, {"use": "head_swap", "bottleneck": 4}, weight_decay=0.1, lr=0.05)
        parameters = {name for name, _ in run.model.named_parameters()}
        changed = set.union(*diary(run, tmp_path)) & parameters
        new = {name for name in parameters if name.startswith(("neck.", "head."))}
        assert changed == {f"backbone.{name}.bias" for name in ("bn1", "bn2", "fc")} | new

    def test_of_a_transformer(self) -> None:
        run = compose({"use": "bitfit"}, modality="text", backbone=ROBERTA)
        weights = {name for name in learning(run) if not name.endswith(".bias")}
        assert weights == {"backbone.net.classifier.dense.weight", "head.linear.weight"}
        biases = {name for name, _ in run.model.named_parameters() if name.endswith("bias")}
        assert biases <= learning(run)

    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("other", [{"use": "lora", "layers": ["fc"]}, {"use": "partial_freeze", "stages": "all"}])
    def test_where_others_froze_all_biases_it_is_refused(self, other: Any, order: int, tmp_path: Path) -> None:
        run = make_run(*[{"use": "bitfit"}, other][::order])
        with pytest.raises(UserError, match="`bitfit` has nothing to train"):
            train_run(run, tmp_path)


class TestLinearProbeThenFinetune:
    SGD: ClassVar[dict[str, Any]] = {"optimizer": "sgd", "weight_decay": 0.1, "lr": 0.05, "backbone_lr": 1.0}

    def test_the_head_alone_then_everything(self, tmp_path: Path) -> None:
        """Not even running statistics move while the head is trained."""
        run = make_run({"use": "lp_ft", "epochs": 2}, epochs=4, **self.SGD)
        everything, head = set(state(run.model)), {"head.linear.weight", "head.linear.bias"}
        assert diary(run, tmp_path) == [head, head, everything, everything]

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_is_frozen_for_good_stays_frozen(self, order: int, tmp_path: Path) -> None:
        both: list[dict[str, Any]] = [{"use": "lp_ft"}, {"use": "partial_freeze", "stages": 2}]
        run = make_run(*both[::order], epochs=2, **self.SGD)
        head = {"head.linear.weight", "head.linear.bias"}
        assert diary(run, tmp_path) == [head, head | {"backbone.fc.weight", "backbone.fc.bias"}]

    def test_what_is_not_pretrained_learns_with_the_head(self) -> None:
        run = compose({"use": "lp_ft"}, modality="text", backbone=ROBERTA)
        run.adapters[0].start_round(run)
        run.adapters[0].start_epoch(run)
        assert {name.rpartition(".")[0] for name in learning(run)} == {"backbone.net.classifier.dense", "head.linear"}

    def test_a_training_that_ends_before_it_begins_is_refused(self) -> None:
        with pytest.raises(UserError, match=r"for 2 epochs, and `train.epochs` is 2(.|\n)*raise `epochs`"):
            make_run({"use": "lp_ft", "epochs": 2}, epochs=2)

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_plans_of_what_learns_when_are_refused(self, order: int) -> None:
        both: list[dict[str, Any]] = [{"use": "lp_ft"}, {"use": "gradual_unfreeze"}]
        with pytest.raises(UserError, match=r"`(lp_ft|gradual_unfreeze)` and (.|\n)*keep one"):
            make_run(*both[::order])


class TestLayerDecay:
    def rates(self, run: Run) -> dict[str, float]:
        """Of what every parameter of the model learns at."""
        groups = make_optimizer(run).param_groups
        found = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
        return {name: found[id(parameter)] for name, parameter in run.model.named_parameters()}

    def test_each_stage_learns_slower_than_the_next(self) -> None:
        """Three stages: 0.5, 0.25 and 0.125 from the output, and the head at the full rate."""
        rates = self.rates(make_run({"use": "layer_decay", "factor": 0.5}, lr=1.0, backbone_lr=1.0))
        by_layer = {"conv1": 0.125, "bn1": 0.125, "conv2": 0.25, "bn2": 0.25, "fc": 0.5}
        assert rates == {name: by_layer.get(name.split(".")[1], 1.0) for name in rates}

    def test_it_multiplies_the_backbones_rate(self) -> None:
        rates = self.rates(make_run({"use": "layer_decay", "factor": 0.5}, lr=1.0, backbone_lr=[0.1, 0.2, 0.4]))
        chosen = [rates[f"backbone.{name}"] for name in ("conv1.weight", "conv2.weight", "fc.weight")]
        assert chosen == [pytest.approx(value) for value in (0.0125, 0.05, 0.2)]

    def test_low_rank_changes_learn_at_the_rate_of_their_stage(self) -> None:
        for order in (1, -1):
            lora: dict[str, Any] = {"use": "lora", "layers": ["conv1", "fc"]}
            both: list[dict[str, Any]] = [{"use": "layer_decay", "factor": 0.5}, lora]
            run = make_run(*both[::order], lr=1.0, backbone_lr=1.0)
            groups = make_optimizer(run).param_groups
            rates = sorted(group["lr"] for group in groups for parameter in group["params"] if parameter.ndim > 1)
            assert rates == [0.125, 0.125, 0.5, 0.5, 1.0]

    def test_a_parameter_of_a_slower_stage_moves_less(self, tmp_path: Path) -> None:
        moved = []
        for factor in (0.9, 0.1):
            run = make_run({"use": "layer_decay", "factor": factor}, optimizer="sgd", lr=0.01, backbone_lr=1.0)
            before = state(run.model)
            train_run(run, tmp_path / str(factor))
            moved.append(float((state(run.model)["backbone.conv1.weight"] - before["backbone.conv1.weight"]).norm()))
        assert moved[1] < 0.1 * moved[0]


class TestL2SPContract(AdapterContract):
    component = L2SP


class TestDeltaContract(AdapterContract):
    component = Delta
    settings: ClassVar[Mapping[str, Any]] = {"examples": 8}


class TestDeltaOfLayersContract(AdapterContract):
    component = Delta
    settings: ClassVar[Mapping[str, Any]] = {"layers": ["layer1", "layer2.0"], "attention": False}


class TestBSSContract(AdapterContract):
    component = BSS
    settings: ClassVar[Mapping[str, Any]] = {"count": 2}


class TestAdaBNContract(AdapterContract):
    component = AdaBN
    others: ClassVar[list[Mapping[str, Any]]] = [{"use": "head_swap", "bottleneck": 6}]


class TestBitFitContract(AdapterContract):
    component = BitFit


class TestLinearProbeThenFinetuneContract(AdapterContract):
    component = LinearProbeThenFinetune


class TestLayerDecayContract(AdapterContract):
    component = LayerDecay


def on_text(contract: type[AdapterContract]) -> type[AdapterContract]:
    """The same contract, tried on texts."""
    return type(f"{contract.__name__}OnText", (contract,), {"modality": "text", "__module__": __name__})


CONTRACTS = [kind for name, kind in globals().items() if name.startswith("Test") and name.endswith("Contract")]
globals().update({f"{kind.__name__}OnText": on_text(kind) for kind in CONTRACTS})
