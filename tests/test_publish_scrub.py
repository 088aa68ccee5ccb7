"""What says where something lies on a disk is not sent, and what only looks like it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tlhub_registry.scrub import scrubbed, scrubbed_file


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/alice/photos", "…/photos"),
        ("/home/alice/my photos/cats", "…/cats"),
        ("~/photos", "…/photos"),
        ("../alice/photos", "…/photos"),
        ("C:\\Users\\alice\\labels.csv", "…/labels.csv"),
        ("\\\\server\\alice\\labels.csv", "…/labels.csv"),
        ("file:///home/alice/labels.csv", "…/labels.csv"),
        ("local-dir:/home/alice/resnet", "local-dir:…/resnet"),
        ("read from /home/alice/labels.csv, row 3", "read from …/labels.csv, row 3"),
        ("read from C:\\Users\\alice\\x.csv", "read from …/x.csv"),
        ("photos/cats", "photos/cats"),
        ("hf_hub:timm/resnet50.a1_in1k", "hf_hub:timm/resnet50.a1_in1k"),
        ("https://example.org/data/x.csv", "https://example.org/data/x.csv"),
        ("bert\\.encoder\\.layer\\.0", "bert\\.encoder\\.layer\\.0"),
        ("blocks.*/attn and/or mlp", "blocks.*/attn and/or mlp"),
        ("hf_abcdefghijklmnopqrst", "hf_…"),
    ],
)
def test_paths_become_their_last_part(text: str, left: str) -> None:
    assert scrubbed(text) == left
    assert scrubbed({"settings": [{"path": text}]}) == {"settings": [{"path": left}]}


def test_the_home_folder_goes_even_inside_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/data/people/alice smith")
    assert scrubbed("/data/people/alice smith") == "…"
    assert "alice" not in scrubbed("found in /data/people/alice smith/photos today")


def test_class_names_stay_whatever_they_look_like() -> None:
    names = ["/m/01g317", "~/x", "C:\\x"]
    assert scrubbed({"classes": names, "id2label": {"0": "/m/01g317"}}) == {
        "classes": names,
        "id2label": {"0": "/m/01g317"},
    }


def test_a_file_without_a_path_stays_as_it_is(tmp_path: Path) -> None:
    content = json.dumps({"architecture": "x", "label_names": ["/m/1"]}, indent=7).encode()
    assert scrubbed_file(content) == content
    assert json.loads(scrubbed_file(b'{"_name_or_path": "/home/alice/bert"}')) == {"_name_or_path": "…/bert"}
