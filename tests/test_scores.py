"""Scores of backbones: held to published values, to plain implementations of the papers, and to their known limits."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

import tlhub_scores
from tlhub.catalog import Catalog
from tlhub.errors import DataError
from tlhub.score import TransferScore
from tlhub.testing import TransferScoreContract

CATALOG = Catalog({"scores": tlhub_scores})
NAMES = [entry.name for entry in CATALOG.entries("scores")]
OF_FEATURES = [entry.name for entry in CATALOG.entries("scores") if entry.cls.reads == "features"]
OF_PROBABILITIES = [name for name in NAMES if name not in OF_FEATURES]


def made(name: str, **settings: object) -> TransferScore:
    score: TransferScore = CATALOG.create("scores", name, settings)
    return score


def measured(name: str, given: object, labels: object, **settings: object) -> float:
    return made(name, **settings).measure(torch.as_tensor(given, dtype=torch.float64), torch.as_tensor(labels))


def sines(examples: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The features and labels of the published values of LogME."""
    rows, columns = np.arange(examples)[:, None], np.arange(width)
    features = np.sin(1 + 0.7 * rows * (columns + 1)) + 0.5 * (rows % 3 == columns % 3)
    return features, np.arange(examples) % 3


def clouds(examples: int, width: int, apart: float, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes of unequal size and shape whose means lie `apart`."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (examples,), generator=generator)
    labels[: 2 * classes] = torch.arange(2 * classes) % classes
    means = torch.randn(classes, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(examples, width, generator=generator, dtype=torch.float64)
    return 5 + apart * means[labels] + noise * (1 + labels[:, None]) * torch.linspace(0.5, 2, width), labels


def answers(examples: int, sure: float, sources: int = 4) -> tuple[Tensor, Tensor]:
    """Probabilities of source classes that go with three labels, the more so the more `sure`."""
    features, labels = clouds(examples, sources, 1.0)
    logits = torch.eye(sources, dtype=torch.float64)[labels] * sure + 0.1 * features
    return logits.softmax(1), labels


def given(name: str, apart: float, examples: int = 60) -> tuple[Tensor, Tensor]:
    return clouds(examples, 6, apart) if name in OF_FEATURES else answers(examples, apart)


# Published values


def test_leep_of_four_examples() -> None:
    theta = [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]]
    assert measured("leep", theta, [0, 0, 1, 1]) == pytest.approx(-0.4712479065218318, rel=1e-10)


def test_hscore_of_six_examples() -> None:
    features = [[1, 0], [2, 1], [0, 1], [3, 3], [4, 2], [5, 5]]
    assert measured("hscore", features, [0, 0, 0, 1, 1, 1]) == pytest.approx(0.7936507936507938, rel=1e-10)


@pytest.mark.parametrize(("examples", "width", "value"), [(40, 3, -0.5764070051), (12, 30, -0.6222093105)])
def test_logme_with_more_examples_than_features_and_with_fewer(examples: int, width: int, value: float) -> None:
    assert measured("logme", *sines(examples, width)) == pytest.approx(value, abs=1e-7)


# Plain implementations


def log_evidence(features: np.ndarray, target: np.ndarray, prior: float, noise: float) -> float:
    """Of y ~ N(0, 1 / noise + F F' / prior), for an example."""
    covariance = np.eye(len(target)) / noise + features @ features.T / prior
    quadratic = target @ np.linalg.solve(covariance, target)
    return -0.5 * (len(target) * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + quadratic) / len(target)


@pytest.mark.parametrize(("examples", "width", "apart"), [(40, 3, 1.0), (60, 5, 0.3), (80, 10, 2.0)])
def test_logme_is_the_largest_log_evidence(examples: int, width: int, apart: float) -> None:
    features, labels = clouds(examples, width, apart)
    best = []
    for number in range(3):
        target = (labels == number).double().numpy()
        found = [
            -minimize(
                lambda logs, target=target: -log_evidence(features.numpy(), target, *np.exp(logs)),
                start,
                method="Nelder-Mead",
                options={"xatol": 1e-7, "fatol": 1e-11, "maxiter": 2000},
            ).fun
            for start in ([0, 0], [3, 1])
        ]
        best.append(max(found))
    assert measured("logme", features, labels) == pytest.approx(np.mean(best), abs=1e-6)


def test_leep_is_the_mean_log_of_the_expected_empirical_prediction() -> None:
    theta, labels = answers(30, 1.0)
    logs = []
    for row, label in zip(theta.tolist(), labels.tolist(), strict=True):
        total = 0.0
        for source, probability in enumerate(row):
            mass = sum(theta[:, source].tolist())
            shared = sum(theta[labels == label, source].tolist())
            total += probability * shared / mass
        logs.append(math.log(total))
    assert measured("leep", theta, labels) == pytest.approx(np.mean(logs), rel=1e-10)


def test_nce_is_minus_the_conditional_entropy() -> None:
    theta, labels = answers(50, 0.5)
    guesses = theta.argmax(1).tolist()
    entropy = 0.0
    for source in set(guesses):
        inside = [label for label, guess in zip(labels.tolist(), guesses, strict=True) if guess == source]
        shares = [inside.count(label) / len(inside) for label in set(inside)]
        entropy -= len(inside) / 50 * sum(share * math.log(share) for share in shares)
    assert measured("nce", theta, labels) == pytest.approx(-entropy, rel=1e-10)


def class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([features[labels == label].mean(0) for label in labels])


@pytest.mark.parametrize(("examples", "width"), [(50, 4), (200, 20)])
def test_hscore_is_the_trace_of_a_covariance_in_units_of_another(examples: int, width: int) -> None:
    features, labels = (each.numpy() for each in clouds(examples, width, 0.7))
    expected = np.trace(np.linalg.pinv(np.cov(features.T)) @ np.cov(class_means(features, labels).T))
    assert measured("hscore", features, labels) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("examples", "width"), [(200, 5), (40, 20), (20, 60)])
def test_the_shrunk_hscore_has_the_covariance_of_ledoit_and_wolf(examples: int, width: int) -> None:
    from sklearn.covariance import LedoitWolf

    features, labels = (each.numpy() for each in clouds(examples, width, 0.7))
    fitted = LedoitWolf().fit(features)
    between = np.cov(class_means(features, labels).T, bias=True)
    expected = np.trace(np.linalg.solve(fitted.covariance_, (1 - fitted.shrinkage_) * between))
    assert measured("hscore_shrunk", features, labels) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("examples", "width"), [(100, 4), (20, 30)])
def test_transrate_is_a_difference_of_coding_rates(examples: int, width: int) -> None:
    features, labels = (each.numpy() for each in clouds(examples, width, 0.7))
    centred = features - features.mean(0)
    centred = centred / np.sqrt((centred**2).sum(1).mean())

    def rate(part: np.ndarray) -> float:
        return 0.5 * float(np.linalg.slogdet(np.eye(width) + part.T @ part / (len(part) * 1e-2))[1])

    inside = sum((labels == label).mean() * rate(centred[labels == label]) for label in range(3))
    assert measured("transrate", features, labels, epsilon=1e-2) == pytest.approx(rate(centred) - inside, rel=1e-8)


def test_gbc_sums_the_overlap_of_pairs_of_gaussians() -> None:
    features, labels = (each.numpy() for each in clouds(90, 4, 0.5))
    _, axes = np.linalg.eigh(np.cov(features.T))
    turned = (features - features.mean(0)) @ axes[:, ::-1][:, :3]
    total = 0.0
    for one, other in itertools.permutations(range(3), 2):
        first, second = turned[labels == one], turned[labels == other]
        variance = (first.var(0) + second.var(0)) / 2
        distance = ((first.mean(0) - second.mean(0)) ** 2 / variance).sum() / 8
        distance += 0.5 * np.log(variance / np.sqrt(first.var(0) * second.var(0))).sum()
        total += math.exp(-distance)
    assert measured("gbc", features, labels, components=3) == pytest.approx(-total, rel=1e-8)


def test_the_linear_probe_is_right_as_often_as_a_line_is() -> None:
    features = torch.linspace(-1, 1, 101)[:, None].repeat(1, 2)
    exclusive = (features[:, 0] > 0) ^ (torch.arange(101) % 10 == 0)  # every tenth label is turned round
    assert measured("linear_probe", features, exclusive.long()) == pytest.approx(90 / 101, abs=0.02)


# What holds for every score


@pytest.mark.parametrize("name", NAMES)
def test_classes_that_lie_apart_score_more_than_classes_that_do_not(name: str) -> None:
    assert measured(name, *given(name, 0.0)) < measured(name, *given(name, 4.0))


@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_examples_nor_the_names_of_classes_matter(name: str) -> None:
    features, labels = given(name, 2.0)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    renamed = torch.tensor([2, 0, 1])[labels]
    tolerance = 0.1 if name == "linear_probe" else 1e-8  # other folds
    value = measured(name, features, labels)
    assert measured(name, features[order], labels[order]) == pytest.approx(value, abs=tolerance)
    assert measured(name, features, renamed) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_without_examples_is_as_if_it_were_not_there(name: str) -> None:
    features, labels = given(name, 1.0)
    assert measured(name, features, labels * 5 + 3) == measured(name, features, labels)


@pytest.mark.parametrize("name", OF_FEATURES)
@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_features_score_no_more_than_others(name: str, value: float) -> None:
    features, labels = given(name, 4.0)
    assert measured(name, torch.full_like(features, value), labels) < measured(name, features, labels)


@pytest.mark.parametrize("name", OF_FEATURES)
def test_fewer_examples_than_features_score_finitely(name: str) -> None:
    assert math.isfinite(measured(name, *clouds(12, 40, 1.0)))


@pytest.mark.parametrize("name", OF_FEATURES)
def test_features_that_name_the_class_score_finitely_and_more(name: str) -> None:
    features, labels = given(name, 0.0)
    assert measured(name, torch.nn.functional.one_hot(labels), labels) > measured(name, features, labels)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_with_one_example_is_scored_or_refused_in_words(name: str) -> None:
    features, labels = given(name, 1.0)
    labels[labels == 2] = 1
    labels[0] = 2
    if name == "linear_probe":
        with pytest.raises(DataError, match="two examples of every class"):
            measured(name, features, labels)
    else:
        assert math.isfinite(measured(name, features, labels))


@pytest.mark.parametrize("name", NAMES)
def test_one_class_is_refused_in_words(name: str) -> None:
    features, labels = given(name, 1.0)
    with pytest.raises(DataError, match="all examples are of one class"):
        measured(name, features, labels * 0)


@pytest.mark.parametrize("name", NAMES)
def test_features_that_are_not_finite_are_refused_in_words(name: str) -> None:
    features, labels = given(name, 1.0)
    features[3, 1] = math.nan
    with pytest.raises(DataError, match="not finite"):
        measured(name, features, labels)


# What holds for one


@pytest.mark.parametrize(("examples", "width"), [(40, 3), (12, 30)])
def test_logme_does_not_change_when_features_are_rotated_or_scaled(examples: int, width: int) -> None:
    features, labels = sines(examples, width)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(width, width)))[0]
    value = measured("logme", features, labels)
    assert measured("logme", features @ turn, labels) == pytest.approx(value, abs=1e-6)
    assert measured("logme", 100 * features, labels) == pytest.approx(value, abs=1e-6)


def test_leep_of_a_source_class_without_mass_is_that_without_it() -> None:
    theta, labels = answers(30, 1.0)
    wider = torch.cat([theta, torch.zeros(30, 1)], 1)
    assert measured("leep", wider, labels) == pytest.approx(measured("leep", theta, labels), rel=1e-12)


def test_leep_is_at_most_zero_and_that_of_a_sure_classifier_is_its_nce() -> None:
    theta, labels = answers(60, 1.0)
    assert measured("leep", theta, labels) < 0
    sure = torch.nn.functional.one_hot(theta.argmax(1), 4).double()
    assert measured("leep", sure, labels) == pytest.approx(measured("nce", sure, labels))


@pytest.mark.parametrize("name", OF_PROBABILITIES)
def test_a_source_classifier_that_knows_the_labels_scores_zero(name: str) -> None:
    labels = torch.arange(30) % 3
    assert measured(name, torch.eye(5)[labels], labels) == pytest.approx(0, abs=1e-12)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(DataError, match="no probabilities"):
        measured("leep", [[2.0, -1.0], [0.5, 0.5]], [0, 1])


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_what_counts_on_too_few_says_so(name: str) -> None:
    few, many = answers(12, 3.0), answers(200, 3.0)
    assert f"`{name}` counts on fewer than five examples" in (made(name).caution(*few) or "")
    assert made(name).caution(*many) is None


def test_hscore_says_nothing_where_there_are_no_more_examples_than_features() -> None:
    for apart in (0.0, 3.0):
        features, labels = clouds(20, 20, apart)
        assert measured("hscore", features, labels) == pytest.approx(2)
        assert "`hscore_shrunk`" in (made("hscore").caution(features, labels) or "")
    assert made("hscore").caution(*clouds(21, 20, 1.0)) is None


def test_hscore_does_not_change_under_a_linear_map_and_stays_below_the_number_of_classes() -> None:
    features, labels = clouds(60, 4, 1.0)
    turn = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert measured("hscore", features @ turn + 7, labels) == pytest.approx(measured("hscore", features, labels))
    assert 0 <= measured("hscore", features, labels) <= 2


def test_the_shrunk_hscore_of_one_feature_is_the_hscore() -> None:
    features, labels = clouds(40, 1, 1.0)
    assert measured("hscore_shrunk", features, labels) == pytest.approx(measured("hscore", features, labels))


def test_transrate_is_zero_where_classes_scatter_alike_and_has_no_unit() -> None:
    features, _ = clouds(30, 4, 1.0)
    twice, labels = features.repeat(2, 1), torch.arange(60) // 30
    assert measured("transrate", twice, labels) == pytest.approx(0, abs=1e-9)
    apart, labels = clouds(60, 4, 1.0)
    assert measured("transrate", 50 * apart, labels) == pytest.approx(measured("transrate", apart, labels))
    assert measured("transrate", apart, labels) > 0


def test_gbc_lies_between_all_pairs_and_none() -> None:
    features, _ = clouds(30, 4, 1.0)
    same, labels = features.repeat(3, 1), torch.arange(90) // 30
    assert measured("gbc", same, labels) == pytest.approx(-6)
    assert measured("gbc", same + 1000 * labels[:, None], labels) == pytest.approx(0, abs=1e-9)


class TestGbc(TransferScoreContract):
    component = CATALOG.find("scores", "gbc").cls


class TestHScore(TransferScoreContract):
    component = CATALOG.find("scores", "hscore").cls


class TestHScoreShrunk(TransferScoreContract):
    component = CATALOG.find("scores", "hscore_shrunk").cls


class TestLeep(TransferScoreContract):
    component = CATALOG.find("scores", "leep").cls


class TestLinearProbe(TransferScoreContract):
    component = CATALOG.find("scores", "linear_probe").cls


class TestLogMe(TransferScoreContract):
    component = CATALOG.find("scores", "logme").cls


class TestNce(TransferScoreContract):
    component = CATALOG.find("scores", "nce").cls


class TestTransRate(TransferScoreContract):
    component = CATALOG.find("scores", "transrate").cls
