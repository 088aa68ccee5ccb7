"""The command line on texts: every task adapted in a moment, and asked as a user asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import tlhub as library
from tests.commands import Finished
from tests.conftest import Command

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
BACKBONE = {"use": "bert", "config": TINY, "max_length": 32}


def reviews() -> list[tuple[str, bool]]:
    """Texts, and whether they praise."""
    what = [("a wonderful film", True), ("a terrible film", False), ("great and funny", True), ("slow and bad", False)]
    where = ("with friends", "on a rainy day", "at home", "in the city", "after work", "with my family")
    return [(f"{said} {place} {number}", good) for number in range(4) for place in where for said, good in what]


def sentences() -> list[dict[str, list[str]]]:
    """Words with tags: who lives where."""
    found = []
    for number in range(96):
        name = (["Anna", "Berg"], ["Tom"], ["Maria", "Silva", "Costa"])[number % 3]
        town = (["Oslo"], ["New", "York"])[number % 2]
        tags = [f"{'I' if place else 'B'}-PER" for place in range(len(name))]
        tags += ["O", "O", *[f"{'I' if place else 'B'}-LOC" for place in range(len(town))]]
        found.append({"tokens": [*name, "lives", "in", *town], "tags": tags})
    return found


def write(path: Path, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"use": "jsonl", "path": str(path)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's folder, with a model for each task in it: `kind`, `stars`, `topics` and `names`."""
    folder = tmp_path_factory.mktemp("texts")
    said = [{"text": text, "label": "good" if good else "bad"} for text, good in reviews()]
    stars = [{"text": text, "label": 4.5 if good else 1.5} for text, good in reviews()]
    topics = [{"text": text, "good": int(good), "film": int("film" in text)} for text, good in reviews()]
    sources = {
        "kind": {**write(folder / "kind.jsonl", said), "text": "text", "label": "label"},
        "stars": {**write(folder / "stars.jsonl", stars), "text": "text", "label": "label"},
        "topics": {**write(folder / "topics.jsonl", topics), "text": "text", "label": ["good", "film"]},
        "names": {**write(folder / "names.jsonl", sentences()), "words": "tokens", "label": "tags"},
    }
    train = {"epochs": 16, "batch": 16, "lr": 0.003, "backbone_lr": 1.0}
    for name, source in sources.items():
        pooling = "pooler" if name == "kind" else "mean"  # the latter learns sooner, and has a form of its own
        manifest = {"backbone": {**BACKBONE, "pooling": pooling}, "source": source, "train": train}
        library.adapt(manifest, out=folder / name, baseline=False, device="cpu")
    return folder


@pytest.fixture
def typed(folder: Path, tlhub: Command) -> Callable[..., Finished]:
    """Types `tlhub` with arguments in the folder, with a text on its standard input."""

    def typed(*arguments: str, stdin: str | bytes = "") -> Finished:
        done = tlhub(*arguments, cwd=folder, stdin=stdin.encode() if isinstance(stdin, str) else stdin)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return typed


def test_predict_answers_for_texts_files_and_folders_and_names_what_it_cannot_read(
    folder: Path, typed: Callable[..., Finished]
) -> None:
    inside = folder / "more"
    inside.mkdir()
    (inside / "one.txt").write_text("a terrible film\nat home\n")
    (inside / "two.txt").write_bytes(b"caf\xe9")
    (inside / "three.txt").write_text(" \n")
    (inside / "notes.md").write_text("not looked at")
    long = "great and funny " * 10
    done = typed("predict", "kind", "a wonderful film", "more", "more/one.txt", long, "")
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    assert [re.split(r"  +", line)[:2] for line in lines] == [
        ["a wonderful film", "good"],
        ["more/one.txt", "bad"],
        ["more/one.txt", "bad"],
        [f"{long[:59]}…", "good"],
    ]
    assert all(re.search(r"  [\d.]+ %$", line) for line in lines)
    assert "more/two.txt is not UTF-8" in done.stderr
    assert "more/three.txt is empty" in done.stderr
    assert "one of the texts is empty" in done.stderr


def test_predict_reads_lines_from_the_standard_input(typed: Callable[..., Finished]) -> None:
    lines = "a wonderful film – at home\r\n\nslow and bad\n"
    done = typed("predict", "kind", "-", "--pair", "after work", "--json", stdin=lines)
    told = json.loads(done.stdout)
    assert [(each["text"], each["label"]) for each in told] == [
        ("a wonderful film – at home", "good"),
        ("slow and bad", "bad"),
    ]
    assert done.returncode == 2
    assert done.stderr.startswith("error: line 2 of the standard input is empty\n")


@pytest.mark.parametrize(
    ("arguments", "stdin", "said"),
    [
        (
            ["reviw.txt", "kind.jsonl", "kind"],
            b"",
            "there is no file reviw.txt\n  kind.jsonl is a table: hand over its texts, one a line, to "
            "`tlhub predict MODEL -`\n  kind holds no text files\n",
        ),
        (["-"], b"caf\xe9\n", "the standard input is not UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_before_the_model_is_loaded(
    typed: Callable[..., Finished], arguments: list[str], stdin: bytes, said: str
) -> None:
    done = typed("predict", "kind", *arguments, stdin=stdin)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"error: {said}")


def test_a_regression_answers_with_a_number(typed: Callable[..., Finished]) -> None:
    shown = typed("predict", "stars", "a wonderful film at home", "a terrible film at home").stdout
    high, low = (float(line.split()[-1]) for line in shown.splitlines())
    assert high > 3 > low


def test_a_multilabel_model_answers_with_labels_and_all_probabilities(typed: Callable[..., Finished]) -> None:
    shown = typed("predict", "topics", "a wonderful film at home", "slow and bad").stdout.splitlines()
    assert re.search(r"  good, film  good [\d.]+ %, film [\d.]+ %$", shown[0])
    assert re.search(r"  none  good [\d.]+ %, film [\d.]+ %$", shown[1])


def test_a_model_of_words_answers_with_entities(typed: Callable[..., Finished]) -> None:
    sentence = "Anna Berg lives in New York"
    shown = typed("predict", "names", sentence).stdout
    assert re.fullmatch(rf"{sentence}  Anna Berg \(PER [\d.]+ %\), New York \(LOC [\d.]+ %\)\n", shown)


def test_init_for_texts_writes_a_manifest_that_adapts_with_a_model_in_a_folder(
    folder: Path, typed: Callable[..., Finished]
) -> None:
    assert typed("init", "kind.jsonl", "--out", "start.yaml").returncode == 0
    written = (folder / "start.yaml").read_text()
    assert "# It is downloaded when it is first used; `model: FOLDER` takes it from a folder instead" in written
    done = typed("adapt", "start.yaml", "--set", "backbone.model=kind", "--out", "again")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^evaluate +19 +adapted +[\d.]+ %", done.stdout, re.MULTILINE)


def test_init_without_labelled_target_texts_shows_how_to_name_them(
    folder: Path, typed: Callable[..., Finished]
) -> None:
    assert typed("init", "kind.jsonl", "--target", "topics.jsonl", "--out", "m.yaml").returncode == 0
    written = (folder / "m.yaml").read_text()
    assert (
        "# evaluate:\n#   use: jsonl\n#   path: some-labelled-examples\n#   text: text\n#   label: label\n" in written
    )
