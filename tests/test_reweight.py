"""Instance weighting against the papers' numbers, implementations written from the papers, and real runs."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import optimize
from scipy.sparse import issparse
from torch import Tensor

from tlhub import manifest as manifests
from tlhub.adaptation import adapt
from tlhub.adapter import Adapter
from tlhub.artifact import load
from tlhub.catalog import Catalog
from tlhub.checkpoint import Checkpoints
from tlhub.data import Dataset, Examples
from tlhub.errors import DataError, UserError
from tlhub.run import Run, open_data
from tlhub.step import View
from tlhub.testing import AdapterContract, BackboneContract, HeadContract, toy_catalog
from tlhub.train import Interrupted, train
from tlhub.watch import Watch
from tlhub_reweight.booster import Booster, by_class, reweighted, source_beta, target_error
from tlhub_reweight.density import normalised
from tlhub_reweight.domain_classifier import DomainClassifier, calibrated, held_out_odds
from tlhub_reweight.features import all_features
from tlhub_reweight.kliep import KLIEP, fit_mixture
from tlhub_reweight.kmm import KMM, match_means, project
from tlhub_reweight.tradaboost import TrAdaBoost, beta
from tlhub_reweight.tradaboost_r2 import TrAdaBoostR2, adjusted_errors
from tlhub_reweight.tradaboost_soft import TrAdaBoostSoft, soft_beta
from tlhub_reweight.vote import Vote
from tlhub_reweight.weighted_median import WeightedMedian
from tlhub_vectors.vectors import ToTensor, Vectors

Array = npt.NDArray[np.float64]
ADAPTERS = [TrAdaBoost, TrAdaBoostSoft, TrAdaBoostR2, KMM, KLIEP, DomainClassifier]
FROZEN = {"use": "partial_freeze", "stages": "all"}


def exactly(value: Any) -> Any:
    return pytest.approx(value, rel=1e-10, abs=1e-14)


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


class TestTrAdaBoostFormula:
    """Dai et al. 2007, figure 1."""

    def test_two_rounds_by_hand(self) -> None:
        source, target = torch.ones(8, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
        assert source_beta(8, 2) == exactly(0.4094959009202084)
        wrong = torch.zeros(8, dtype=torch.float64)
        wrong[:2] = 1
        missed = double(1, 0, 0, 0)
        error = target_error(target, missed)
        assert error.item() == exactly(0.25)
        assert beta(error, 2).item() == exactly(1 / 3)
        source, target = reweighted(source, target, wrong, missed, beta(error, 2), 2)
        assert source.tolist() == exactly([0.4094959009202084] * 2 + [1] * 6)
        assert target.tolist() == exactly([3, 1, 1, 1])
        wrong, missed = torch.zeros(8, dtype=torch.float64), double(0, 1, 0, 0)
        wrong[0] = 1
        error = target_error(target, missed)
        assert error.item() == exactly(1 / 6)
        assert beta(error, 2).item() == exactly(0.2)
        source, target = reweighted(source, target, wrong, missed, beta(error, 2), 2)
        assert source.tolist() == exactly([0.16768689287045313, 0.4094959009202084] + [1] * 6)
        assert target.tolist() == exactly([3, 5, 1, 1])

    def test_the_vote_of_the_last_half(self) -> None:
        """Class 1 where the product of beta_t^-h_t reaches sqrt(15) = 3.87: (1, 0) is class 0, (0, 1) is class 1."""
        assert answers(said=[[1, 0], [0, 1], [1, 1], [0, 0]], betas=[1 / 3, 0.2]) == [0, 1, 1, 0]

    def test_a_half_of_the_votes_is_enough_for_class_1(self) -> None:
        assert answers(said=[[1, 0], [0, 1]], betas=[0.2, 0.2]) == [1, 1]

    def test_votes_on_random_answers(self) -> None:
        generator = np.random.default_rng(0)
        said = generator.integers(0, 2, (50, 5))
        betas = generator.uniform(0.1, 0.9, 5)
        expected = [int(np.prod(betas ** -row.astype(float)) >= np.prod(betas**-0.5)) for row in said]
        assert answers(said.tolist(), betas.tolist()) == expected

    def test_several_rounds_example_by_example(self) -> None:
        generator = np.random.default_rng(1)
        n, m, rounds = 11, 6, 5
        weights = [1.0] * (n + m)
        source, target = torch.ones(n, dtype=torch.float64), torch.ones(m, dtype=torch.float64)
        for _ in range(rounds):
            losses = generator.uniform(0, 0.9, n + m)
            epsilon = math.fsum(weights[i] * losses[i] for i in range(n, n + m)) / math.fsum(weights[n:])
            expected = min(epsilon, 0.5) / (1 - min(epsilon, 0.5))
            factor = 1 / (1 + math.sqrt(2 * math.log(n) / rounds))
            for i in range(n + m):
                weights[i] *= factor ** losses[i] if i < n else expected ** -losses[i]
            found = beta(target_error(target, torch.tensor(losses[n:])), 2)
            source, target = reweighted(source, target, *torch.tensor(losses).split([n, m]), found, rounds)
            assert [*source.tolist(), *target.tolist()] == exactly(weights)

    def test_an_error_of_none_or_of_half(self) -> None:
        assert beta(double(0, 1e-3, 0.5, 0.7, 1), 2).tolist() == exactly([1 / 999, 1 / 999, 1, 1, 1])

    def test_several_classes_as_in_samme(self) -> None:
        """Zhu et al. 2009: the vote is ln((1 - epsilon) / epsilon) + ln(K - 1), and chance is 1 - 1 / K."""
        vote = -beta(double(0.3, 0.6, 2 / 3, 0.9), 3).log()
        expected = [math.log((1 - e) / e) + math.log(2) for e in (0.3, 0.6)]
        assert vote.tolist() == exactly([*expected, 0, 0])

    def test_soft(self) -> None:
        assert soft_beta(double(0.5, 1)).tolist() == exactly([1 / 3, 1])
        assert 0 < soft_beta(double(0)).item() < 1e-15

    def test_errors_of_numbers(self) -> None:
        """Drucker 1997: by the largest error; where there is none, none is divided by."""
        answers, labels = double(1, 2, 5), double(1, 4, 1)
        assert adjusted_errors(answers, labels).tolist() == exactly([0, 0.5, 1])
        assert adjusted_errors(labels, labels).tolist() == [0, 0, 0]

    def test_classes_taught_alike(self) -> None:
        shares = by_class(double(0.1, 0.2, 0.3, 0.4), torch.tensor([0, 0, 0, 2]))
        assert shares.tolist() == exactly([1 / 12, 1 / 6, 1 / 4, 1 / 2])


def answers(said: list[list[int]], betas: list[float]) -> list[int]:
    """What a vote of classifiers answers, one feature for each saying what it says."""
    head = Vote(len(betas), 2, len(betas))
    head.linear.weight.zero_()
    for member in range(len(betas)):
        head.linear.weight[2 * member + 1, member] = 1
        head.linear.bias[2 * member : 2 * member + 2] = torch.tensor([0.5, 0.0])
    head.votes.copy_(-torch.tensor(betas).log())
    found: list[int] = head(torch.tensor(said).float()).argmax(1).tolist()
    return found


class TestHeads:
    def test_a_classs_probability_is_its_share_of_the_votes(self) -> None:
        torch.manual_seed(0)
        for soft in (False, True):
            head = Vote(4, 3, 5, soft)
            head.votes.copy_(torch.rand(5))
            features = torch.randn(7, 4)
            votes = np.zeros((7, 3))
            weight, bias = head.linear.weight.numpy().reshape(5, 3, 4), head.linear.bias.numpy().reshape(5, 3)
            for row, inputs in enumerate(features.numpy()):
                for member in range(5):
                    logits = np.exp(weight[member] @ inputs + bias[member])
                    said = logits / logits.sum() if soft else np.eye(3)[logits.argmax()]
                    votes[row] += head.votes[member].item() * said
            expected = torch.tensor(votes / votes.sum(1, keepdims=True)).float()
            torch.testing.assert_close(head(features).softmax(1), expected, rtol=1e-4, atol=1e-5)

    def test_the_weighted_median(self) -> None:
        """The least answer that, with those below, has half of the weight."""
        torch.manual_seed(0)
        head = WeightedMedian(3, 4)
        features = torch.randn(20, 3)
        for votes in (torch.rand(4), torch.ones(4)):
            head.votes.copy_(votes)
            each = head.linear(features)
            expected = [
                min(
                    float(answer)
                    for answer in row
                    if sum(v for v, other in zip(votes.tolist(), row, strict=True) if other <= answer)
                    >= sum(votes.tolist()) / 2 - 1e-6
                )
                for row in each
            ]
            assert head(features)[:, 0].tolist() == pytest.approx(expected)


class TestVoteContract(HeadContract):
    component = Vote
    settings: ClassVar[Mapping[str, Any]] = {"features": 8, "outputs": 3, "members": 4}


class TestWeightedMedianContract(HeadContract):
    component = WeightedMedian
    settings: ClassVar[Mapping[str, Any]] = {"features": 8, "members": 4}


def shifted(n: int = 40, m: int = 30, width: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(n, width, generator=generator, dtype=torch.float64)
    return source, torch.randn(m, width, generator=generator, dtype=torch.float64) * 0.7 + 0.8


def kernel(x: Array, y: Array, sigma: float) -> Array:
    return np.array([[math.exp(-float(((p - q) ** 2).sum()) / (2 * sigma**2)) for q in y] for p in x])


class TestKMM:
    """Huang et al. 2007."""

    @pytest.mark.parametrize(("bound", "slack"), [(1000.0, 0.8), (3.0, 0.1), (2.0, 0.0)])
    def test_it_solves_the_quadratic_program(self, bound: float, slack: float) -> None:
        source, target = shifted(25, 20)
        k = kernel(source.numpy(), source.numpy(), 0.6)
        kappa = 25 / 20 * kernel(source.numpy(), target.numpy(), 0.6).sum(1)
        solved = optimize.minimize(
            lambda b: b @ k @ b / 2 - kappa @ b,
            np.ones(25),
            jac=lambda b: k @ b - kappa,
            bounds=[(0, bound)] * 25,
            constraints=[
                {"type": "ineq", "fun": lambda b: 25 * (1 + slack) - b.sum(), "jac": lambda b: -np.ones(25)},
                {"type": "ineq", "fun": lambda b: b.sum() - 25 * (1 - slack), "jac": lambda b: np.ones(25)},
            ],
            method="SLSQP",
            options={"maxiter": 2000, "ftol": 1e-14},
        )
        found = match_means(torch.tensor(k), torch.tensor(kappa), bound, slack, steps=50_000).numpy()
        assert found.min() >= 0
        assert found.max() <= bound + 1e-9
        assert abs(found.sum() / 25 - 1) <= slack + 1e-6
        assert found @ k @ found / 2 - kappa @ found == pytest.approx(solved.fun, rel=1e-6)

    def test_projection(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            point = torch.randn(6, generator=generator, dtype=torch.float64) * 2
            found = project(point, 1.5, 3, 4).numpy()
            solved = optimize.minimize(
                lambda b, p: ((b - p) ** 2).sum(),
                np.full(6, 0.5),
                args=(point.numpy(),),
                bounds=[(0, 1.5)] * 6,
                constraints=[
                    {"type": "ineq", "fun": lambda b: 4 - b.sum()},
                    {"type": "ineq", "fun": lambda b: b.sum() - 3},
                ],
                options={"ftol": 1e-14},
            ).x
            assert found == pytest.approx(solved, abs=1e-5)

    def test_weights_follow_the_target(self) -> None:
        source, target = shifted(300, 300)
        weights = KMM().ratio(source, target)
        assert weights.mean().item() == pytest.approx(1)
        moved = (weights[:, None] * source).mean(0)
        assert (moved - target.mean(0)).norm() < (source.mean(0) - target.mean(0)).norm() / 5

    def test_equal_examples(self) -> None:
        same = torch.ones(6, 3, dtype=torch.float64)
        assert KMM().ratio(same, same[:4]).tolist() == pytest.approx([1] * 6)


class TestKLIEP:
    """Sugiyama et al. 2008."""

    def test_it_finds_the_largest_likelihood(self) -> None:
        source, target = shifted(40, 30)
        at_target, at_source = (kernel(x.numpy(), target.numpy()[:8], 0.7) for x in (target, source))
        found = fit_mixture(torch.tensor(at_target), torch.tensor(at_source)).numpy()
        solved = optimize.minimize(
            lambda a: -np.log(at_target @ a).mean(),
            np.full(8, 1 / at_source.mean(0).sum()),
            jac=lambda a: -(at_target / (at_target @ a)[:, None]).mean(0),
            bounds=[(0, None)] * 8,
            constraints=[{"type": "eq", "fun": lambda a: (at_source @ a).mean() - 1}],
            method="SLSQP",
            options={"maxiter": 1000, "ftol": 1e-14},
        )
        assert found.min() >= 0
        assert (at_source @ found).mean() == exactly(1)
        assert np.log(at_target @ found).mean() == pytest.approx(-solved.fun, abs=2e-5)

    def test_weights_come_near_the_ratio_of_densities(self) -> None:
        torch.manual_seed(0)  # centres are drawn
        source, target = shifted(400, 400, width=1)
        weights = KLIEP().ratio(source, target)
        true = torch.exp(source**2 / 2 - ((source - 0.8) / 0.7) ** 2 / 2)[:, 0] / 0.7
        assert torch.corrcoef(torch.stack([weights, true]))[0, 1] > 0.9

    @pytest.mark.parametrize("bandwidth", ["likelihood", 0.5])
    def test_degenerate(self, bandwidth: Any) -> None:
        """Equal examples, one target example, and domains that no kernel bridges: finite, of mean 1."""
        same = torch.ones(6, 3, dtype=torch.float64)
        for source, target in ((same, same), (same, same[:1]), (same, same[:3] + 1e6)):
            weights = KLIEP(bandwidth).ratio(source, target)
            assert torch.isfinite(weights).all()
            assert weights.mean().item() == pytest.approx(1)


class TestDomainClassifier:
    """Bickel et al. 2007; Platt 1999."""

    def test_weights_come_near_the_ratio_of_densities(self) -> None:
        generator = torch.Generator().manual_seed(0)
        source = torch.randn(400, 3, generator=generator, dtype=torch.float64)
        target = torch.randn(300, 3, generator=generator, dtype=torch.float64) + double(0.8, 0, 0)
        weights = DomainClassifier().ratio(source, target)
        true = torch.exp(0.8 * source[:, 0] - 0.32)
        assert weights.mean().item() == pytest.approx(1)
        assert torch.corrcoef(torch.stack([weights, true]))[0, 1] > 0.9

    def test_calibration_is_the_regularised_maximum_likelihood(self) -> None:
        source, target = double(-2, -1, 0.5, 0.1), double(1.5, 0.3, -0.2)
        odds, signs = np.concatenate([source, target]), np.array([-1.0] * 4 + [1.0] * 3)
        balance = np.array([7 / 8] * 4 + [7 / 6] * 3)

        def cost(line: Array) -> float:
            return float(line[0] ** 2 / 2 + (balance * np.log1p(np.exp(-signs * (line[0] * odds + line[1])))).sum())

        a, b = optimize.minimize(cost, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
        assert calibrated(source, target).tolist() == pytest.approx((a * source + b).tolist(), abs=1e-3)

    def test_no_example_is_told_by_what_it_taught(self) -> None:
        """With as many features as examples a regression tells all it was taught apart, and nothing else."""
        torch.manual_seed(0)
        noise = torch.randn(60, 200, dtype=torch.float64)
        source, target = held_out_odds(noise[:30], noise[30:], 5, 1.0)
        right = ((source < 0).double().mean() + (target > 0).double().mean()) / 2
        assert right < 0.75

    def test_domains_far_apart(self) -> None:
        source, target = shifted()
        weights = DomainClassifier().ratio(source, target + 1e4)
        assert torch.isfinite(weights).all()


def test_large_weights_are_cut() -> None:
    assert normalised(double(1, 1, 2)).tolist() == exactly([0.75, 0.75, 1.5])
    assert normalised(double(0, 0, 0, 1), 2.0).tolist() == exactly([0, 0, 0, 4])
    cut = normalised(torch.cat([torch.ones(99), torch.full((1,), 101.0)]).double(), 5.0)
    assert cut.mean().item() == exactly(1)
    assert (cut[-1] / cut[0]).item() == exactly(10)


class TwoWays(Dataset):
    """Points, and on which side of a plane they are; of some, in a cloud of their own, another plane.

    Args:
        count: how many.
        misleading: share of points whose class follows another rule than the target's.
        seed: other seeds give other points.
        numbers: whether labels are numbers, not classes.
        width: coordinates of a point; all beyond the sixth are 0.
    """

    name = "two_ways"
    modality = "vector"

    def __init__(
        self, count: int = 60, misleading: float = 0.0, seed: int = 0, numbers: bool = False, width: int = 6
    ) -> None:
        self.count, self.misleading, self.seed, self.numbers, self.width = count, misleading, seed, numbers, width

    def splits(self) -> list[str]:
        return []

    def open(self, split: str | None, labels: bool) -> Examples:
        generator = np.random.default_rng(self.seed)
        inputs = generator.normal(size=(self.count, 6)).astype(np.float32)
        other = generator.random(self.count) < self.misleading
        inputs[other, 5] += 3  # so that a learner can tell which rule holds
        value = np.where(other, -inputs[:, 0], inputs[:, 0] + 0.3 * inputs[:, 1])
        told = torch.tensor(value) if self.numbers else (value > 0).astype(int).tolist()
        return Examples(
            np.pad(inputs, ((0, 0), (0, self.width - 6))),  # type: ignore[arg-type]
            told if labels else None,
            ("no", "yes") if labels and not self.numbers else None,
            f"two-ways-{self.count}-{self.misleading}-{self.seed}",
            "point {}".format,
            task="regression" if self.numbers else "classification",
        )


class Interrupting(Adapter):
    """Presses Ctrl-C as the second round ends."""

    name = "interrupting"

    def end_round(self, run: Run) -> None:
        if run.round == 1:
            signal.raise_signal(signal.SIGINT)


def catalog() -> Catalog:
    kinds: dict[str, list[type]] = {"backbones": [Vectors], "datasets": [TwoWays], "heads": [Vote, WeightedMedian]}
    return toy_catalog(adapters=[*ADAPTERS, Interrupting], **kinds)


def on_points(
    *adapters: dict[str, Any], numbers: bool = False, labelled: int = 20, width: int = 6, **settings: Any
) -> dict[str, Any]:
    """A manifest on points: a source of two rules, a few labelled target examples of one of them."""
    data = {"use": "two_ways", "numbers": numbers, "width": width}
    return {
        "backbone": {"use": "vectors", "inputs": width},
        "source": {**data, "count": 300, "misleading": 0.6},
        "target": {**data, "count": labelled, "seed": 1, "labels": "all"},
        "evaluate": {**data, "count": 400, "seed": 2},
        "adapters": list(adapters),
        "train": {"epochs": 2, "batch": 16, "lr": 0.05, "workers": 0, **settings},
    }


def compose(manifest: dict[str, Any]) -> Run:
    known = catalog()
    loaded = manifests.from_dict(manifest, catalog=known)
    return Run(loaded, known, open_data(loaded, known), torch.device("cpu"))


def trained(manifest: dict[str, Any], folder: Path) -> Run:
    run = compose(manifest)
    train(run, Checkpoints(folder), Watch())
    return run


class TestBoosting:
    @pytest.mark.parametrize("name", ["tradaboost", "tradaboost_soft"])
    @pytest.mark.parametrize("learner", ["linear", "logistic", "svm"])
    def test_a_misleading_source_is_unlearned(self, name: str, learner: str, tmp_path: Path) -> None:
        adapter = {"use": name, "learner": learner, "initial": "halves"}
        result = adapt(on_points(adapter), out=tmp_path, catalog=catalog())
        source_only, boosted = (row.score.value for row in result.rows)
        assert boosted > max(source_only + 0.1, 0.8)
        assert load(tmp_path, "cpu", catalog()).model.head.name == "vote"

    @pytest.mark.parametrize("learner", ["linear", "ridge"])
    def test_numbers(self, learner: str, tmp_path: Path) -> None:
        adapter = {"use": "tradaboost_r2", "learner": learner, "initial": "halves"}
        result = adapt(on_points(adapter, numbers=True), out=tmp_path, catalog=catalog())
        source_only, boosted = (row.score.value for row in result.rows)
        assert boosted > source_only + 0.3
        assert load(tmp_path, "cpu", catalog()).model.head.name == "weighted_median"

    def test_the_rounds_are_those_of_the_paper(self, tmp_path: Path) -> None:
        """The same weights and votes as a loop around scikit-learn."""
        from sklearn.linear_model import LogisticRegression

        adapter = {"use": "tradaboost", "learner": "logistic", "rounds": 4, "c": 0.02, "balance": False}
        run = trained(on_points(adapter), tmp_path)
        booster = run.adapters[0]
        assert isinstance(booster, Booster)
        domains = [run.sources[0], run.targets[0]]
        x = np.stack([domain.raw(row) for domain in domains for row in range(len(domain))]).astype(float)
        y = torch.cat([run.sources[0].labels, run.targets[0].labels]).numpy()  # type: ignore[list-item]
        weights, votes = np.ones(320), []
        for _ in range(4):
            model = LogisticRegression(C=0.02, max_iter=500).fit(x, y, sample_weight=weights / weights.mean())
            wrong = model.predict(x) != y
            epsilon = min(max(weights[300:][wrong[300:]].sum() / weights[300:].sum(), 0.001), 0.5)
            votes.append(math.log((1 - epsilon) / epsilon))
            weights[:300][wrong[:300]] /= 1 + math.sqrt(2 * math.log(300) / 4)
            weights[300:][wrong[300:]] *= (1 - epsilon) / epsilon
        assert booster.votes.tolist() == pytest.approx(votes[1:], rel=1e-5)
        assert booster.shares.tolist() == pytest.approx((weights / weights.sum()).tolist(), rel=1e-4)

    def test_the_loops_loss_is_the_mean_by_the_shares(self) -> None:
        """Over all examples of domains of unequal size, of which a batch has equally many."""
        run = compose(on_points({"use": "tradaboost", "balance": False}))
        booster = run.adapters[0]
        assert isinstance(booster, Booster)
        booster.shares.copy_(torch.rand(320))
        booster.start_round(run)
        losses = torch.rand(320)
        total = torch.zeros(())
        for domain, part in zip(run.domains, losses.split([300, 20]), strict=True):
            nothing = torch.zeros(len(domain), 0)
            view = View(
                domain.role, (domain,), torch.arange(len(domain)), nothing, domain.labels, nothing, nothing, None
            )  # type: ignore[arg-type]
            total += (booster.weights(view) * part).mean() / 2
        assert total.item() == pytest.approx((booster.shares * losses).sum().item(), rel=1e-5)

    def test_scikit_learns_learner_takes_no_step_of_the_loop(self, tmp_path: Path) -> None:
        run = compose(on_points({"use": "tradaboost", "learner": "svm"}))
        assert run.steps == 0
        assert train(run, Checkpoints(tmp_path), Watch()) == []

    def test_interrupted_between_rounds_it_goes_on_to_the_same_bits(self, tmp_path: Path) -> None:
        boosting = {"use": "tradaboost_soft", "learner": "svm", "rounds": 5}
        whole = trained(on_points(boosting), tmp_path / "whole").model.state_dict()
        interrupted = on_points(boosting, {"use": "interrupting"})
        with pytest.raises(Interrupted):
            trained(interrupted, tmp_path / "parts")
        resumed = trained(interrupted, tmp_path / "parts").model.state_dict()
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(resumed[name], value) for name, value in whole.items())

    @pytest.mark.parametrize(("width", "sparse"), [(6, False), (600, True)])
    @pytest.mark.parametrize("stored", [False, True])
    def test_features_with_few_numbers_become_a_sparse_matrix(self, width: int, sparse: bool, stored: bool) -> None:
        run = compose(on_points({"use": "tradaboost"}, width=width))
        inputs = [np.stack([domain.raw(row) for row in range(len(domain))]) for domain in run.domains]
        if stored:
            run.features = {d.key: torch.tensor(part) for d, part in zip(run.domains, inputs, strict=True)}
        found = all_features(run, run.domains)
        assert issparse(found) == sparse
        assert np.array_equal(found.toarray() if sparse else found, np.concatenate(inputs))

    def test_what_is_below_the_head_may_not_learn_which_is_told_before_anything_is_trained(self) -> None:
        neck = {"use": "head_swap", "bottleneck": 4}
        with pytest.raises(UserError, match=r"same features(.|\n)*partial_freeze"):
            compose(on_points({"use": "tradaboost"}, neck))

    def test_a_task_it_does_not_learn(self) -> None:
        with pytest.raises(UserError, match=r"one class(.|\n)*tradaboost_r2"):
            compose(on_points({"use": "tradaboost"}, numbers=True))
        with pytest.raises(UserError, match="a number"):
            compose(on_points({"use": "tradaboost_r2"}))

    def test_it_needs_target_labels(self) -> None:
        manifest = on_points({"use": "tradaboost"})
        manifest["target"]["labels"] = "none"
        with pytest.raises(UserError, match="target labels"):
            compose(manifest)


class TestDensityInARun:
    @pytest.mark.parametrize("name", ["kmm", "kliep", "domain_classifier"])
    def test_source_examples_like_the_target_count_more(self, name: str, tmp_path: Path) -> None:
        """The target has no point of the misleading kind, which column 5 tells."""
        manifest = on_points({"use": name}, labelled=200)
        manifest["target"]["labels"] = "none"
        run = trained(manifest, tmp_path)
        weights: Tensor = run.adapters[0].ratios  # type: ignore[assignment]
        inputs = torch.stack([torch.as_tensor(run.sources[0].raw(row)) for row in range(300)])
        misleading = inputs[:, 5] > 1.5
        assert weights.mean().item() == pytest.approx(1, rel=1e-4)
        assert weights[misleading].mean() < weights[~misleading].mean() / 2

    def test_kmm_refuses_a_source_it_cannot_hold(self) -> None:
        manifest = on_points({"use": "kmm"})
        manifest["source"]["count"] = 10_001
        with pytest.raises(UserError, match=r"10000 at most(.|\n)*kliep"):
            compose(manifest)

    def test_domain_classifier_refuses_less_than_an_example_a_part(self) -> None:
        with pytest.raises(UserError, match="`folds`"):
            compose(on_points({"use": "domain_classifier", "folds": 40}))


class TestVectors(BackboneContract):
    component = Vectors
    settings: ClassVar[Mapping[str, Any]] = {"inputs": 4}

    def test_the_gradient_reaches_every_parameter(self) -> None:
        assert list(self.make().parameters()) == []

    def test_a_vector_of_another_length(self) -> None:
        with pytest.raises(DataError, match=r"vectors of 4(.|\n)*inputs: 3"):
            ToTensor(4)([1.0, 2.0, 3.0])

    def test_it_counts_as_frozen(self, tmp_path: Path) -> None:
        manifest = on_points()
        run = trained(manifest, tmp_path)
        assert not run.model.backbone_learns
        assert run.features["source"].shape == (300, 6)


class Contract(AdapterContract):
    """On the toys, with the target's labels."""

    __test__ = False
    others: ClassVar[list[Mapping[str, Any]]] = [FROZEN]

    def manifest(self, **settings: Any) -> dict[str, Any]:
        manifest = super().manifest(**settings)
        manifest["target"]["labels"] = "all"
        return manifest

    def catalog(self) -> Catalog:
        return toy_catalog(adapters=[self.component], heads=[Vote, WeightedMedian])


class TestTrAdaBoost(Contract):
    __test__ = True
    component = TrAdaBoost
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 3}


class TestTrAdaBoostOnTexts(Contract):
    __test__ = True
    component = TrAdaBoost
    modality: ClassVar[Literal["image", "text"]] = "text"
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 2, "learner": "logistic"}


class TestTrAdaBoostSoft(Contract):
    __test__ = True
    component = TrAdaBoostSoft
    modality: ClassVar[Literal["image", "text"]] = "text"
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 2}


class TestTrAdaBoostSoftSVM(Contract):
    __test__ = True
    component = TrAdaBoostSoft
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 2, "learner": "svm"}


class TestTrAdaBoostR2(Contract):
    __test__ = True
    component = TrAdaBoostR2
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 2}

    def manifest(self, **settings: Any) -> dict[str, Any]:
        manifest = super().manifest(**settings)
        for role in ("source", "target", "evaluate"):
            manifest[role]["classes"] = {"flat": "0", "left": "1", "right": "2"}
        return {**manifest, "task": {"use": "regression"}}


class TestKMMContract(Contract):
    __test__ = True
    component = KMM
    others: ClassVar[list[Mapping[str, Any]]] = []


class TestKLIEPContract(Contract):
    __test__ = True
    component = KLIEP
    others: ClassVar[list[Mapping[str, Any]]] = []


class TestDomainClassifierContract(Contract):
    __test__ = True
    component = DomainClassifier
    others: ClassVar[list[Mapping[str, Any]]] = []


class TestDomainClassifierOnTexts(Contract):
    __test__ = True
    component = DomainClassifier
    modality: ClassVar[Literal["image", "text"]] = "text"
    others: ClassVar[list[Mapping[str, Any]]] = []
