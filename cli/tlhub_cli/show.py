"""`tlhub show`"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tlhub_cli import findings, output, scores
from tlhub_cli.options import Json, Place, located


def show(model: Place, json: Json = False) -> None:
    """Show what an adapted model is: its parts, what it was trained on, its scores, its files, and how to load it."""
    from tlhub.adaptation import result_of
    from tlhub.artifact import RECORD, read_record

    folder = located(model)
    record = read_record(folder)
    sizes = {name: (folder / name).stat().st_size for name in [*record["files"], RECORD] if (folder / name).is_file()}
    if json:
        output.facts({"folder": str(folder), **record, "sizes": sizes})
        return
    screen = output.screen(json)
    output.fields(screen, _fields(model, record))
    if "result" in record:
        result = result_of(folder, record)
        scores.results(screen, result.metric, result.rows)
        findings.verdict(screen, result)
    else:
        output.outcome(screen, "It was not scored: its adaptation was interrupted before that.", None)
    output.files(screen, sizes)
    output.snippet(screen, "In Python:", _loading(model, folder, record))


def _fields(model: str, record: dict[str, Any]) -> dict[str, list[str]]:
    """What the record says, by the name of each field."""
    composed, manifest = record["composed"], record["manifest"]
    parts = {role: output.component(record[role]) for role in ("backbone", "neck", "head", "task")}
    roles = ("source", "target", "evaluate")
    domains = [f"{role}: {output.component(part)}" for role in roles for part in manifest.get(role, [])]
    data = [
        f"{key}: {known['examples']} examples, {known['fingerprint'][:16]}" for key, known in record["data"].items()
    ]
    return {
        "model": [model],
        "form": ["timm's own" if record["form"] == "timm" else record["form"]],
        **{role: [text] for role, text in parts.items()},
        "parameters": [output.parameters(composed)],
        "classes": [output.classes(record["classes"] or [])],
        "data": domains,
        "fingerprints": data,
        "adapters": [output.component(part) for part in manifest.get("adapters", [])] or ["none"],
        "training": [output.component(manifest["train"])],
        "versions": [", ".join(f"{name} {version}" for name, version in record["versions"].items())],
    }


def _loading(model: str, folder: Path, record: dict[str, Any]) -> str:
    """Python that loads the model."""
    lines = ["import tlhub", f"model = tlhub.load({model!r})"]
    asked = {"image": "photo.jpg", "text": "some text"}.get(record["modality"])
    if asked:
        lines.append(f'model.predict(["{asked}"])')
    if record["form"] == "transformers":
        kind = {"token_classification": "token-classification"}.get(record["task"]["use"], "text-classification")
        lines += ["", "from transformers import pipeline", f"ask = pipeline({kind!r}, {str(folder)!r})"]
    if record["form"] == "timm":
        lines += ["", "import timm", f"network = timm.create_model({f'local-dir:{folder}'!r}, pretrained=True)"]
    return "\n".join(lines)
