"""The whole journey: published by one, found and pulled by another, loaded by the tools they have, and built upon."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.commands import Commands
from tests.sharing import FORMS, ROOT, World, client, world

pytestmark = pytest.mark.hub

__all__ = ["world"]

PREPARED = """
import json, sys
import numpy as np
import torch
from PIL import Image

def pictures():
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 48, 3), dtype=np.uint8)) for _ in range(4)]

TEXTS = ["ba do ke", "mo ga la", "be be de ge", "ko"]

def told(logits, labels=None):
    sys.stdout.write(json.dumps([torch.as_tensor(logits).tolist(), labels]))
"""

OURS = """
import tlhub
said = {{}}
for form, place in {places!r}.items():
    model = tlhub.load(place, "cpu")
    inputs = pictures() if model.record["modality"] == "image" else TEXTS
    said[form] = [model.logits(inputs).tolist(), list(model.classes)]
sys.stdout.write(json.dumps(said))
"""

TIMM = """
import timm
net = timm.create_model("hf_hub:{repo}", pretrained=True).eval()
prepare = timm.data.create_transform(**timm.data.resolve_data_config({{}}, model=net))
with torch.inference_mode():
    told(net(torch.stack([prepare(picture) for picture in pictures()])), net.pretrained_cfg["label_names"])
"""

AUTO = """
from transformers import AutoModelForSequenceClassification, AutoTokenizer
net, words = AutoModelForSequenceClassification.from_pretrained("{repo}"), AutoTokenizer.from_pretrained("{repo}")
with torch.inference_mode():
    logits = net.eval()(**words(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits
told(logits, [net.config.id2label[number] for number in range(net.config.num_labels)])
"""

PIPELINE = """
from transformers import pipeline
ask = pipeline({kind!r}, "{repo}", device="cpu")
answers = ask({inputs}, top_k=None)
labels = sorted(answer["label"] for answer in answers[0])
scores = [{{answer["label"]: answer["score"] for answer in each}} for each in answers]
told([[each[label] for label in labels] for each in scores], labels)
"""

PEFT = """
from peft import PeftConfig, PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer
config = PeftConfig.from_pretrained("{repo}")
assert len(config.revision) == 40, config.revision
base = AutoModelForSequenceClassification.from_pretrained(
    config.base_model_name_or_path, revision=config.revision, num_labels=3
)
net, words = PeftModel.from_pretrained(base, "{repo}").eval(), AutoTokenizer.from_pretrained("{repo}")
with torch.inference_mode():
    told(net(**words(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits)
"""


class Shared(NamedTuple):
    """A Hub with the runs published, one user who did so, and another with an empty home."""

    world: World
    home: Path
    tlhub: Commands

    def python(self, code: str, home: Path | None = None) -> Any:
        """What Python code tells, in a fresh process of the other user's, or of the one at home elsewhere."""
        done = subprocess.run(
            [sys.executable, "-c", PREPARED + code],
            cwd=ROOT,
            env=client(self.world.hub, home or self.home),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def shared(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    for form in FORMS:
        done = world.tlhub("publish", world.runs[form], f"you/{form}", "--public", "--yes")
        assert done.returncode == 0, done.stderr
    home = tmp_path_factory.mktemp("somebody")
    with Commands(home / "commands", client(world.hub, home)) as tlhub:
        yield Shared(world, home, tlhub)


@pytest.fixture(scope="module")
def said(shared: Shared) -> dict[str, Any]:
    """What each run answers where it was made: logits and class names."""
    runs = {form: str(folder) for form, folder in shared.world.runs.items()}
    answers: dict[str, Any] = shared.python(OURS.format(places=runs), shared.world.runs["timm"].parent / "home")
    return answers


def near(found: list[list[float]], expected: list[list[float]]) -> bool:
    return all(pytest.approx(there, abs=1e-5) == here for here, there in zip(found, expected, strict=True))


def softmax(rows: list[list[float]]) -> list[list[float]]:
    import torch

    probabilities: list[list[float]] = torch.tensor(rows).softmax(1).tolist()
    return probabilities


class TestLoaded:
    """Each by a process of its own in an empty home, with the logits of the run, to 1e-5."""

    def test_by_tlhub(self, shared: Shared, said: dict[str, Any]) -> None:
        found = shared.python(OURS.format(places={form: f"hub:you/{form}" for form in FORMS}))
        for form in FORMS:
            assert near(found[form][0], said[form][0]), form
            assert found[form][1] == said[form][1]

    def test_by_timm(self, shared: Shared, said: dict[str, Any]) -> None:
        logits, labels = shared.python(TIMM.format(repo="you/timm"))
        assert near(logits, said["timm"][0])
        assert labels == said["timm"][1]

    def test_by_transformers(self, shared: Shared, said: dict[str, Any]) -> None:
        logits, labels = shared.python(AUTO.format(repo="you/text"))
        assert near(logits, said["text"][0])
        assert labels == said["text"][1]

    @pytest.mark.parametrize(
        ("form", "kind", "inputs"),
        [("text", "text-classification", "TEXTS"), ("timm", "image-classification", "pictures()")],
    )
    def test_by_a_pipeline(self, shared: Shared, said: dict[str, Any], form: str, kind: str, inputs: str) -> None:
        probabilities, labels = shared.python(PIPELINE.format(repo=f"you/{form}", kind=kind, inputs=inputs))
        assert labels == sorted(said[form][1])
        expected = [dict(zip(said[form][1], row, strict=True)) for row in softmax(said[form][0])]
        assert near(probabilities, [[row[label] for label in labels] for row in expected])

    def test_by_peft_on_the_pinned_base(self, shared: Shared, said: dict[str, Any]) -> None:
        logits, _ = shared.python(PEFT.format(repo="you/peft"))
        assert near(logits, said["peft"][0])


class TestBuiltUpon:
    def test_it_is_found_pulled_and_shown(self, shared: Shared) -> None:
        found = json.loads(shared.tlhub("search", "you/timm", "--hub", "--json").stdout)["models"]
        assert [model["place"] for model in found] == ["hub:you/timm"]
        assert found[0]["bases"] == ["you/tiny-resnet"]
        pulled = json.loads(shared.tlhub("pull", "you/timm", "--json").stdout)
        assert pulled["source"] == f"hub:you/timm@{shared.world.hub.repo('you/timm').commits[0]}"
        for place in ("you/timm", pulled["ref"], pulled["digest"], pulled["source"], "hub:you/timm"):
            assert "flat, left, right" in shared.tlhub("show", place).stdout

    def test_a_record_carries_neither_paths_nor_names_of_the_author(self, shared: Shared) -> None:
        for form in FORMS:
            for name, content in shared.world.hub.repo(f"you/{form}").files().items():
                for secret in (str(shared.world.runs[form].parent), str(Path.home()), shared.world.hub.token):
                    assert secret.encode() not in content, (form, name)

    def test_a_chain_of_three_survives_publishing_and_pulling(self, shared: Shared, tmp_path: Path) -> None:
        """Teacher, student, and what was adapted from the student: by three users, each pinned."""
        hub = shared.world.hub
        lenet = {"use": "lenet", "grey": False}
        digits = {"source": {"use": "digits"}, "evaluate": {"use": "digits", "split": "test"}}
        train = {"epochs": 1, "steps_per_epoch": 2, "batch": 16, "workers": 0}
        publish = ["--public", "--yes"]
        commits = {}
        for step, (name, user) in enumerate([("teacher", "anna"), ("student", "ben"), ("adapted", "cleo")]):
            before = ["", "teacher", "student"][step]
            place = f"hub:{['', 'anna', 'ben'][step]}/{before}@{commits.get(before)}"
            changes: list[dict[str, Any]] = [
                {"backbone": lenet},
                {"backbone": lenet, "adapters": [{"use": "distillation", "teacher": place, "on": "source"}]},
                {"backbone": {"use": "artifact", "ref": place}},
            ]
            manifest = tmp_path / f"{name}.json"
            manifest.write_text(json.dumps({"name": name, **digits, "train": train, **changes[step]}))
            theirs = {"HF_TOKEN": hub.add_user(user), "TLHUB_HOME": str(tmp_path / user)}
            for arguments in (["adapt", str(manifest)], ["publish", f"{name}:1", f"{user}/{name}", *publish]):
                done = shared.tlhub(*arguments, cwd=tmp_path, env=theirs)
                assert done.returncode == 0, done
            commits[name] = hub.repo(f"{user}/{name}").commits[0]
        assert shared.tlhub("pull", "cleo/adapted").returncode == 0
        told = shared.tlhub("registry", "lineage", "cleo/adapted").stdout
        for name in ("adapted", "student", "teacher"):
            assert name in told
        for commit in (commits["student"], commits["teacher"]):
            assert commit in told, told

    def test_a_run_is_reproduced_from_the_hub(self, shared: Shared, tmp_path: Path) -> None:
        manifest = tmp_path / "digits.json"
        digits = {"source": {"use": "digits"}, "evaluate": {"use": "digits", "split": "test"}}
        train = {"epochs": 1, "steps_per_epoch": 2, "batch": 16, "workers": 0}
        backbone = {"use": "timm", "model": "hf_hub:you/tiny-resnet", "input_size": 32}
        manifest.write_text(json.dumps({"name": "digits", "backbone": backbone, **digits, "train": train}))
        for arguments in (["adapt", manifest], ["publish", "digits", "you/digits", "--public", "--yes"]):
            done = shared.world.tlhub(*arguments)
            assert done.returncode == 0, done
        done = shared.tlhub("reproduce", "hub:you/digits")
        assert done.returncode == 0, done
        assert "Reproduced to the bit" in done.stdout
