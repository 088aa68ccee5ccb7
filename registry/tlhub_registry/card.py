"""The model card: what a model is, how good it is, how to load it, and how it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlhub.yaml_tree import dump
from tlhub_registry.base import Base, places
from tlhub_registry.refs import HUB

PIPELINES = {
    ("image", "classification"): "image-classification",
    ("image", "multilabel"): "image-classification",
    ("text", "classification"): "text-classification",
    ("text", "multilabel"): "text-classification",
    ("text", "regression"): "text-classification",
    ("text", "token_classification"): "token-classification",
    ("vector", "classification"): "tabular-classification",
    ("vector", "regression"): "tabular-regression",
}
"""The Hub's names of what a model does, by what it reads and its task."""

AUTO = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}

REASONS = 3
"""So many reasons, at most, stand below a verdict."""

_MEANING = re.compile(r"[\\`*\[\]<>|#~$&@!]|(?<!\w)_|_(?!\w)|:(?=//)|^[-+=]|^\d+(?=[.)](?:\s|$))")
_NO_ROOM = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


def card(record: Mapping[str, Any], repo: str, base: Base | None, license: str | None, picture: bool) -> str:
    """The README.md of a model in a repository, metadata included.

    Args:
        record: its `tlhub.json` as it is published.
        base: the pretrained model it began with.
        license: what others may do with it; None where that is not known.
        picture: whether there is a picture of its confusion matrix.
    """
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.filters |= {"md": md, "percent": _percent, "python": repr, "fenced": _fenced}
    template = environment.from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"))
    metadata = ModelCardData(**_metadata(record, repo, base, license))
    text = template.render(_facts(record, repo, license, picture))
    return f"---\n{metadata.to_yaml()}\n---\n\n{text}"


def licence(asked: str | None, base: Base | None) -> tuple[str | None, str | None]:
    """The licence for the card, and what the user should know about it."""
    known = base.card.get("license") if base is not None else None
    if asked is not None:
        if isinstance(known, str) and known != asked:
            return asked, f"the base `{base.ref}` is under {known}: may its changed weights be under {asked}?"  # type: ignore[union-attr]
        return asked, None
    if isinstance(known, str) and known not in ("other", "unknown"):
        return known, None
    what = (
        "there is no base on the Hub to take one from" if base is None else f"that of the base `{base.ref}` is unclear"
    )
    return None, f"the card names no licence: {what}; `--license` names one"


def _metadata(record: Mapping[str, Any], repo: str, base: Base | None, license: str | None) -> dict[str, Any]:
    """What the Hub indexes."""
    from huggingface_hub import EvalResult

    manifest, result = record["manifest"], record.get("result") or {}
    pipeline = PIPELINES.get((record["modality"], record["task"]["use"]))
    library = _library(record)
    adapters = [part["use"] for part in manifest.get("adapters", [])]
    tags = ["tlhub", *(["domain-adaptation"] if manifest.get("target") else []), *adapters]
    bases = [ref.repo for ref in places(record["lineage"], "backbone")]
    data = [part["repo"] for role in ("source", "target") for part in manifest.get(role, []) if _on_hub(part)]
    named = _domains(manifest)
    scores = [
        EvalResult(
            task_type=pipeline or record["task"]["use"],
            dataset_type=part["repo"] if _on_hub(part := named[row["domain"]]) else part["use"],
            dataset_name=_data_name(part),
            dataset_split=part.get("split"),
            metric_type=result["metric"],
            metric_value=round(row["value"], 6),
        )
        for row in result.get("rows", [])
        if row["model"] == "adapted"
    ]
    return {
        "library_name": library,
        "tags": list(dict.fromkeys(_tag(tag) for tag in tags)),
        "base_model": bases or None,
        "base_model_relation": ("adapter" if record["form"] == "peft" else "finetune") if bases else None,
        "datasets": list(dict.fromkeys(data)) or None,
        "license": license,
        "language": _languages(base) if base is not None and record["modality"] == "text" else None,
        "pipeline_tag": pipeline,
        "metrics": [result["metric"]] if scores else None,
        "model_name": repo.partition("/")[2],
        "eval_results": scores or None,
    }


def _facts(record: Mapping[str, Any], repo: str, license: str | None, picture: bool) -> dict[str, Any]:
    """What the template speaks of."""
    manifest, result = record["manifest"], record.get("result") or {}
    rows, named = result.get("rows", []), _domains(manifest)
    compared = result.get("comparison")
    counts = " and ".join(f"{count:,} examples of `{key}`" for key, count in record["composed"]["examples"].items())
    text = dump(manifest)
    delta = record.get("delta")
    return {
        "title": repo.partition("/")[2],
        "sentence": result.get("sentence") or "It was not scored.",
        "reasons": result.get("reasons", [])[:REASONS],
        "what": _what(record),
        "metric": result.get("metric"),
        "rows": [{**row, "data": _data_name(named[row["domain"]])} for row in rows],
        "further": list(dict.fromkeys(name for row in rows for name in row["metrics"])),
        "compared": compared,
        "picture": picture,
        "place": f"{HUB}{repo}",
        "asked": {"image": "photo.jpg", "text": "some text"}.get(record["modality"]),
        "native": list(_native(record, repo)),
        "delta": f"{delta['base']['repo']}@{delta['base']['revision']}" if delta else None,
        "classes": record["classes"],
        "lineage": list(_lineage(record["lineage"]))
        or ["It began with random weights, or with ones that nothing pins."],
        "data": f"Trained on {counts}.",
        "manifest": text,
        "paths": "…" in text,
        "versions": ", ".join(f"{md(name)} {md(version)}" for name, version in record["versions"].items()),
        "limits": list(_limits(record, license)),
    }


def _what(record: Mapping[str, Any]) -> str:
    """One sentence on what the model is."""
    manifest = record["manifest"]
    kind = md(record["task"]["use"].replace("_", " "))
    adapters = " and ".join(f"`{part['use']}`" for part in manifest.get("adapters", []))
    said = f"A model for {kind} ({record['modality']}s), {record['composed']['parameters']:,} parameters"
    source = ", ".join(md(_data_name(part)) for part in manifest.get("source", []))
    target = ", ".join(md(_data_name(part)) for part in manifest.get("target", []))
    where = f"from {source} to {target}" if source and target else f"on {source or target}"
    return f"{said}: trained {where}{f' with {adapters}' if adapters else ''} by tlhub."


def _native(record: Mapping[str, Any], repo: str) -> Iterator[tuple[str, str]]:
    """How to load the model with the tools of others, as far as they can."""
    pipeline = PIPELINES.get((record["modality"], record["task"]["use"]))
    form, quoted = _library(record), repr(repo)
    if form == "timm":
        yield "timm", f"import timm\n\nnetwork = timm.create_model({f'hf_hub:{repo}'!r}, pretrained=True).eval()"
    if form in ("timm", "transformers") and pipeline:
        yield "transformers", f"from transformers import pipeline\n\nask = pipeline({pipeline!r}, {quoted})"
    base = next(iter(places(record["lineage"], "backbone")), None)
    if form == "peft" and base is not None and pipeline in AUTO:
        yield (
            "peft",
            f"from peft import PeftModel\nfrom transformers import {AUTO[pipeline]}\n\n"
            f"base = {AUTO[pipeline]}.from_pretrained(\n"
            f"    {base.repo!r}, revision={base.revision!r}, num_labels={record['head'].get('outputs')}\n)\n"
            f"network = PeftModel.from_pretrained(base, {quoted}).eval()",
        )


def _lineage(lineage: Sequence[Mapping[str, Any]], depth: int = 0) -> Iterator[str]:
    """Lines of a nested list."""
    for origin in lineage:
        pinned = f", at `{origin['revision']}`" if origin["revision"] else ", of which nothing tells the version"
        where = f" (`{origin['hub']}`)" if "hub" in origin else ""
        yield f"{'  ' * depth}- {md(origin['role'])}: {md(origin['name'])}{where}{pinned}"
        yield from _lineage(origin["lineage"], depth + 1)


def _limits(record: Mapping[str, Any], license: str | None) -> Iterator[str]:
    """What the model is not."""
    comparison = (record.get("result") or {}).get("comparison")
    yield "The scores are of the data named above; on other data they are not known: `tlhub evaluate` measures them."
    if comparison and comparison["outcome"] != "helped":
        yield "Nothing shows that adaptation helped: the same training without the target may serve as well or better."
    if record["classes"]:
        yield f"It knows {len(record['classes'])} classes, and never answers anything else, whatever it is shown."
    if places(record["lineage"], "backbone"):
        yield "It has the biases of the pretrained model it began with."
    if license is None:
        yield "Its licence is not known: ask its author before you use it."


def _library(record: Mapping[str, Any]) -> str:
    """The library that loads the repository by itself."""
    return record["form"] if record["form"] in ("timm", "transformers", "peft") and "delta" not in record else "tlhub"


def _languages(base: Base) -> list[str] | None:
    """What the base's card says, where that is names of languages."""
    said = base.card.get("language")
    names: list[Any] = said if isinstance(said, list) else [said]
    return names if all(isinstance(name, str) for name in names) else None


def _domains(manifest: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts under `evaluate`, by the names that scores have."""
    parts = manifest.get("evaluate", [])
    return {"evaluate" if len(parts) == 1 else f"evaluate.{number}": part for number, part in enumerate(parts)}


def _on_hub(part: Mapping[str, Any]) -> bool:
    """Whether a part of a manifest names a data set of the Hub, and no folder laid out like one."""
    return part["use"] == "hub" and re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(part.get("repo"))) is not None


def _data_name(part: Mapping[str, Any]) -> str:
    """What people call a data set: what it is, and the first of its settings that says which."""
    own = (value for key, value in part.items() if key not in _COMMON and isinstance(value, str))
    return " ".join([part["use"], *([which] if (which := next(own, None)) else [])])


_COMMON = ("use", "labels", "split", "classes")


def _tag(name: str) -> str:
    """An adapter's name as the Hub's tags are written."""
    return name.replace("_", "-").replace("/", "-")


def md(text: object) -> str:
    """A text as Markdown that shows just that text, on one line, wherever it stands."""
    line = _NO_ROOM.sub(" ", str(text)).strip()
    return _MEANING.sub(lambda found: "&lt;" if found[0] == "<" else _backslashed(found[0]), line)


def _backslashed(text: str) -> str:
    return f"{text}\\" if text.isdigit() else f"\\{text}"


def _fenced(text: str, language: str) -> str:
    """A block of code that ends where it should, whatever is in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
