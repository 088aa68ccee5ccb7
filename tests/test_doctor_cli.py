"""`tlhub doctor`, and its words wherever a verdict is told."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.cases import digits_manifest
from tests.commands import Commands
from tests.conftest import ROOT, Command
from tlhub.adaptation import Result
from tlhub.catalog import Catalog
from tlhub.measure import Comparison
from tlhub.seeds import Seeds
from tlhub.symptom import Finding
from tlhub.yaml_tree import dump
from tlhub_cli import findings, output

IDLE = {**digits_manifest({"use": "mmd", "strength": 1e-12}, epochs=2), "evaluate": []}
"""A term that is too weak to do anything, and nothing to score on."""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """The folder of such a run, and what its command printed in `said`."""
    folder = tmp_path_factory.mktemp("doctor")
    (folder / "m.yaml").write_text(dump(IDLE))
    done = commands("adapt", "m.yaml", "--out", "run", "--device", "cpu", cwd=folder, env=os.environ)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stdout)
    return folder


@pytest.mark.slow
class TestTheCommand:
    def test_it_tells_what_was_measured_what_it_means_and_what_to_change(self, idle: Path, tlhub: Command) -> None:
        done = tlhub("doctor", "run", cwd=idle)
        assert done.returncode == 0, done.stderr
        measured, meaning, mend = done.stdout.partition("fault: idle_term\n")[2].splitlines()[:3]
        assert measured.startswith("  The gradient of `mmd` on the model is ")
        assert meaning == "  `mmd` does nothing: without it the model would be the same."
        assert mend.startswith("  Raise the `strength` of `mmd`")
        fine = done.stdout.partition("\nMeasured, and fine:\n")[2]
        assert "\ncollapse " in f"\n{fine}"
        assert fine.splitlines()[-1].startswith("1 fault")

    def test_as_json_it_says_the_same_and_what_is_missing(self, idle: Path, tlhub: Command) -> None:
        done = tlhub("doctor", "run", "--json", cwd=idle)
        said = json.loads(done.stdout)
        assert said.keys() == {"findings", "notes"}
        assert len(said["notes"]) == 1, "of the baseline, which the home of this test has not"
        assert said["findings"][0].keys() == {"symptom", "level", "measured", "meaning", "mend"}
        assert "idle_term" in [each["symptom"] for each in said["findings"] if each["level"] == "fault"]
        assert "note: the source-only baseline" in done.stderr
        assert "fault: idle_term" in done.stderr

    def test_a_place_without_a_model_is_refused(self, idle: Path, tlhub: Command) -> None:
        (idle / "empty").mkdir(exist_ok=True)
        done = tlhub("doctor", "empty", cwd=idle)
        assert done.returncode == 2
        assert "empty is no adapted model" in done.stderr

    def test_adapt_and_show_tell_the_reasons_and_adapt_how_to_read_on(self, idle: Path, tlhub: Command) -> None:
        said = (idle / "said").read_text()
        shown = tlhub("show", "run", cwd=idle).stdout
        for text in (said, shown):
            assert re.search(r"\nWhat the doctor found:\nidle_term +The gradient of `mmd`", text)
            assert "Raise the `strength` of `mmd`" in text
        assert "Next:\n  tlhub doctor run " in said


def test_the_guide_names_every_symptom() -> None:
    guide = (ROOT / "docs/howto/doctor.md").read_text(encoding="utf-8")
    own = [entry.name for entry in Catalog.installed().entries("symptoms") if entry.distribution == "tlhub"]
    assert re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE) == sorted(own)


def finding(symptom: str, level: str = "warning") -> Finding:
    return Finding(symptom, level, f"{symptom} was measured.", "It means something.", "Change `train.lr`.")  # type: ignore[arg-type]


def result(outcome: str | None, *reasons: Finding) -> Result:
    comparison = None if outcome is None else Comparison(-0.1, -0.2, 0.0, outcome)  # type: ignore[arg-type]
    return Result(Path("run"), "accuracy", [], comparison, "The verdict.", None, reasons)


class TestWords:
    def test_of_many_reasons_the_three_worst_are_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        reasons = [finding("a", "fault"), *map(finding, "bcd")]
        findings.verdict(output.screen(False), result("hurt", *reasons))
        lines = capsys.readouterr().out.strip().splitlines()
        assert lines[:3] == ["The verdict.", "", "Likely reasons:"]
        assert [line[0] for line in lines[3:] if line[0] != " "] == ["a", "b", "c"]

    def test_without_a_reason_there_is_the_verdict_alone(self, capsys: pytest.CaptureFixture[str]) -> None:
        findings.verdict(output.screen(False), result("helped"))
        assert capsys.readouterr().out.strip() == "The verdict."

    @pytest.mark.parametrize(("outcome", "told"), [("hurt", ["b", "a"]), ("helped", [])])
    def test_over_seeds_each_reason_is_told_once_unless_adaptation_helped(
        self, outcome: str, told: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        results = [result("hurt", finding("a")), result("hurt", finding("b", "fault"), finding("a"))]
        comparison = result(outcome).comparison
        findings.verdict_of_seeds(
            output.screen(False), Seeds(Path("runs"), [0, 1], results, comparison, "The verdict.")
        )
        lines = capsys.readouterr().out.strip().splitlines()
        assert [line[0] for line in lines if " was measured." in line] == told

    @pytest.mark.parametrize(
        ("levels", "said"),
        [
            (["fault", "warning", "warning", "fine"], "1 fault, 2 warnings."),
            (["warning"], "1 warning."),
            (["fine"], "The doctor found nothing wrong."),
            ([], "There is nothing that the doctor could measure."),
        ],
    )
    def test_the_last_line_says_how_much_there_is(
        self, levels: list[str], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        findings.diagnosis(output.screen(False), [finding("x", level) for level in levels])
        assert capsys.readouterr().out.splitlines()[-1] == said

    def test_names_are_shown_as_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        findings.diagnosis(output.screen(False), [finding("[bold]\x1b[31m", "fault"), finding("[/]\x07", "fine")])
        shown = capsys.readouterr().out
        assert "\x1b" not in shown
        assert "\x07" not in shown
        assert "fault: [bold]\\x1b[31m" in shown
