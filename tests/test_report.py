"""The report: one file that needs nothing but itself, tells what record and data tell, and escapes every name."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import tlhub
from tests.conftest import Command
from tests.test_words_and_pretraining import CATALOG as WORDS, on_words
from tlhub.artifact import load
from tlhub.case import ROWS, Case
from tlhub.catalog import Catalog
from tlhub.hookspecs import hookimpl
from tlhub.symptom import Finding, Symptom
from tlhub.testing import toy_catalog, toy_manifest
from tlhub_report.findings import Findings, Sample, gather
from tlhub_report.page import MATRIX, page

HOSTILE = {
    "flat": "<script>alert(1)</script>",
    "left": '"><img src=x onerror=alert(1)>',
    "right": "]]> 'single' \"double\" {{ 7 * 7 }}",
}
VOID = {"meta", "img", "br", "hr", "link", "input"}
DRAWN = {"path", "circle", "polyline", "rect"}
"""Of SVG, written without an end."""


class Page(HTMLParser):
    """A page taken apart: its tags with their attributes, and its text; every element must end where it should."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", list[str]()
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class Told(NamedTuple):
    folder: Path
    result: Any
    findings: Findings
    html: str


def told(folder: Path, manifest: dict[str, Any], catalog: Any = None, place: str = "a model") -> Told:
    """A real run, and its report while its baseline is still kept."""
    catalog = catalog or toy_catalog()
    result = tlhub.adapt(manifest, out=folder, catalog=catalog, device="cpu", keep=False)
    findings = gather(folder, "cpu", catalog)
    return Told(folder, result, findings, page(findings, place))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Told:
    """A run whose name and classes are made to break out of HTML."""
    manifest = toy_manifest([{"use": "dann"}], epochs=4, lr=0.02)
    manifest |= {"name": "<b>bold</b>", "select": {"use": "snd"}}
    for role in ("source", "evaluate"):
        manifest[role] = {**manifest[role], "classes": HOSTILE}
    return told(tmp_path_factory.mktemp("runs") / "hostile", manifest, place="'\"><script>")


class TestThePage:
    def test_it_is_well_formed_and_every_name_stays_text(self, hostile: Told) -> None:
        parsed = Page(hostile.html)
        names = {name for name, _ in parsed.tags}
        assert not names & {"script", "b", "link", "iframe", "object", "embed"}
        assert not any(key.startswith("on") for _, attributes in parsed.tags for key in attributes)
        assert all(" ".join(name.split())[:30] in parsed.text for name in HOSTILE.values())
        assert "<b>bold</b>" in parsed.text

    def test_it_asks_nothing_of_anybody(self, hostile: Told) -> None:
        parsed = Page(hostile.html)
        for _, attributes in parsed.tags:
            assert not attributes.keys() & {"href", "srcset", "data", "action", "xlink:href"}
            assert (attributes.get("src") or "data:").startswith("data:")
        style = hostile.html.partition("<style>")[2].partition("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style
        policy = next(a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
        assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

    def test_the_verdict_comes_first_and_the_order_is_kept(self, hostile: Told) -> None:
        body = hostile.html.partition("<body>")[2]
        heads = ("What the doctor found", "Scores", "Class by class", "What is taken for what", "Training", "Features")
        order = [hostile.result.sentence, *heads, "Most confident mistakes", "How it was made", "Load it"]
        places = [body.index(each) for each in order]
        assert places == sorted(places)

    def test_every_image_and_picture_says_what_it_is(self, hostile: Told) -> None:
        tags = Page(hostile.html).tags
        assert all(attributes.get("alt") for name, attributes in tags if name == "img")
        assert all(attributes.get("aria-label") for name, attributes in tags if name == "svg")

    def test_every_loss_term_and_the_selection_have_a_curve(self, hostile: Told) -> None:
        labels = [a["aria-label"] or "" for name, a in Page(hostile.html).tags if name == "svg"]
        assert [label.split()[0] for label in labels[:-2]] == ["task", "dann", "gradient", "selection"]
        assert all("over 4 epochs" in label for label in labels[:-2])

    def test_a_name_that_is_no_unicode_is_written_all_the_same(self, hostile: Told) -> None:
        record = {**hostile.findings.record, "name": "caf\udce9"}
        page(replace(hostile.findings, record=record), "m").encode("utf-8")

    def test_however_much_there_is_to_tell_it_stays_small(self, hostile: Told) -> None:
        random = np.random.default_rng(0)
        classes = [f"a class of a rather long name {number}" for number in range(MATRIX)]
        noise = Image.fromarray(random.integers(0, 256, (1500, 1500, 3), dtype=np.uint8))
        shares = np.array_split(np.arange(2 * ROWS), 5)
        history = [{"loss": {f"term {t}": float(random.normal()) for t in range(10)}} for _ in range(300)]
        large = replace(
            hostile.findings,
            record={**hostile.findings.record, "classes": classes, "history": history},
            confusions={name: random.integers(0, 999, (MATRIX, MATRIX)) for name in ("source-only", "adapted")},
            samples=[Sample(f"source.{n}", "source", [classes[0]] * len(s), 10**6) for n, s in enumerate(shares)],
            planes=[replace(each, points=random.normal(size=(2 * ROWS, 2))) for each in hostile.findings.planes],
            mistakes=[replace(hostile.findings.mistakes[0], raw=noise)] * 12,
        )
        assert len(page(large, "m").encode()) < 3_000_000

    def test_of_many_classes_the_pairs_confused_most_are_told(self, hostile: Told) -> None:
        classes = [f"class {number}" for number in range(MATRIX + 5)]
        counts = np.eye(len(classes), dtype=int) * 9
        counts[7, 31], counts[8, 2] = 5, 3
        record = {**hostile.findings.record, "classes": classes}
        text = Page(page(replace(hostile.findings, record=record, confusions={"adapted": counts}), "m")).text
        section = text.partition("What is taken for what")[2].partition("Training")[0]
        assert section.strip().endswith("class 7class 315\nclass 8class 23"), "cells of a row follow each other"


class TestWhatIsFound:
    def test_the_matrices_are_those_of_the_result(self, hostile: Told) -> None:
        before, after = (hostile.findings.confusions[name] for name in ("source-only", "adapted"))
        recorded = next(row.confusion for row in hostile.result.rows if row.model == "adapted")
        assert after.tolist() == recorded
        gain = (np.trace(after) - np.trace(before)) / after.sum()
        assert gain == pytest.approx(hostile.result.comparison.difference)

    def test_mistakes_are_wrong_answers_the_surest_first(self, hostile: Told) -> None:
        mistakes = hostile.findings.mistakes
        sure = [each.probability or 0 for each in mistakes]
        assert sure == sorted(sure, reverse=True)
        answers = load(hostile.folder, "cpu", toy_catalog()).predict([each.raw for each in mistakes])
        assert [each.answer for each in mistakes] == [answer["label"] for answer in answers]
        assert all(each.truth != each.answer for each in mistakes)
        wrong = 48 - np.trace(hostile.findings.confusions["adapted"])
        assert len(mistakes) == min(12, wrong)

    def test_points_are_a_sample_of_both_domains_for_both_models(self, hostile: Told) -> None:
        samples, planes = hostile.findings.samples, hostile.findings.planes
        assert [(each.key, len(each.names), each.total) for each in samples] == [
            ("source", 48, 48),
            ("evaluate", 48, 48),
        ]
        assert [(each.model, each.points.shape) for each in planes] == [("source-only", (96, 2)), ("adapted", (96, 2))]
        assert set(samples[1].names) == set(HOSTILE.values())

    def test_of_many_examples_a_part_is_drawn_and_the_page_says_so(self, tmp_path: Path) -> None:
        manifest = toy_manifest([])
        manifest["evaluate"]["count"] = ROWS + 60
        drawn = told(tmp_path / "run", manifest)
        assert len(drawn.findings.planes[0].points) == 48 + ROWS
        assert f"evaluate: {ROWS} of {ROWS + 60:,} examples" in drawn.html

    def test_two_features_are_drawn_as_they_lie(self, tmp_path: Path) -> None:
        manifest = toy_manifest([])
        manifest["backbone"] = {"use": "toy_net", "width": 2}
        assert told(tmp_path / "run", manifest).findings.planes[0].explained == pytest.approx(1)

    def test_the_same_run_gives_the_same_page(self, tmp_path: Path) -> None:
        once = told(tmp_path / "run", toy_manifest([{"use": "mmd"}]))
        assert page(gather(once.folder, "cpu", toy_catalog()), "a model") == once.html


class Mirror(Symptom):
    """Something that every run has, and that looks at the target."""

    name = "mirror"

    def examine(self, case: Case) -> Finding:
        seen = case.seen("after", "target")
        assert seen is not None
        measured = f"Of {len(seen.logits)} examples `<script>` & co. answer alike."
        return self.fault(measured, "It is the mirror's fault.", "Change `train.lr`.")


class Mirrors:
    @hookimpl
    def tlhub_symptoms(self) -> list[type]:
        return [Mirror]


class TestTheDoctor:
    def catalog(self) -> Catalog:
        catalog = toy_catalog()
        catalog.add("mirrors", Mirrors())
        return catalog

    def section(self, html: str) -> str:
        return html.partition("<h2>What the doctor found</h2>")[2].partition("</section>")[0]

    def test_every_finding_is_told_and_its_words_stay_words(self, tmp_path: Path) -> None:
        found = told(tmp_path / "run", toy_manifest([{"use": "mmd"}]), self.catalog())
        section = self.section(found.html)
        text = Page(section).text
        assert "fault mirror" in text
        assert "Of 40 examples <script> & co. answer alike.\nIt is the mirror's fault.\nChange train.lr.\n" in text
        assert "<code>train.lr</code>" in section
        fine = [each for each in found.findings.diagnosis if not each.ill]
        assert all(each.measured.replace("`", "") in text for each in fine)
        assert found.findings.diagnosis[0].level == "fault"

    def test_where_all_is_fine_it_says_so(self, hostile: Told) -> None:
        fine = [Finding("mirror", "fine", "Of 10 examples 10 are right.", "It is a mirror.")]
        well = self.section(page(replace(hostile.findings, diagnosis=fine), "m"))
        lines = [line for line in Page(well).text.splitlines() if line]
        assert lines == ["Nothing wrong.", "What was measured and is fine (1)", "mirrorOf 10 examples 10 are right."]

    def test_where_the_data_is_gone_the_reasons_of_then_are_told(self, tmp_path: Path) -> None:
        photos = TestWhatIsGone().photos(tmp_path / "photos")["evaluate"]
        manifest = {**toy_manifest([{"use": "mmd"}]), "target": photos, "evaluate": []}
        assert "Of 24 examples" in self.section(told(tmp_path / "run", manifest, self.catalog()).html)
        (tmp_path / "photos").rename(tmp_path / "elsewhere")
        text = Page(self.section(page(gather(tmp_path / "run", "cpu", self.catalog()), "m"))).text
        assert "Of 24 examples" in text
        assert "mirror" in text
        assert "could not be looked for: there is no file or folder" in text


class TestWhatIsGone:
    def test_without_its_baseline_the_adapted_model_is_told_alone(self, hostile: Told) -> None:
        alone = gather(hostile.folder, "cpu", toy_catalog())  # every test has an empty store
        assert [note.split(" cannot")[0] for note in alone.notes] == ["What it was compared with"]
        assert list(alone.confusions) == ["adapted"]
        assert [each.model for each in alone.planes] == ["adapted"]
        html = page(alone, "m")
        assert hostile.result.sentence in html
        assert "source-only</td>" in html, "its scores are in the record"
        assert "confusion matrix, source-only" not in html
        Page(html)

    def photos(self, folder: Path) -> dict[str, Any]:
        """A manifest that is scored on image files."""
        for name, bright in (("flat", 40), ("left", 120), ("right", 200)):
            (folder / name).mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (8, 8), (bright + number,) * 3).save(folder / name / f"{number}.png")
        return {**toy_manifest([]), "evaluate": {"use": "imagefolder", "path": str(folder)}}

    def test_where_the_data_was_moved_the_record_is_told(self, tmp_path: Path) -> None:
        before = told(tmp_path / "run", self.photos(tmp_path / "photos"))
        (tmp_path / "photos").rename(tmp_path / "elsewhere")
        after = gather(tmp_path / "run", "cpu", toy_catalog())
        assert "photos" in after.notes[0]
        assert after.notes[0].startswith("The examples it was scored on cannot be opened")
        assert after.confusions["adapted"].tolist() == before.findings.confusions["adapted"].tolist()
        assert not after.mistakes
        text = Page(page(after, "m")).text
        assert "What is taken for what" in text
        assert "Training" in text
        assert "Most confident mistakes" not in text

    def test_data_that_was_changed_since_is_noticed(self, tmp_path: Path) -> None:
        told(tmp_path / "run", self.photos(tmp_path / "photos"))
        for number in range(4):
            (tmp_path / "photos/flat" / f"{number}.png").unlink()
        notes = gather(tmp_path / "run", "cpu", toy_catalog()).notes
        assert len(notes) == 1
        assert "of 24 examples" in notes[0]
        assert "of the 20 there are now" in notes[0]


class TestOtherTasks:
    def test_numbers(self, tmp_path: Path) -> None:
        manifest = toy_manifest([{"use": "coral"}])
        manifest["task"] = "regression"
        for role in ("source", "evaluate"):
            manifest[role] = {**manifest[role], "classes": {"flat": "0", "left": "1", "right": "2"}}
        found = told(tmp_path / "run", manifest)
        errors = [abs(float(each.truth) - float(each.answer)) for each in found.findings.mistakes]
        assert errors == sorted(errors, reverse=True)
        text = Page(found.html).text
        assert "Answers that cost most" in text
        assert "Class by class" not in text

    @pytest.mark.parametrize("form", [{}, {"kinds": True}, {"numbers": True}], ids=["words", "kinds", "numbers"])
    def test_texts_with_labels_of_every_form(self, form: dict[str, bool], tmp_path: Path) -> None:
        manifest = on_words({"use": "mmd", "strength": 0.1}, **form)
        manifest["train"] |= {"epochs": 1}
        found = told(tmp_path / "run", manifest, WORDS)
        text = Page(found.html).text
        assert not found.findings.notes
        assert found.findings.mistakes[0].raw in text
        assert "What is taken for what" not in text

    def test_without_anything_to_score_on(self, tmp_path: Path) -> None:
        manifest = {key: value for key, value in toy_manifest([]).items() if key in ("backbone", "source", "train")}
        text = Page(told(tmp_path / "run", manifest).html).text
        assert "Whether adaptation helped cannot be said" in text
        assert "source: 48 of 48 examples" in text


@pytest.mark.slow
def test_the_command_writes_a_page_and_a_picture(tlhub: Command, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "backbone: lenet\nsource: digits\ntarget: digits_photo\nevaluate: {use: digits_photo, split: test}\n"
        "adapters: [dann]\ntrain: {epochs: 1, steps_per_epoch: 2, batch: 8}\n"
    )
    assert tlhub("adapt", "m.yaml", "--out", "run").returncode == 0
    found = tlhub("report", "run", "--png", "figure.png", "--json")
    assert found.returncode == 0, found.stderr
    said = json.loads(found.stdout)
    assert (said["report"], said["png"], said["notes"]) == ("report.html", "figure.png", [])
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    parsed = Page(html)
    assert said["sentence"] in parsed.text
    assert "tlhub.load('run')" in parsed.text
    assert sum(name == "img" for name, _ in parsed.tags) == 12
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height, "a panel for each model"
    nowhere = tlhub("report", "run", "--out", "nowhere/report.html")
    assert nowhere.returncode == 2
    assert "there is no folder nowhere" in nowhere.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_a_browser_shows_it_without_an_error_and_nothing_is_cut_off(
    hostile: Told, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "report.html").write_text(hostile.html, encoding="utf-8")
    (tmp_path / "frame.html").write_text(  # no window is as narrow as a phone, but a frame is
        f'<iframe src="report.html" width="{width}" height="800" style="border:0"></iframe><script>onload = () => {{'
        "const page = document.querySelector('iframe').contentDocument;"
        "document.title = [page.documentElement.scrollWidth, getComputedStyle(page.body).backgroundColor,"
        " page.querySelectorAll('script').length].join(';') }</script>"
    )
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
    flags += ["--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]
    flags += [f"--blink-settings=preferredColorScheme={scheme == 'light':d}"]
    shown = subprocess.run(
        ["chromium", *flags, "--dump-dom", (tmp_path / "frame.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in shown.stderr
    found = shown.stdout.partition("<title>")[2].partition("</title>")[0].split(";")
    assert found == [str(width), "rgb(13, 17, 23)" if scheme == "dark" else "rgb(255, 255, 255)", "0"]
