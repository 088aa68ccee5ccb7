"""The validators' formulas against implementations written from the papers, and at their known limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import special, stats
from scipy.optimize import minimize
from torch import Tensor

from tlhub.errors import SettingError
from tlhub.validator import Outputs
from tlhub_validators.bnm import nuclear_norm
from tlhub_validators.circular import reverse_accuracy
from tlhub_validators.class_ami import clusters_agreement
from tlhub_validators.density import density_ratio
from tlhub_validators.dev import deep_embedded_risk
from tlhub_validators.ensemble import Ensemble, mean_scaled, scaled
from tlhub_validators.entropy import mean_entropy
from tlhub_validators.information_maximization import mutual_information
from tlhub_validators.iwv import importance_weighted_risk
from tlhub_validators.mixval import interpolation_consistency
from tlhub_validators.rankme import effective_rank
from tlhub_validators.sample import ROWS, sample
from tlhub_validators.silhouette import mean_silhouette
from tlhub_validators.snd import neighbourhood_density

Array = npt.NDArray[np.float64]

ROWS_AND_CLASSES = [(1, 2), (2, 2), (3, 5), (40, 3), (200, 7)]


def nearly(value: float) -> Any:
    """Equal to 10 digits: the tolerance of all reference values in float64."""
    return pytest.approx(value, rel=1e-10, abs=1e-12)


def logits(rows: int = 40, classes: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


def probabilities(given: Tensor) -> Array:
    return np.asarray(special.softmax(given.numpy(), axis=1))


def sure(answers: list[int], classes: int) -> Tensor:
    """Logits that leave no doubt."""
    return 1e4 * torch.nn.functional.one_hot(torch.tensor(answers), classes).double()


def blobs(each: int = 20, classes: int = 3, apart: float = 50.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features in as many far clusters as classes, and the number of each one's cluster."""
    generator = torch.Generator().manual_seed(seed)
    centres = apart * torch.eye(classes, 4, dtype=torch.float64)
    labels = torch.arange(each * classes) % classes
    return centres[labels] + torch.randn(len(labels), 4, generator=generator, dtype=torch.float64), labels


class TestAnswersAlone:
    """Entropy, mutual information, the nuclear norm and neighbourhood density are functions of probabilities."""

    @pytest.mark.parametrize(("rows", "classes"), ROWS_AND_CLASSES)
    def test_entropy(self, rows: int, classes: int) -> None:
        given = logits(rows, classes)
        assert mean_entropy(given) == nearly(stats.entropy(probabilities(given), axis=1).mean())

    @pytest.mark.parametrize(("rows", "classes"), ROWS_AND_CLASSES)
    def test_mutual_information_is_the_divergence_from_the_mean_answer(self, rows: int, classes: int) -> None:
        given = logits(rows, classes)
        p = probabilities(given)
        assert mutual_information(given) == nearly(np.mean([stats.entropy(row, p.mean(0)) for row in p]))

    @pytest.mark.parametrize(("rows", "classes"), ROWS_AND_CLASSES)
    def test_the_nuclear_norm_is_the_trace_of_a_root(self, rows: int, classes: int) -> None:
        p = probabilities(given := logits(rows, classes))
        eigenvalues = np.linalg.eigvalsh(p.T @ p).clip(min=0)
        assert nuclear_norm(given) == pytest.approx(np.sqrt(eigenvalues).sum() / rows, rel=1e-7)

    @pytest.mark.parametrize(("rows", "classes"), ROWS_AND_CLASSES[1:])
    @pytest.mark.parametrize("temperature", [0.05, 1.0])
    def test_neighbourhood_density(self, rows: int, classes: int, temperature: float) -> None:
        p = probabilities(given := logits(rows, classes))
        entropies = []
        for i in range(rows):
            others = [j for j in range(rows) if j != i]
            cosines = [p[i] @ p[j] / np.linalg.norm(p[i]) / np.linalg.norm(p[j]) for j in others]
            entropies.append(stats.entropy(special.softmax(np.array(cosines) / temperature)))
        assert neighbourhood_density(given, temperature) == nearly(np.mean(entropies))

    @pytest.mark.parametrize(
        "formula", [mean_entropy, mutual_information, nuclear_norm, lambda given: neighbourhood_density(given, 0.05)]
    )
    def test_names_of_classes_do_not_matter(self, formula: Any) -> None:
        given = logits(classes=5)
        assert formula(given[:, [3, 0, 4, 1, 2]]) == nearly(formula(given))

    @pytest.mark.parametrize(
        ("formula", "uniform", "one_class", "even"),
        [
            (mean_entropy, math.log(4), 0.0, 0.0),
            (mutual_information, 0.0, 0.0, math.log(4)),
            (nuclear_norm, 1 / math.sqrt(8 * 4), 1 / math.sqrt(8), math.sqrt(4 / 8)),
            # all seven others alike; and of even answers the one with the same, beside six at cosine 0
            (
                lambda given: neighbourhood_density(given, 0.05),
                math.log(7),
                math.log(7),
                float(stats.entropy(special.softmax([20.0] + [0.0] * 6))),
            ),
        ],
    )
    def test_of_answers_without_any_clue_of_one_class_and_of_all(
        self, formula: Any, uniform: float, one_class: float, even: float
    ) -> None:
        assert formula(torch.zeros(8, 4)) == nearly(uniform)
        assert formula(sure([2] * 8, 4)) == nearly(one_class)
        assert formula(sure([0, 1, 2, 3] * 2, 4)) == nearly(even)

    def test_one_example_has_no_neighbours(self) -> None:
        assert neighbourhood_density(logits(1), 0.05) == 0


class TestWeightedRisks:
    """IWV and DEV."""

    @pytest.mark.parametrize("rows", [2, 5, 300])
    def test_iwv_and_dev(self, rows: int) -> None:
        random = np.random.default_rng(rows)
        w, losses = random.gamma(2, 0.5, rows), random.gamma(1, 1, rows)
        given = torch.from_numpy(w), torch.from_numpy(losses)
        assert importance_weighted_risk(*given) == nearly(float(np.mean(w * losses)))
        covariance = np.cov(w * losses, w)
        eta = -covariance[0, 1] / covariance[1, 1]
        assert deep_embedded_risk(*given) == nearly(np.mean(w * losses) + eta * np.mean(w) - eta)

    def test_equal_weights_need_no_correction(self) -> None:
        losses = torch.tensor([1.0, 4.0], dtype=torch.float64)
        assert deep_embedded_risk(torch.ones(2).double(), losses) == 2.5
        assert deep_embedded_risk(torch.ones(1).double(), losses[:1]) == 1.0

    def test_the_control_variate_takes_away_variance(self) -> None:
        """Of losses that hardly vary, the weighted mean varies as the weights' mean does, which is known to be 1."""
        random = np.random.default_rng(0)
        iwv, dev = [], []
        for _ in range(200):
            weights, losses = torch.from_numpy(random.gamma(1, 1, 50)), torch.from_numpy(random.normal(3, 0.3, 50))
            iwv.append(importance_weighted_risk(weights, losses))
            dev.append(deep_embedded_risk(weights, losses))
        assert np.mean(iwv) == pytest.approx(3, abs=0.1)
        assert np.mean(dev) == pytest.approx(3, abs=0.1)
        assert np.std(dev) < np.std(iwv) / 4

    def test_the_ratio_is_that_of_a_logistic_regression(self) -> None:
        random = np.random.default_rng(1)
        source, target, asked = random.normal(0, 2, (60, 3)), random.normal(1, 1, (25, 3)), random.normal(0, 2, (10, 3))
        both = np.concatenate([source, target])
        sign = np.where(np.arange(85) < 60, -1.0, 1.0)
        mean, spread = both.mean(0), both.std(0)

        def penalised(beta: Array) -> float:
            margins = sign * ((both - mean) / spread @ beta[:3] + beta[3])
            return float(np.logaddexp(0, -margins).sum() + beta[:3] @ beta[:3] / 2)

        beta = minimize(penalised, np.zeros(4), tol=1e-12).x
        expected = np.exp((asked - mean) / spread @ beta[:3] + beta[3]) * 60 / 25
        found = density_ratio(*map(torch.from_numpy, (source, target, asked)))
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-2)  # it stops where the gradient is below 1e-4

    def test_the_ratio_of_gaussians_whatever_the_domains_sizes(self) -> None:
        random = np.random.default_rng(2)
        source, target = random.normal(0, 1, (6000, 1)), random.normal(1, 1, (1500, 1))
        asked = np.linspace(-1, 2, 7)[:, None]
        found = density_ratio(*map(torch.from_numpy, (source, target, asked)))
        np.testing.assert_allclose(
            found.numpy(), stats.norm.pdf(asked[:, 0], 1) / stats.norm.pdf(asked[:, 0]), rtol=0.2
        )

    def test_domains_that_a_line_tells_apart_give_finite_ratios(self) -> None:
        far = torch.tensor([[1e6], [2e6]])
        assert torch.isfinite(density_ratio(-far, far, torch.tensor([[1e12], [-1e12]]))).all()


def adjusted_mutual_information(a: Array, b: Array) -> float:
    """Vinh et al. 2010, equation 24, with the mean of both entropies: AMI = (I - E[I]) / (mean(H) - E[I])."""
    n = len(a)
    table = np.array([[np.sum((a == i) & (b == j)) for j in np.unique(b)] for i in np.unique(a)])
    rows, columns = table.sum(1), table.sum(0)

    def term(count: float, row: float, column: float) -> float:
        return count / n * math.log(n * count / (row * column)) if count else 0.0

    information = expected = 0.0
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            information += term(table[i, j], row, column)
            chance = stats.hypergeom(n, row, column)
            expected += sum(term(k, row, column) * chance.pmf(k) for k in range(1, min(row, column) + 1))
    mean = (stats.entropy(rows / n) + stats.entropy(columns / n)) / 2
    return float((information - expected) / (mean - expected))


class TestClusters:
    """ClassAMI, silhouettes, RankMe and reverse validation look at features."""

    def test_agreement_with_clusters_that_are_plain(self) -> None:
        features, cluster = blobs()
        answers = torch.from_numpy(np.random.default_rng(0).integers(0, 3, 60))
        answers = torch.where(torch.arange(60) < 40, cluster, answers)
        expected = adjusted_mutual_information(answers.numpy(), cluster.numpy())
        assert 0.2 < expected < 0.9
        assert clusters_agreement(features, answers, 3) == nearly(expected)

    def test_agreement_is_1_under_any_names_and_0_of_one_class(self) -> None:
        features, cluster = blobs()
        assert clusters_agreement(features, (cluster + 1) % 3, 3) == nearly(1)
        assert clusters_agreement(features, torch.zeros_like(cluster), 3) == nearly(0)

    @pytest.mark.parametrize("rows", [1, 2, 3])
    def test_agreement_of_fewer_examples_than_classes_is_finite(self, rows: int) -> None:
        assert math.isfinite(clusters_agreement(torch.randn(rows, 2), torch.arange(rows), 5))

    def test_agreement_of_equal_features_is_finite(self) -> None:
        assert math.isfinite(clusters_agreement(torch.ones(6, 2), torch.arange(6) % 2, 2))

    def test_silhouettes(self) -> None:
        features = np.random.default_rng(0).normal(size=(25, 3))
        answers = np.arange(25) % 4
        answers[0] = 7  # a class of its own: its silhouette is 0
        each = []
        for i in range(25):
            distances = np.linalg.norm(features - features[i], axis=1)
            own = (answers == answers[i]) & (np.arange(25) != i)
            if not own.any():
                each.append(0.0)
                continue
            a = distances[own].mean()
            b = min(distances[answers == other].mean() for other in set(answers) - {answers[i]})
            each.append((b - a) / max(a, b))
        assert mean_silhouette(torch.from_numpy(features), torch.from_numpy(answers)) == nearly(float(np.mean(each)))

    @pytest.mark.parametrize("answers", [[0, 0, 0], [0, 1, 2], [0]])
    def test_without_clusters_there_is_the_worst_silhouette(self, answers: list[int]) -> None:
        assert mean_silhouette(torch.randn(len(answers), 2), torch.tensor(answers)) == -1

    @pytest.mark.parametrize(("rows", "width"), [(1, 3), (5, 9), (60, 4)])
    def test_effective_rank(self, rows: int, width: int) -> None:
        features = np.random.default_rng(rows).normal(size=(rows, width))
        shares = np.linalg.svd(features, compute_uv=False)
        shares = shares / shares.sum() + 1e-7
        assert effective_rank(torch.from_numpy(features)) == nearly(max(1, np.exp(-(shares * np.log(shares)).sum())))

    def test_effective_rank_of_plain_features(self) -> None:
        assert effective_rank(torch.eye(6)) == pytest.approx(6, rel=1e-5)
        assert effective_rank(torch.ones(6, 4)) == pytest.approx(1, rel=1e-4)
        assert effective_rank(torch.zeros(6, 4)) == pytest.approx(1, rel=1e-4)

    def test_right_answers_lead_back_to_the_source_and_swapped_ones_do_not(self) -> None:
        target, cluster = blobs(seed=1)
        source, labels = blobs(seed=2)
        assert reverse_accuracy(target, cluster, source, labels) == 1
        assert reverse_accuracy(target, (cluster + 1) % 3, source, labels) == 0

    def test_one_answer_for_all_leads_back_to_its_share_of_the_source(self) -> None:
        target, cluster = blobs(seed=1)
        source, labels = blobs(seed=2)
        labels[:10] = 2
        share = float((labels == 2).double().mean())
        assert reverse_accuracy(target, torch.full_like(cluster, 2), source, labels) == nearly(share)


class TestMixtures:
    """MixVal's shares."""

    def test_pairs_within_and_between_clusters_count_alike(self) -> None:
        first, second = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 1, 2, 1, 0])
        mixed = torch.tensor([0, 1, 1, 1, 1, 0])  # two of three, and one of three
        assert interpolation_consistency(first, second, mixed) == nearly((2 / 3 + 1 / 3) / 2)

    def test_one_class_for_all_scores_half(self) -> None:
        same = torch.zeros(5, dtype=torch.long)
        assert interpolation_consistency(same, same, same) == 0.5

    def test_no_pair_at_all_scores_0(self) -> None:
        nothing = torch.zeros(0, dtype=torch.long)
        assert interpolation_consistency(nothing, nothing, nothing) == 0


class TestEnsemble:
    """Members are brought to one scale, whatever the other epochs."""

    @pytest.mark.parametrize("rows", [12, 3 * ROWS])
    def test_the_scale_ends_where_the_formulas_do(self, rows: int) -> None:
        even, one_class, uniform = sure([0, 1, 2] * (rows // 3), 3), sure([1] * rows, 3), torch.zeros(rows, 3)
        part = ROWS if rows > ROWS else rows
        assert scaled("entropy", -mean_entropy(uniform), rows, 3) == nearly(0)
        assert scaled("entropy", -mean_entropy(even), rows, 3) == nearly(1)
        assert scaled("information_maximization", mutual_information(one_class), rows, 3) == nearly(0)
        assert scaled("information_maximization", mutual_information(even), rows, 3) == nearly(1)
        assert scaled("bnm", nuclear_norm(uniform), rows, 3) == nearly(0)
        assert scaled("bnm", nuclear_norm(even), rows, 3) == nearly(1)
        assert scaled("snd", neighbourhood_density(one_class[:part], 0.05), rows, 3) == nearly(1)
        assert scaled("silhouette", -1.0, rows, 3) == 0
        assert scaled("source_score", 0.75, rows, 3) == 0.75

    def test_members_weigh_alike_on_that_scale(self) -> None:
        assert mean_scaled({"source_score": 0.5, "silhouette": 0.0}, 12, 3) == 0.5
        assert mean_scaled({"source_score": 1.0, "silhouette": -1.0, "entropy": 0.0}, 12, 3) == nearly(2 / 3)

    def test_no_validator_is_listed_twice(self) -> None:
        with pytest.raises(SettingError, match="listed twice"):
            Ensemble(("snd", "bnm", "snd"))


class TestSample:
    """Many examples are looked at in part, the same part each time."""

    def test_the_same_examples_whatever_the_global_generator(self) -> None:
        many = Outputs(torch.arange(5000.0)[:, None], torch.arange(5000.0)[:, None] + 1, torch.arange(5000))
        torch.manual_seed(1)
        first = sample(many)
        torch.manual_seed(2)
        second = sample(many)
        assert torch.equal(first.features, second.features)
        assert first.labels is not None
        assert first.features[:, 0].tolist() == first.labels.tolist() == (first.logits[:, 0] - 1).tolist()
        assert len(set(first.labels.tolist())) == ROWS

    def test_few_are_all_looked_at(self) -> None:
        few = Outputs(torch.zeros(ROWS, 1), torch.zeros(ROWS, 2), None)
        assert sample(few) is few
