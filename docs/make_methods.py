"""Writes docs/methods.md: every method of transfer that tlhub brings, when to use it, what it needs, and what it costs.

    python docs/make_methods.py

All of it comes from the docstrings of the adapters, and from what the check of a manifest says of pairs of them.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tlhub.catalog import Catalog, Entry
from tlhub.errors import ManifestError
from tlhub.manifest import from_dict
from tlhub.settings import describe
from tlhub.yaml_tree import dump

FILE = Path(__file__).with_name("methods.md")
FAMILIES = {
    "finetune": "Fine-tuning",
    "alignment": "Alignment of domains",
    "reweight": "Instance weighting",
    "distill": "Distillation",
    "selftrain": "Self-training",
    "bert": "Texts",
}
REQUIRED = {"teacher": "runs/teacher"}
"""Values for settings without a default, in the manifests to copy."""


def text() -> str:
    """The whole page."""
    entries = [entry for entry in Catalog.installed().entries("adapters") if entry.distribution == "tlhub"]
    parts = [
        "# Methods",
        "Written by `docs/make_methods.py` from the code; do not edit it by hand.",
        "Methods add up: the loss is the mean over labelled examples of (product of their weights × task loss) plus "
        "the sum of their terms. Every setting is in the [reference](reference.md); `tlhub describe NAME` says the "
        "same.",
        *_overview(entries),
        *_pairs(entries),
    ]
    for family, title in FAMILIES.items():
        members = [entry for entry in entries if entry.plugin == family]
        if members:
            parts += [f"## {title}", *itertools.chain.from_iterable(map(_method, members))]
    return "\n\n".join(parts) + "\n"


def _overview(entries: Sequence[Entry]) -> Iterable[str]:
    rows = []
    for family in FAMILIES:
        for entry in entries:
            if entry.plugin == family:
                described = describe(entry.cls)
                rows.append(f"| [`{entry.name}`](#{entry.name}) | {described.summary} | {_needs(entry)} |")
    yield "| method | what it does | needs |\n|---|---|---|\n" + "\n".join(rows)


def _method(entry: Entry) -> Iterable[str]:
    described = describe(entry.cls)
    yield f"### {entry.name}"
    body = described.text.partition("\nArgs:")[0].strip()
    for paragraph in body.split("\n\n"):
        yield "  \n".join(_sentences(paragraph))
    facts = [f"- needs: {_needs(entry)}"]
    if described.modalities:
        facts.append(f"- for: {', '.join(described.modalities)}")
    if entry.cls.paper:
        facts.append(f"- paper: {entry.cls.paper}")
    yield "\n".join(facts)
    settings = {s.name: REQUIRED.get(s.name, "…") for s in described.settings if s.required}
    yield f"<!-- a part -->\n```yaml\n{dump({'adapters': [{'use': entry.name, **settings}]}).rstrip()}\n```"


def _sentences(paragraph: str) -> list[str]:
    """A paragraph's lines joined, but for those that begin a statement of its own."""
    joined = " ".join(paragraph.split())
    return re.split(r" (?=(?:Use it when|Cost:|Deviation:))", joined)


def _needs(entry: Entry) -> str:
    return ", ".join(describe(entry.cls).needs) or "nothing but labelled examples"


def _pairs(entries: Sequence[Entry]) -> Iterable[str]:
    """What the check of a manifest says of two methods together, and of methods on images, texts and vectors."""
    catalog = Catalog.installed()
    yield "## Which go together"
    yield (
        "Any two methods can stand in one manifest, in either order, and the tests train every such pair: [the matrix "
        "of all pairs](pairs.md) says which are refused when a run is put together. The check refuses these:"
    )
    refused = []
    for first, second in itertools.combinations(entries, 2):
        problem = _refusal(catalog, [first, second])
        if problem and not any(_refusal(catalog, [entry]) for entry in (first, second)):
            refused.append(f"- `{first.name}` with `{second.name}`: {problem}")
    yield "\n".join(refused) if refused else "- none"
    only = [f"- `{entry.name}`: {', '.join(sorted(entry.cls.modalities))}" for entry in entries if entry.cls.modalities]
    yield "Methods for one kind of input only:"
    yield "\n".join(only)


def _refusal(catalog: Catalog, entries: Sequence[Entry]) -> str:
    """Why the check refuses these methods together, or nothing."""
    adapters = []
    for entry in entries:
        settings = {s.name: REQUIRED.get(s.name, "…") for s in describe(entry.cls).settings if s.required}
        adapters.append({"use": entry.name, **settings})
    texts = any(entry.cls.modalities == frozenset({"text"}) for entry in entries)
    data = {"use": "opinions", "domain": "films"} if texts else {"use": "digits"}
    backbone = {"use": "bert", "config": {}} if texts else {"use": "lenet"}
    manifest = {"backbone": backbone, "source": data, "target": {**data, "labels": "all"}, "adapters": adapters}
    try:
        from_dict(manifest, catalog=catalog)
    except ManifestError as error:
        return str(error).splitlines()[0].partition("error: ")[2]
    return ""


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
