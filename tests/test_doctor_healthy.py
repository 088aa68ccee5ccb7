"""Real runs that are sound, of which `tlhub doctor` has nothing to say: images, texts and vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cases import Manifest, digits_manifest, examined, ill, worlds
from tlhub.symptom import Finding

DANN = {"use": "dann", "hidden": 64}
ALL = {
    "batch_norm_drift",
    "class_order",
    "collapse",
    "domain_distance",
    "few_target",
    "inputs",
    "label_shift",
    "missing_class",
    "no_shift",
    "unlearnt_source",
}
"""What is looked for in images with a target without labels."""


def found(manifest: Manifest) -> dict[str, Finding]:
    return examined(manifest, worlds())


def opinions(domain: str, split: str) -> dict[str, Any]:
    return {"use": "opinions", "domain": domain, "split": split}


def test_dann_on_digits() -> None:
    findings = found(digits_manifest(DANN, batch_norm="separate", epochs=6))
    assert ill(findings) == {}
    assert findings.keys() >= ALL


def test_mmd_on_digits() -> None:
    findings = found(digits_manifest({"use": "mmd"}, backbone={"batch_norm": False}))
    assert ill(findings) == {}
    assert findings.keys() >= ALL


def test_mmd_on_counts_of_photos(shared: Path) -> None:
    manifest = digits_manifest({"use": "mmd"}, batch=64)
    folder = str(shared / "data/office_caltech10_surf")
    source, target = ({"use": "photo_counts", "folder": folder, "domain": name} for name in ("webcam", "dslr"))
    manifest |= {
        "backbone": {"use": "vectors", "inputs": 800},
        "source": source,
        "target": target,
        "evaluate": target,
    }
    findings = found(manifest)
    assert ill(findings) == {}
    assert findings.keys() >= ALL


def test_cdan_on_texts() -> None:
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    manifest = digits_manifest({"use": "cdan", "hidden": 64}, epochs=3, steps_per_epoch=30, seed=2)
    manifest |= {
        "backbone": {"use": "bert", "config": size, "max_length": 32},
        "source": opinions("films", "train[:600]"),
        "target": opinions("kitchen", "train[:600]"),
        "evaluate": opinions("kitchen", "test[:400]"),
    }
    del manifest["adapters"][0]
    findings = found(manifest)
    assert ill(findings) == {}
    assert findings.keys() >= ALL - {"batch_norm_drift", "inputs"}, (
        "words are looked up, and nothing normalises batches"
    )


def test_training_without_a_target() -> None:
    findings = found(digits_manifest(evaluate={"use": "digits"}))
    assert ill(findings) == {}
    assert findings.keys() == {"class_order", "inputs", "unlearnt_source"}


def test_fine_tuning_on_a_labelled_target() -> None:
    findings = found(digits_manifest({"use": "l2_sp"}, target={"labels": "all"}, epochs=6))
    assert ill(findings) == {}
    assert findings["overfitting"].level == "fine"
