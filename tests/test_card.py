"""The model card: metadata that the Hub's own client accepts, and text that shows names as they are."""

from __future__ import annotations

import ast
import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt
from PIL import Image

from tlhub_basics.classification import Classification
from tlhub_registry.base import Base, read_card
from tlhub_registry.card import card, licence, md
from tlhub_registry.confusion import drawn, picture
from tlhub_registry.refs import HubRef

COMMIT = "0123456789" * 4
BASE = Base(HubRef("them/base", COMMIT), {}, {"license": "mit", "language": ["en", "de"]})
HOSTILE = [
    "a | b",
    "`code`",
    "<script>alert(1)</script>",
    "---",
    "# heading",
    "- item",
    "1. item",
    "[text](http://evil)",
    "![x](http://evil/x.png)",
    "**bold** _it_ ~~gone~~",
    "&amp; &lt;",
    "two\nlines\n\n---\nlicense: gpl",
    "{{ 7 * 7 }}",
    "back\\slash",
    "| --- |",
    "$x$ @you #1 :smile:",
    "snake_case_name",
]


def record(**changes: Any) -> dict[str, Any]:
    """What `tlhub.json` says of an adapted image classifier."""
    row = {"domain": "evaluate", "low": 0.8, "high": 0.95, "examples": 1000, "metrics": {"macro_f1": 0.88}}
    found: dict[str, Any] = {
        "name": "cats",
        "form": "timm",
        "modality": "image",
        "head": {"use": "linear", "outputs": 2},
        "task": {"use": "classification"},
        "classes": ["cat", "dog"],
        "composed": {"parameters": 1234567, "examples": {"source": 100, "target": 90}},
        "lineage": [{"role": "backbone", "name": "them/base", "revision": COMMIT, "lineage": []}],
        "manifest": {
            "name": "cats",
            "backbone": {"use": "timm", "model": "hf_hub:them/base"},
            "source": [{"use": "hub", "repo": "them/photos", "split": "train"}],
            "target": [{"use": "imagefolder", "path": "…/drawings"}],
            "evaluate": [{"use": "hub", "repo": "them/drawings", "split": "test"}],
            "adapters": [{"use": "dann"}, {"use": "batch_norm_adapt"}],
        },
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "result": {
            "metric": "accuracy",
            "rows": [
                {**row, "model": "source-only", "value": 0.7},
                {**row, "model": "adapted", "value": 0.9, "confusion": [[9, 1], [2, 8]]},
            ],
            "comparison": {"difference": 0.2, "low": 0.1, "high": 0.3, "outcome": "helped"},
            "sentence": "Adaptation helped: accuracy rose by 20.0 points (95 % interval +10.0 to +30.0).",
        },
    }
    return {**found, **changes}


def made(**changes: Any) -> str:
    return card(record(**changes), "you/cats-dann", BASE, "mit", picture=True)


def body(text: str) -> str:
    return ModelCard(text).text


class _Text(HTMLParser):
    """The tags of a page, and what a reader sees."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.shown = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.shown += data
        if self.cells:
            self.cells[-1] += data


def shown(markdown: str) -> _Text:
    return _Text(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown))


def test_the_metadata_is_complete_and_the_client_reads_it() -> None:
    data = ModelCard(made()).data

    assert data.library_name == "timm"
    assert data.tags == ["tlhub", "domain-adaptation", "dann", "batch-norm-adapt"]
    assert data.base_model == ["them/base"]
    assert data.to_dict()["base_model_relation"] == "finetune"
    assert data.datasets == ["them/photos"]
    assert data.license == "mit"
    assert data.pipeline_tag == "image-classification"
    assert data.metrics == ["accuracy"]
    assert data.model_name == "cats-dann"
    [score] = data.eval_results
    assert (score.metric_type, score.metric_value) == ("accuracy", 0.9)
    assert (score.dataset_type, score.dataset_split) == ("them/drawings", "test")


@pytest.mark.parametrize(
    ("form", "more", "library"),
    [
        ("timm", {}, "timm"),
        ("transformers", {}, "transformers"),
        ("peft", {}, "peft"),
        ("tlhub", {}, "tlhub"),
        ("tlhub-bert", {}, "tlhub"),
        ("timm", {"delta": {"base": {"repo": "them/base", "revision": COMMIT}}}, "tlhub"),
    ],
)
def test_the_library_is_one_that_loads_the_repository_by_itself(form: str, more: Any, library: str) -> None:
    assert ModelCard(made(form=form, **more)).data.library_name == library


@pytest.mark.parametrize(("form", "relation"), [("peft", "adapter"), ("timm", "finetune")])
def test_how_the_model_relates_to_its_base(form: str, relation: str) -> None:
    assert ModelCard(made(form=form)).data.to_dict()["base_model_relation"] == relation


def test_without_a_base_on_the_hub_none_is_named() -> None:
    text = card(record(lineage=[]), "you/cats", None, None, picture=False)

    data = ModelCard(text).data.to_dict()
    assert not {"base_model", "base_model_relation", "license"} & data.keys()
    assert "Its licence is not known" in text
    assert "confusion.png" not in text


def test_a_text_model_has_the_languages_of_its_base() -> None:
    assert ModelCard(made(modality="text", form="transformers")).data.language == ["en", "de"]
    assert ModelCard(made()).data.language is None


@pytest.mark.parametrize(
    ("asked", "known", "found", "warns"),
    [
        (None, "mit", "mit", False),
        (None, "other", None, True),
        (None, None, None, True),
        ("apache-2.0", None, "apache-2.0", False),
        ("apache-2.0", "apache-2.0", "apache-2.0", False),
        ("apache-2.0", "cc-by-nc-4.0", "apache-2.0", True),
    ],
)
def test_the_licence(asked: str | None, known: str | None, found: str | None, warns: bool) -> None:
    base = Base(BASE.ref, {}, {"license": known} if known else {})
    name, note = licence(asked, base)
    assert name == found
    assert (note is not None) == warns


@pytest.mark.parametrize("theirs", [b"---\n{ : [\n---\n", b"\xff", b"---\nlicense: [1]\nlanguage: {a: 1}\n---\n"])
def test_a_base_whose_card_is_broken_says_nothing(tmp_path: Path, theirs: bytes) -> None:
    (tmp_path / "README.md").write_bytes(theirs)
    base = Base(HubRef("them/base", "0" * 40), {}, read_card(tmp_path / "README.md"))
    assert licence(None, base)[0] is None
    assert card(record(modality="text"), "you/cats", base, None, picture=False)


def test_the_verdict_comes_first_and_the_table_is_honest() -> None:
    text = body(made())

    first = text.split("\n\n")[1]
    assert first == "**Adaptation helped: accuracy rose by 20.0 points (95 % interval +10.0 to +30.0).**"
    page = shown(text)
    cells = [cell.strip() for cell in page.cells]
    assert cells[:6] == ["scored on", "model", "examples", "accuracy", "95 % interval", "macro_f1"]
    assert cells[6:12] == ["hub them/drawings", "source-only", "1,000", "70.0 %", "80.0 % – 95.0 %", "0.880"]
    assert cells[13:16] == ["adapted", "1,000", "90.0 %"]


def test_without_a_baseline_it_says_so() -> None:
    result = {**record()["result"], "comparison": None, "sentence": "There is no baseline to compare with."}
    assert "do not tell whether adaptation helped" in made(result=result)
    assert "It was not scored." in made(result=None)


def test_what_hurt_is_said_to_have_hurt() -> None:
    hurt = {"difference": -0.1, "low": -0.2, "high": -0.05, "outcome": "hurt"}
    text = made(result={**record()["result"], "comparison": hurt, "sentence": "Adaptation hurt: negative transfer."})
    assert "**Adaptation hurt: negative transfer.**" in text
    assert "Nothing shows that adaptation helped" in text


def test_the_likely_reasons_follow_the_verdict_without_what_its_author_could_change() -> None:
    hurt = {"difference": -0.1, "low": -0.2, "high": -0.05, "outcome": "hurt"}
    reasons = [
        {"symptom": f"s{number}", "level": "fault", "measured": f"Of {name} 9 in 10.", "meaning": "M.", "mend": "Mend."}
        for number, name in enumerate(HOSTILE)
    ]
    plain = {**record()["result"], "comparison": hurt, "sentence": "Adaptation hurt.", "reasons": []}
    page = shown(body(made(result={**plain, "reasons": reasons})))
    first = page.shown.partition("Adaptation hurt.")[2].partition("A model for")[0]
    assert first.split("\n\n")[0].strip() == "Likely reasons, as tlhub doctor found them:"
    assert [line for line in first.splitlines() if line.startswith("Of")] == [
        f"Of {' '.join(name.split())} 9 in 10. M." for name in HOSTILE[:3]
    ]
    assert "Mend." not in page.shown
    assert "reasons" not in made(result=plain)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_shown_as_they_are(name: str) -> None:
    """In the list of classes, in the table, in the lineage and in the title's neighbourhood."""
    origin = {"role": "backbone", "name": name, "revision": COMMIT, "lineage": []}
    manifest = {**record()["manifest"], "evaluate": [{"use": "imagefolder", "path": name}], "name": name}
    text = made(classes=[name, "dog"], lineage=[origin], manifest=manifest)

    expected = " ".join(name.split())
    plain, page = shown(body(made())), shown(body(text))
    assert f"Classes: {expected}, dog." in page.shown
    assert any(cell.strip() == f"imagefolder {expected}" for cell in page.cells)
    assert f"backbone: {expected}, at" in page.shown
    assert page.tags == plain.tags
    assert ModelCard(text).data.license == "mit"
    assert shown(md(name)).shown.strip() == expected


def test_the_manifest_can_be_copied() -> None:
    manifest = {**record()["manifest"], "name": "```\n# not a heading\n````"}
    fences = [token for token in MarkdownIt().parse(body(made(manifest=manifest))) if token.type == "fence"]
    assert yaml.safe_load(fences[-1].content) == manifest


@pytest.mark.parametrize("form", ["timm", "transformers", "peft", "tlhub"])
def test_the_code_of_each_ecosystem_is_python(form: str) -> None:
    modality = "text" if form in ("transformers", "peft") else "image"
    text = body(made(form=form, modality=modality))
    code = [token.content for token in MarkdownIt().parse(text) if token.type == "fence" and token.info == "python"]
    for each in code:
        ast.parse(each)
    assert "tlhub.load('hub:you/cats-dann')" in code[0]
    wanted = {
        "timm": ["timm.create_model('hf_hub:you/cats-dann', pretrained=True)", "pipeline('image-classification', "],
        "transformers": ["pipeline('text-classification', 'you/cats-dann')"],
        "peft": ["PeftModel.from_pretrained(base, 'you/cats-dann')"],
        "tlhub": [],
    }[form]
    assert len(code) == 1 + len(wanted)
    for part, each in zip(wanted, code[1:], strict=True):
        assert part in each
    assert form != "peft" or f"revision='{COMMIT}'" in code[1]


def test_lineage_is_told_to_the_end_with_every_revision() -> None:
    teacher = {"role": "teacher", "name": "big", "revision": "sha256:ab", "hub": f"hub:you/big@{COMMIT}"}
    lineage = [{**teacher, "lineage": [{"role": "backbone", "name": "them/huge", "revision": COMMIT, "lineage": []}]}]
    text = made(lineage=lineage)
    assert f"- teacher: big (`hub:you/big@{COMMIT}`), at `sha256:ab`" in text
    assert f"  - backbone: them/huge, at `{COMMIT}`" in text


def test_the_same_model_has_the_same_card() -> None:
    assert made() == made()


# The picture


def test_a_classification_counts_answers_by_class() -> None:
    logits = torch.tensor([[2.0, 1, 0], [0, 1, 2], [0, 1, 2], [0, 3, 2]])
    counts = Classification().confusion(logits, torch.tensor([0, 0, 2, 1]))
    assert counts is not None
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert Classification().confusion(torch.zeros(1, 101), torch.tensor([0])) is None


def test_the_picture_shows_the_adapted_models_confusions_over_all_evaluations() -> None:
    rows = [{"confusion": [[1, 0], [0, 1]]}, {}, {"confusion": [[2, 1], [0, 4]]}]
    found = picture({"classes": ["a", "b"], "result": {"rows": rows}})
    assert found == drawn(np.array([[3, 1], [0, 5]]), ["a", "b"])
    assert picture({"classes": None, "result": {"rows": [{}]}}) is None
    assert picture({"classes": ["a", "b"]}) is None


@pytest.mark.parametrize("classes", [["$x$ $", "猫"], [*map(str, range(30))], [f"{n} " * 30 for n in range(100)]])
def test_any_class_names_can_be_drawn(classes: list[str]) -> None:
    counts = np.random.default_rng(0).integers(0, 50, (len(classes), len(classes)))
    image = drawn(counts, classes)
    assert Image.open(io.BytesIO(image)).format == "PNG"
    assert len(image) < 100_000
    assert drawn(counts, classes) == image
