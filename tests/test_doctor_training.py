"""What the doctor says of a training: planted faults are named, and healthy runs are left in peace."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import tlhub
from tests.cases import Manifest, digits_manifest, examined
from tests.conftest import KEPT, SHARED
from tlhub.adapter import Adapter, Need
from tlhub.catalog import Catalog
from tlhub.data import Dataset, Examples
from tlhub.hookspecs import hookimpl
from tlhub.monitor import Monitor
from tlhub.run import Run
from tlhub.step import Step
from tlhub.symptom import Finding, Symptom
from tlhub.watch import Watch
from tlhub_doctor.conflict import Conflict
from tlhub_doctor.discriminator_blind import DiscriminatorBlind
from tlhub_doctor.discriminator_explodes import DiscriminatorExplodes
from tlhub_doctor.discriminator_wins import DiscriminatorWins
from tlhub_doctor.dominated import Dominated
from tlhub_doctor.idle_term import IdleTerm
from tlhub_doctor.late import by_epoch, late

OF_TRAINING = {
    each.name for each in (Conflict, DiscriminatorBlind, DiscriminatorExplodes, DiscriminatorWins, Dominated, IdleTerm)
}
DANN = {"use": "dann", "hidden": 128}


class Rate(Adapter):
    """Lets every discriminator learn at a rate of its own.

    Args:
        factor: of the run's rate; 0 freezes it.
    """

    name = "rate"
    needs = frozenset({Need.TARGET})  # the baseline goes without

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def prepare(self, run: Run) -> None:
        for parameter in (p for each in run.adapters if hasattr(each, "discriminator") for p in each.parameters()):
            run.lr_scales[parameter] = self.factor
            parameter.requires_grad_(self.factor > 0)


class Without(Adapter):
    """Sets lambda to 0 in every other adapter, which no manifest can."""

    name = "without"
    needs = frozenset({Need.TARGET})

    def prepare(self, run: Run) -> None:
        for adapter in run.adapters:
            if hasattr(adapter, "strength"):
                adapter.strength = torch.zeros(()).item()


class Contrary(Adapter):
    """Learns every class of the source by the next one's name."""

    name = "contrary"
    needs = frozenset({Need.SOURCE, Need.TARGET})

    def penalty(self, step: Step) -> Tensor:
        labels = torch.as_tensor(step.source.labels)
        return F.cross_entropy(step.source.logits, (labels + 1) % step.source.logits.shape[1])


class Surf(Dataset):
    """Photos as 800 SURF counts, every column of mean 0 and standard deviation 1 in its domain.

    Args:
        domain: such as `amazon`.
    """

    name = "surf"
    modality = "vector"

    def __init__(self, domain: str) -> None:
        self.domain = domain

    def splits(self) -> Sequence[str]:
        return []

    def open(self, split: str | None, labels: bool) -> Examples:
        from scipy.io import loadmat

        content = loadmat(SHARED / f"data/office_caltech10_surf/{self.domain}.mat")
        shares = content["fts"] / content["fts"].sum(1, keepdims=True).astype(float)
        rows = (shares - shares.mean(0)) / shares.std(0)
        names = tuple(f"class {number}" for number in range(10))
        shown = ((content["labels"].ravel() - 1).tolist(), names) if labels else (None, None)
        return Examples(rows, *shown, f"surf-{self.domain}", "photo {}".format)


class Plants:
    """A plugin of what plants a fault."""

    @hookimpl
    def tlhub_adapters(self) -> list[type[Adapter]]:
        return [Rate, Without, Contrary]

    @hookimpl
    def tlhub_datasets(self) -> list[type[Dataset]]:
        return [Surf]


def with_plants() -> Catalog:
    catalog = Catalog.installed()
    catalog.add("plants", Plants())
    return catalog


def surf_manifest(*adapters: Mapping[str, Any], **train: Any) -> Manifest:
    """Amazon's photos to those of a camera, as counts, with a neck that learns."""
    target = {"use": "surf", "domain": "dslr"}
    return {
        "backbone": {"use": "vectors", "inputs": 800},
        "source": {"use": "surf", "domain": "amazon"},
        "target": target,
        "evaluate": target,
        "adapters": [{"use": "head_swap", "bottleneck": 64}, *adapters],
        "train": {"epochs": 4, "steps_per_epoch": 40, "batch": 64, "lr": 0.001, "workers": 0, **train},
    }


small = functools.partial(digits_manifest, backbone={"size": 16, "fc": False})
FAULTS: dict[str, Manifest] = {
    "a learning rate times 1000": small(DANN, {"use": "rate", "factor": 1000.0}),
    "a frozen discriminator": small(DANN, {"use": "rate", "factor": 0.0}),
    "a discriminator that hardly learns": small(DANN, {"use": "rate", "factor": 0.01}),
    "lambda 0": small(DANN, {"use": "without"}),
    "a lambda next to 0": small({"use": "mmd", "strength": 1e-9}),
    "a lambda of 100": small({"use": "mmd", "strength": 100}),
    "a contrary term": small({"use": "contrary"}),
}
FAULTS_OF_VECTORS: dict[str, Manifest] = {
    "a learning rate times 1000": surf_manifest(DANN, {"use": "rate", "factor": 1000.0}),
    "a frozen discriminator": surf_manifest(DANN, {"use": "rate", "factor": 0.0}),
    "a discriminator that hardly learns": surf_manifest(DANN, {"use": "rate", "factor": 0.001}),
    "a lambda too small to deceive": surf_manifest({**DANN, "strength": 0.01}, lr=0.003),
    "a contrary term": surf_manifest({"use": "contrary"}),
}
HEALTHY: dict[str, Manifest] = {
    "dann": small(DANN),
    "cdan": small({"use": "cdan", "hidden": 128}),
    "mmd": small({"use": "mmd"}),
    "coral": small({"use": "coral"}),
    "mcd": small({"use": "mcd"}),
}


@functools.cache
def of_digits(fault: str) -> dict[str, Finding]:
    return trained(FAULTS[fault])


@functools.cache
def of_vectors(fault: str) -> dict[str, Finding]:
    return trained(FAULTS_OF_VECTORS[fault])


def trained(manifest: Manifest) -> dict[str, Finding]:
    """What is found of a manifest; baselines are kept, since all runs of a world have the same one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLHUB_HOME", str(Path(KEPT) / "session"))
        return examined(manifest, with_plants())


def alone(findings: Mapping[str, Finding]) -> Finding:
    """What is wrong with the training, where it is one thing."""
    (found,) = (each for name, each in findings.items() if name in OF_TRAINING and each.ill)
    return found


class TestPlantedInDigits:
    """A small LeNet on digits and digits on photographs: each fault is named, and no other one is."""

    def test_a_discriminator_that_explodes(self) -> None:
        explodes(alone(of_digits("a learning rate times 1000")))

    def test_a_frozen_discriminator(self) -> None:
        frozen(alone(of_digits("a frozen discriminator")))

    def test_a_discriminator_that_hardly_learns(self) -> None:
        hardly_learns(alone(of_digits("a discriminator that hardly learns")))

    @pytest.mark.parametrize(("fault", "term"), [("lambda 0", "dann"), ("a lambda next to 0", "mmd")])
    def test_a_term_that_does_nothing(self, fault: str, term: str) -> None:
        found = alone(of_digits(fault))
        assert (found.symptom, found.level) == ("idle_term", "fault")
        assert f"`{term}` does nothing" in found.meaning
        assert f"Raise the `strength` of `{term}`" in found.mend

    def test_a_term_that_drowns_the_task(self) -> None:
        found = alone(of_digits("a lambda of 100"))
        assert (found.symptom, found.level) == ("dominated", "fault")
        assert re.match(r"The gradient of `mmd` on the model is \d\d\.\d times as large as the task's", found.measured)
        assert re.search(r"On the source it is right in \d\d %, its baseline in (9\d|100) %", found.measured)
        assert "`mmd` dominates the loss" in found.meaning
        assert found.mend == "Lower the `strength` of `mmd`."

    def test_a_term_that_works_against_the_task(self) -> None:
        against(alone(of_digits("a contrary term")))


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
class TestPlantedInVectors:
    """The same of photos as counts of SURF features."""

    def test_a_discriminator_that_explodes(self) -> None:
        explodes(alone(of_vectors("a learning rate times 1000")))

    def test_a_frozen_discriminator(self) -> None:
        frozen(alone(of_vectors("a frozen discriminator")))

    def test_a_discriminator_that_hardly_learns(self) -> None:
        hardly_learns(alone(of_vectors("a discriminator that hardly learns")))

    def test_a_discriminator_that_wins(self) -> None:
        found = alone(of_vectors("a lambda too small to deceive"))
        assert (found.symptom, found.level) == ("discriminator_wins", "warning")
        assert re.match(
            r"At the end, the discriminator of `dann` is right in (9\d|100) %; chance is 50", found.measured
        )
        assert "the domains are not aligned" in found.meaning
        assert "Raise the `strength` of `dann`" in found.mend

    def test_a_term_that_works_against_the_task(self) -> None:
        against(alone(of_vectors("a contrary term")))


def explodes(found: Finding) -> None:
    assert (found.symptom, found.level) == ("discriminator_explodes", "fault")
    assert "The loss of the discriminator of `dann` was" in found.measured
    assert "one that knows nothing has 0.69" in found.measured
    assert "exploded" in found.meaning
    assert "`train.lr`" in found.mend
    assert "`clip: 1.0`" in found.mend


def frozen(found: Finding) -> None:
    assert (found.symptom, found.level) == ("discriminator_blind", "fault")
    assert found.measured == "The weights of the discriminator of `dann` have not changed in 4 epochs."
    assert "frozen" in found.meaning
    assert "Let the discriminator of `dann` learn" in found.mend


def hardly_learns(found: Finding) -> None:
    assert (found.symptom, found.level) == ("discriminator_blind", "warning")
    assert re.match(r"At best, the discriminator of `dann` was right in [45]\d %; chance is 50 %", found.measured)
    assert re.search(r"A linear classifier of the adapted features is right in [89]\d %", found.measured)
    assert "does not see a difference that is there" in found.meaning
    assert "`train.lr`" in found.mend


def against(found: Finding) -> None:
    assert (found.symptom, found.level) == ("conflict", "warning")
    assert re.match(r"The cosine of the gradients of `contrary` and the task is -0\.[3-9]", found.measured)
    assert "`contrary` and the task are in conflict" in found.meaning
    assert "Lower the `strength` of `contrary`" in found.mend


@pytest.mark.parametrize("method", HEALTHY)
def test_of_a_healthy_training_it_says_what_it_measured_and_that_all_is_well(method: str) -> None:
    findings = trained(HEALTHY[method])
    assert [str(each) for name, each in findings.items() if name in OF_TRAINING and each.ill] == []
    adversarial = method in ("dann", "cdan")
    measured = OF_TRAINING if adversarial else OF_TRAINING - {name for name in OF_TRAINING if "discriminator" in name}
    assert measured <= findings.keys()
    assert all(method in findings[name].measured for name in measured)


def test_an_explosion_is_told_once_while_it_trains(tmp_path: Path) -> None:
    class Notes(Watch):
        def __init__(self) -> None:
            self.told: list[tuple[int, str]] = []
            self.epochs = 0

        def epoch(self, row: Mapping[str, Any]) -> None:
            self.epochs += 1

        def note(self, text: str) -> None:
            self.told.append((self.epochs, text))

    watch = Notes()
    manifest = small(DANN, {"use": "rate", "factor": 1000.0}, epochs=3, steps_per_epoch=6)
    settings: dict[str, Any] = {"baseline": False, "device": "cpu", "keep": False}
    tlhub.adapt(manifest, out=tmp_path / "run", watch=watch, catalog=with_plants(), **settings)
    assert watch.epochs == 3
    assert [epoch for epoch, text in watch.told if "exploded" in text] == [1]


class TestWhatTheHistoryTells:
    """Rows as a run writes them."""

    def test_the_last_third_of_the_epochs_counts_and_of_rounds_the_last(self) -> None:
        rows = [*history("mmd", pull=[9.0, 9.0]), *history("mmd", round=1, pull=[1.0, 2.0, 3.0, 4.0, 5.0, 7.0])]
        assert by_epoch(rows, "pull") == {"mmd": [1.0, 2.0, 3.0, 4.0, 5.0, 7.0]}
        assert late(rows, "pull") == {"mmd": 6.0}

    def test_epochs_in_which_nothing_was_measured_are_passed_over(self) -> None:
        rows = history("mmd", pull=[1.0, 3.0])
        assert late([*rows, {"round": 0, "epoch": 2}], "pull") == {"mmd": 3.0}
        assert late([{"round": 0, "epoch": 0}], "pull") == {}
        assert late([], "pull") == {}

    def test_a_discriminator_at_chance_in_the_end_is_what_training_is_for(self) -> None:
        rows = history(
            "dann",
            discriminator_loss=[0.5, 0.6, math.log(2), 0.9],
            discriminator_accuracy=[0.8, 0.6, 0.5, 0.5],
            discriminator_norm=[9.5, 9.6, 9.7, 9.7],
        )
        assert DiscriminatorBlind().watch(rows) is None
        assert level(DiscriminatorExplodes(), rows) == "fine"

    def test_a_discriminator_that_exploded_at_first_is_told_of_to_the_end(self) -> None:
        rows = history("dann", discriminator_loss=[4e4, 0.69, 0.69], discriminator_norm=[1e3, 2e3, 2e3])
        assert level(DiscriminatorExplodes(), rows) == "fault"

    def test_of_a_frozen_discriminator_a_large_loss_is_no_explosion(self) -> None:
        rows = history("dann", discriminator_loss=[0.7, 9.0], discriminator_norm=[9.5, 9.5])
        assert level(DiscriminatorExplodes(), rows) == "fine"
        assert level(DiscriminatorBlind(), rows) == "fault"

    def test_after_one_epoch_nothing_is_said_of_weights_that_did_not_change(self) -> None:
        assert DiscriminatorBlind().watch(history("dann", discriminator_norm=[9.5])) is None

    def test_self_training_may_wait_for_certain_answers(self) -> None:
        assert IdleTerm().watch(history("fixmatch", pull=[0.0, 0.0, 0.0])) is None
        assert level(IdleTerm(), history("fixmatch", pull=[0.0, 0.0, 0.0, 0.0, 0.1])) == "fine"
        assert level(IdleTerm(), history("fixmatch", pull=[0.0] * 5)) == "fault"

    def test_what_was_told_is_not_told_again(self) -> None:
        monitor = Monitor(Catalog.installed())
        rows = history("dann", discriminator_loss=[0.7, 50.0, 60.0], discriminator_norm=[1.0, 2.0, 3.0])
        heard = [[finding.symptom for finding in monitor.hear(rows[: number + 1])] for number in range(3)]
        assert heard == [[], ["discriminator_explodes"], []]


def history(term: str, round: int = 0, **measures: list[float]) -> list[dict[str, Any]]:
    """Epochs in which this was measured of a term."""
    epochs = zip(*measures.values(), strict=True)
    return [
        {"round": round, "epoch": number, "measures": {term: dict(zip(measures, values, strict=True))}}
        for number, values in enumerate(epochs)
    ]


def level(symptom: Symptom, rows: list[dict[str, Any]]) -> str:
    found = symptom.watch(rows)
    assert found is not None
    return found.level
