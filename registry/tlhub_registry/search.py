"""Finding adapted models: those kept on this disk, and those that others share on the Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tlhub_registry.entry import Entry
from tlhub_registry.hub import Hub
from tlhub_registry.refs import HubRef
from tlhub_registry.registry import Registry

TAG = "tlhub"
"""What marks our models on the Hub: every card has it."""


@dataclass(frozen=True)
class Found:
    """A model that was found.

    Attributes:
        place: the name that every command takes: an entry, or `hub:OWNER/NAME`.
        score: its result on the data it was scored on, such as `accuracy 91.3 %`; None where none is known.
        baseline: the same of the model that was not adapted; cards on the Hub do not say it.
        downloads: from the Hub, in the last month; None of what is here.
    """

    place: str
    task: str
    bases: Sequence[str]
    data: Sequence[str]
    adapters: Sequence[str]
    tags: Sequence[str]
    score: str | None
    baseline: str | None
    downloads: int | None

    def matches(self, text: str, wanted: Mapping[str, str | None]) -> bool:
        """Whether it says a text anywhere, and in each field, such as `bases`, the one wanted there.

        Case is ignored, and so is the difference of `_` and `-`, since tags on the Hub have no `_`.
        """
        fields = {
            "task": [self.task],
            "bases": self.bases,
            "data": self.data,
            "adapters": self.adapters,
            "tags": self.tags,
        }
        anywhere = [self.place, *(each for texts in fields.values() for each in texts)]
        asked = [(anywhere, text), *((fields[name], value) for name, value in wanted.items() if value)]
        return all(any(_plain(value) in _plain(known) for known in texts) for texts, value in asked)


def here(registry: Registry, text: str, wanted: Mapping[str, str | None], limit: int) -> list[Found]:
    """The entries of the registry that match, the newest first."""
    entries = map(_of_entry, registry.entries())
    return list(islice((found for found in entries if found.matches(text, wanted)), limit))


def on_hub(hub: Hub, text: str, wanted: Mapping[str, str | None], limit: int) -> list[Found]:
    """The models on the Hub that match, most downloaded first. Raises UserError where the Hub cannot be asked."""

    def ask() -> list[Found]:
        models = map(_of_model, hub.api.list_models(filter=TAG, sort="downloads", cardData=True))
        return list(islice((found for found in models if found.matches(text, wanted)), limit))

    return hub.read("models", ask)


def _of_entry(entry: Entry) -> Found:
    manifest, result = entry.record["manifest"], entry.record.get("result") or {}
    scores = {row["model"]: f"{result['metric']} {100 * row['value']:.1f} %" for row in result.get("rows", [])}
    backbone = entry.record["backbone"]
    return Found(
        place=entry.ref,
        task=entry.record["task"]["use"],
        bases=[origin.name for origin in entry.origins] or [str(backbone.get("model") or backbone["use"])],
        data=_once(_data(part) for role in ("source", "target", "evaluate") for part in manifest.get(role, [])),
        adapters=_once(part["use"] for part in manifest.get("adapters", [])),
        tags=entry.tags,
        score=scores.get("adapted"),
        baseline=scores.get("source-only"),
        downloads=None,
    )


def _of_model(model: Any) -> Found:
    card = model.card_data
    tags = _texts(getattr(card, "tags", None))
    results = list(getattr(card, "eval_results", None) or ())
    scores = [f"{result.metric_type} {100 * result.metric_value:.1f} %" for result in results]
    return Found(
        place=str(HubRef(model.id)),
        task=model.pipeline_tag or "",
        bases=_texts(getattr(card, "base_model", None)),
        data=_once([*_texts(getattr(card, "datasets", None)), *(result.dataset_name for result in results)]),
        adapters=[tag for tag in tags if tag not in (TAG, "domain-adaptation")],
        tags=tags,
        score=scores[-1] if scores else None,
        baseline=None,
        downloads=model.downloads,
    )


def _data(part: Mapping[str, Any]) -> str:
    """What people call a data set: what it is, and the texts that say which."""
    own = (value for key, value in part.items() if key not in ("use", "labels", "split") and isinstance(value, str))
    return " ".join([part["use"], *own])


def _texts(value: Any) -> list[str]:
    """What a card says in one text or in a list of them."""
    return [value] if isinstance(value, str) else [str(each) for each in value or ()]


def _once(texts: Any) -> list[str]:
    return list(dict.fromkeys(texts))


def _plain(text: str) -> str:
    return text.lower().replace("_", "-")
