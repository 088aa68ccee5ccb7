"""A user's way with texts: a manifest, one command, and a folder that transformers loads in another process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from tlhub.artifact import load

from .conftest import Command

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SURNAMES = ("Vandersteenhoven", "Ng", "Abercrombie", "Ó-Súilleabháin", "Kowalczyk")
TOWNS = (["New", "York"], ["Ouagadougou"], ["Oslo"], ["Rio", "de", "Janeiro"])


def conll(start: int, count: int) -> str:
    """Sentences of who lives where, in the columns word, part of speech and tag."""
    blocks = ["-DOCSTART- -X- O"]
    for number in range(start, start + count):
        name, town = SURNAMES[number % len(SURNAMES)], TOWNS[number % len(TOWNS)]
        lines = ["Maria NNP B-PER", f"{name} NNP I-PER", "lives VBZ O", "in IN O"]
        lines += [f"{word} NNP {'B' if place == 0 else 'I'}-LOC" for place, word in enumerate(town)]
        blocks.append("\n".join([*lines, ". . O"]))
    return "\n\n".join(blocks) + "\n"


def test_names_are_found_adapted_and_loaded_by_transformers(tlhub: Command, tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_text(conll(0, 60), encoding="utf-8")
    (tmp_path / "test.conll").write_text(conll(60, 20), encoding="utf-8")
    manifest: dict[str, Any] = {
        "backbone": {"use": "bert", "config": SMALL, "max_length": 64},
        "source": {"use": "conll", "path": "train.conll"},
        "target": {"use": "conll", "path": "test.conll"},
        "evaluate": {"use": "conll", "path": "test.conll"},
        "adapters": [{"use": "mlm"}, {"use": "mmd", "strength": 0.1}],
        "train": {"epochs": 8, "batch": 10, "lr": 3e-3, "backbone_lr": 1.0, "workers": 0},
    }
    (tmp_path / "names.yaml").write_text(yaml.safe_dump(manifest))
    done = tlhub("adapt", "names.yaml", "--out", "out", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["metric"] == "entity F1"
    assert told["rows"][1]["value"] > 0.9

    words = ["Maria", "Vandersteenhoven", "lives", "in", "Rio", "de", "Janeiro", "."]
    model = load(tmp_path / "out", "cpu")
    assert len(model.model.backbone.preprocess(train=False)(words)) > len(words) + 4, "words split into many pieces"
    entities: Any = model.predict([words])[0]["entities"]
    assert [(entity["type"], entity["text"]) for entity in entities] == [
        ("PER", "Maria Vandersteenhoven"),
        ("LOC", "Rio de Janeiro"),
    ]
    script = """
import json, sys, torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline
words, folder = json.loads(sys.argv[1]), sys.argv[2]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForTokenClassification.from_pretrained(folder)
batch = tokenizer(words, is_split_into_words=True, return_tensors="pt")
first = [batch.word_ids().index(number) for number in range(len(words))]
with torch.inference_mode():
    logits = model(**batch).logits[0, first].tolist()
found = pipeline("token-classification", folder, aggregation_strategy="first")(" ".join(words))
entities = [[each["entity_group"], each["word"]] for each in found]
print(json.dumps({"logits": logits, "labels": model.config.id2label, "entities": entities}))
"""
    arguments = [sys.executable, "-c", script, json.dumps(words), str(tmp_path / "out")]
    read = json.loads(subprocess.run(arguments, capture_output=True, check=True, timeout=300).stdout)
    torch.testing.assert_close(torch.tensor(read["logits"]), model.logits([words])[0], rtol=0, atol=1e-5)
    assert list(read["labels"].values()) == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    assert [kind for kind, _ in read["entities"]] == ["PER", "LOC"]
