"""What `tlhub doctor` finds in data and answers: faults planted in real runs, and told in the words a user needs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import tlhub
from tests.cases import Manifest, digits_manifest, examined, ill, worlds
from tlhub.symptom import Finding
from tlhub.validator import Outputs
from tlhub_doctor.answers import kappa, renamed

MMD = {"use": "mmd"}
Findings = dict[str, Finding]
NINE = {"counts": {str(number): 60 for number in range(1, 10)}}
EVEN, NINE_TO_ONE = {"counts": {"4": 60, "6": 60}}, {"counts": {"4": 54, "6": 6}}


def drawn(source: dict[str, Any], target: dict[str, Any], evaluate: dict[str, Any] | None, **train: Any) -> Manifest:
    """Digits to digits on photographs, of every class as many as asked for; `evaluate` may be missing."""
    manifest = digits_manifest(MMD, **train)
    manifest["source"] = {"use": "drawn_digits", **source}
    manifest["target"] = {"use": "drawn_digits", "photo": True, **target}
    del manifest["evaluate"]
    if evaluate is not None:
        manifest["evaluate"] = {"use": "drawn_digits", "photo": True, "split": "test", **evaluate}
    return manifest


def found(manifest: Manifest) -> Findings:
    return examined(manifest, worlds())


class TestTheTargetIsTheSource:
    @pytest.fixture(scope="class")
    def same(self) -> Findings:
        return found(digits_manifest(MMD, target={"use": "digits"}, evaluate={"use": "digits"}, epochs=3))

    @pytest.fixture(scope="class")
    def halves(self) -> Findings:
        """Other examples of the same kind."""
        halves: dict[str, Any] = {
            "source": {"split": "train[:350]"},
            "target": {"use": "digits", "split": "train[350:]"},
        }
        return found(digits_manifest(MMD, **halves, evaluate={"use": "digits"}, epochs=3))

    def test_the_same_examples_are_told_as_such(self, same: Findings) -> None:
        assert same["no_shift"].level == "fault"
        assert "720 of the 720 target examples are examples of the source" in same["no_shift"].measured
        assert "nothing to adapt" in same["no_shift"].meaning
        assert "`target`" in same["no_shift"].mend

    def test_other_examples_of_the_same_kind_differ_by_chance_alone(self, halves: Findings) -> None:
        assert halves["no_shift"].level == "warning"
        assert "by chance with p = " in halves["no_shift"].measured
        assert "No difference between source and target is seen" in halves["no_shift"].meaning

    def test_nothing_else_is_claimed(self, same: Findings, halves: Findings) -> None:
        assert [*ill(same), *ill(halves)] == ["no_shift", "no_shift"]


class TestAMissingClass:
    @pytest.fixture(scope="class")
    def told(self) -> Findings:
        return found(drawn({}, NINE, NINE, epochs=2))

    def test_it_is_named(self, told: Findings) -> None:
        assert list(ill(told)) == ["missing_class"]
        assert "`0`, 10 in 100 examples of the source, is not among the labels under `evaluate`" in str(
            told["missing_class"]
        )
        assert "`classes: {0: null}` in `source`" in told["missing_class"].mend

    def test_without_labels_the_answers_tell(self) -> None:
        manifest = drawn({}, {"photo": False, "split": "test", **NINE}, None, epochs=3)
        manifest["adapters"][-1] = {**MMD, "strength": 0.1}  # more would push others onto the class that is not there
        told = found(manifest)
        assert "`0`, 10 in 100 examples of the source, is not among the answers on the target" in str(
            told["missing_class"]
        )


class TestClassesInAnotherOrder:
    @pytest.fixture(scope="class")
    def swapped(self) -> Findings:
        return found(digits_manifest(MMD, evaluate={"classes": {"3": "8", "8": "3"}}, epochs=3))

    def test_two_classes_that_changed_places(self, swapped: Findings) -> None:
        assert list(ill(swapped)) == ["class_order"]
        told = str(swapped["class_order"])
        assert "what the model calls `8` is labelled `3`" in told
        assert "what the model calls `3` is labelled `8`" in told
        assert "another order" in told
        assert "`classes: {3: 8, 8: 3}` in `evaluate`" in told


class TestATargetOfTwentyExamples:
    @pytest.fixture(scope="class")
    def few(self) -> Findings:
        return found(digits_manifest(MMD, target={"split": "train[:20]"}, batch=16))

    @pytest.fixture(scope="class")
    def labelled(self) -> Findings:
        few = {"split": "train[:20]", "labels": "all"}
        return found(digits_manifest({"use": "l2_sp"}, MMD, source={"split": "train[:100]"}, target=few, batch=16))

    def test_it_is_told_how_few_they_are_and_how_often_each_was_seen(self, few: Findings) -> None:
        assert list(ill(few)) == ["few_target"]
        assert few["few_target"].measured == "The target has 20 examples; training saw each of them 64 times."
        assert "need no labels" in few["few_target"].mend

    def test_labelled_ones_are_learnt_by_heart(self, labelled: Findings) -> None:
        assert "100 % on the 20 labelled target examples" in labelled["overfitting"].measured
        assert "by heart" in labelled["overfitting"].meaning
        assert "`partial_freeze`" in labelled["overfitting"].mend


class TestAnswersOfOneClass:
    @pytest.fixture(scope="class")
    def collapsed(self) -> Findings:
        return found(digits_manifest({"use": "entropy_minimization", "strength": 30.0}, epochs=3))

    def test_the_one_class_is_named(self, collapsed: Findings) -> None:
        assert collapsed["collapse"].level == "fault"
        assert "classes in effect, the source's labels of 10.0" in collapsed["collapse"].measured
        assert "in 100 of them are `" in collapsed["collapse"].measured
        assert "the same answer" in collapsed["collapse"].meaning
        assert "`strength`" in collapsed["collapse"].mend

    def test_neither_the_labels_nor_their_names_are_blamed(self, collapsed: Findings) -> None:
        blameless = {"unlearnt_source", "class_order", "missing_class", "label_shift", "inputs", "no_shift"}
        assert not blameless & ill(collapsed).keys()


class TestLabelShift:
    @pytest.fixture(scope="class")
    def counted(self) -> Findings:
        evaluate = {"counts": {"4": 27, "6": 3}}
        return found(drawn(EVEN, NINE_TO_ONE, evaluate, batch=16))

    @pytest.fixture(scope="class")
    def estimated(self) -> Findings:
        return found(drawn(EVEN, NINE_TO_ONE, None, batch=16))

    @pytest.fixture(scope="class")
    def even(self) -> Findings:
        return found(drawn(EVEN, EVEN, None, batch=16))

    def test_nine_to_one_is_counted_where_there_are_labels(self, counted: Findings) -> None:
        assert "`4`: 50 in 100 in the source, 90 in the labels under `evaluate`" in counted["label_shift"].measured
        assert "label shift" in counted["label_shift"].meaning
        assert "`mcc`" in counted["label_shift"].mend

    def test_it_is_estimated_where_there_are_none(self, estimated: Findings) -> None:
        assert list(ill(estimated)) == ["label_shift"]
        assert "in the target, as estimated" in estimated["label_shift"].measured

    def test_equal_shares_are_no_shift(self, even: Findings) -> None:
        assert ill(even) == {}
        assert even["label_shift"].level == "fine"


class TestInputsThatAreNotNormalised:
    def pixels(self, source: float, target: float) -> Manifest:
        manifest = digits_manifest(MMD)
        manifest["backbone"] = {"use": "vectors", "inputs": 784}
        manifest["source"] = {"use": "pixel_digits", "scale": source}
        manifest["target"] = {"use": "pixel_digits", "photo": True, "scale": target}
        manifest["evaluate"] = {**manifest["target"], "split": "test"}
        return manifest

    @pytest.fixture(scope="class")
    def raw(self) -> Findings:
        return found(self.pixels(255, 255))

    @pytest.fixture(scope="class")
    def uneven(self) -> Findings:
        return found(self.pixels(1, 255))

    def test_pixels_up_to_255(self, raw: Findings) -> None:
        assert raw["inputs"].level == "fault"
        assert "The root mean square of what the first layer is given is" in raw["inputs"].measured
        assert "not normalised" in raw["inputs"].meaning
        assert "mean of about 0" in raw["inputs"].mend

    def test_one_domain_alone(self, uneven: Findings) -> None:
        assert "The domains are scaled differently" in uneven["inputs"].meaning


class TestLabelsFromWhichNothingCanBeLearnt:
    @pytest.fixture(scope="class")
    def shuffled(self) -> Findings:
        return found(drawn({"shuffled": True}, {}, {}, epochs=3))

    def test_shuffled_labels_of_the_source(self, shuffled: Findings) -> None:
        assert shuffled["unlearnt_source"].level == "fault"
        assert "kappa" in shuffled["unlearnt_source"].measured
        assert "shuffled" in shuffled["unlearnt_source"].meaning
        assert "class_order" not in ill(shuffled)


class TestBatchNormalisation:
    """A network that was trained on white digits, frozen, and black ones on white."""

    @pytest.fixture(scope="class")
    def frozen(self, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
        folder = tmp_path_factory.mktemp("frozen") / "run"
        tlhub.adapt(digits_manifest(epochs=2, backbone={"standardise": False}), out=folder, keep=False, device="cpu")
        target = {"photo": False, "inverted": True}
        manifest = drawn({}, target, target, epochs=1)
        manifest["backbone"] = {"use": "artifact", "ref": str(folder)}
        manifest["adapters"].insert(0, {"use": "partial_freeze", "stages": "all"})
        return manifest

    def test_statistics_that_do_not_fit_the_target(self, frozen: Manifest) -> None:
        drift = found(frozen)["batch_norm_drift"]
        assert drift.level == "warning"
        assert (
            "standard deviations from the running ones in `backbone.blocks.conv1.1`, the source's 0.0" in drift.measured
        )
        assert "another mean and scale" in drift.meaning
        assert "add `adabn`" in drift.mend

    def test_what_is_proposed_mends_it(self, frozen: Manifest) -> None:
        mended = {**frozen, "adapters": [{"use": "adabn"}, *frozen["adapters"]]}
        assert found(mended)["batch_norm_drift"].level == "fine"


class TestDomainsMovedApart:
    """CORAL on features that share their statistics of batch normalisation."""

    def test_it_is_told_how_far(self) -> None:
        distance = found(digits_manifest({"use": "coral"}, epochs=3))["domain_distance"]
        assert distance.level == "warning"
        assert "The proxy A-distance of the domains was 0." in distance.measured
        assert "moved the domains apart" in distance.meaning
        assert "`batch_norm: separate`" in distance.mend

    def test_what_is_proposed_mends_it(self) -> None:
        assert (
            found(digits_manifest({"use": "coral"}, epochs=3, batch_norm="separate"))["domain_distance"].level == "fine"
        )


# answers against labels


def answers(labels: list[int], said: list[int], classes: int = 3) -> Outputs:
    logits: Tensor = torch.nn.functional.one_hot(torch.tensor(said), classes).float()
    return Outputs(logits, logits, torch.tensor(labels))


def test_kappa_is_scikit_learns() -> None:
    from sklearn.metrics import cohen_kappa_score

    generator = torch.Generator().manual_seed(0)
    labels, said = (torch.randint(3, (60,), generator=generator).tolist() for _ in range(2))
    assert kappa(answers(labels, said)) == pytest.approx(cohen_kappa_score(labels, said))
    assert kappa(answers(labels, labels)) == 1


def test_one_answer_for_all_agrees_by_chance_alone() -> None:
    assert kappa(answers([0] * 9 + [1], [0] * 10)) == 0


def test_classes_that_changed_places() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 10
    assert renamed(answers(labels, [1] * 10 + [0] * 10 + [2] * 10)) == {0: 1, 1: 0}
    assert renamed(answers(labels, [1] * 10 + [2] * 10 + [0] * 10)) == {0: 1, 1: 2, 2: 0}


def test_a_class_that_is_mistaken_for_another_has_not_changed_places_with_it() -> None:
    labels = [0] * 10 + [1] * 10 + [2] * 10
    assert renamed(answers(labels, [1] * 20 + [2] * 10)) == {}


def test_a_class_without_examples_changes_no_places() -> None:
    assert renamed(answers([0] * 10, [1] * 10)) == {}
