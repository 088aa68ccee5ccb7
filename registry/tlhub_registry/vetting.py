"""What is refused of a repository on the Hub, before any of it is used: nothing in it may run code, or reach elsewhere.

What comes from strangers is safetensors, JSON and plain text, with the names and the form that tlhub itself writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tlhub.adaptation import result_of
from tlhub.artifact import FORMAT, RECORD
from tlhub.errors import ArtifactError
from tlhub.symptom import Finding
from tlhub_registry.header import read_header
from tlhub_registry.plan import OURS, allowed

PICKLES = (".bin", ".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz", ".joblib")

LARGEST_TEXT = 64_000_000
"""Bytes of a tokenizer's files; the largest known one has 34 MB."""

LARGEST_JSON = 10_000_000
"""Bytes of `tlhub.json` and of configurations, which are read as a whole."""

SIDE = 32_768
"""A width up to this is believed, even where no tensor in the files is as wide."""

_LAYERS = re.compile(r"layers$|depths?$|blocks$")
_FIXED_LAYERS = 1000


def check_names(place: str, names: Collection[str]) -> None:
    """Raise ArtifactError where a name leads out of the repository, or is one only on some systems."""
    for name in names:
        if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
            raise ArtifactError(
                f"`{place}` holds a file called `{name}`, which would be written outside its folder",
                "nothing was fetched; tell the repository's owner",
            )


def check_size(place: str, name: str, size: int) -> None:
    """Raise ArtifactError where a file other than of weights is larger than any that tlhub writes."""
    most = LARGEST_JSON if name == RECORD or name.endswith("config.json") else LARGEST_TEXT
    if not name.endswith(".safetensors") and size > most:
        raise ArtifactError(
            f"`{name}` of `{place}` has {size:,} bytes, more than the {most:,} that such a file may have",
            "nothing of it was read; tell the repository's owner",
        )


def check_record_is_there(place: str, names: Collection[str]) -> None:
    """Raise ArtifactError where there is no `tlhub.json`, and say what else the repository may be good for."""
    if RECORD in names:
        return
    repo, _, revision = place.removeprefix("hub:").partition("@")
    weights = [name for name in names if name.endswith(".safetensors")]
    pickled = [name for name in names if name.endswith(PICKLES)]
    if weights:
        raise ArtifactError(
            f"`{place}` is no model of tlhub: it has no {RECORD}",
            "it can be what a manifest begins with:\n"
            f"for texts, `backbone: {{use: bert, model: {repo}, revision: {revision}}}`\n"
            f"for images, `backbone: {{use: timm, model: 'hf_hub:{repo}@{revision}'}}`",
        )
    if pickled:
        raise ArtifactError(
            f"`{place}` offers its weights as {', '.join(pickled[:3])} only: such files are pickles, which run code "
            "when they are opened",
            "ask its owner for safetensors; the Hub converts a repository by itself at "
            "https://huggingface.co/spaces/safetensors/convert",
        )
    raise ArtifactError(f"`{place}` holds no model: neither {RECORD} nor weights are there", "check the name")


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")

    use: str


class _Origin(BaseModel):
    role: str
    name: str
    revision: str | None
    lineage: list[_Origin]
    hub: str | None = None


class _Row(BaseModel):
    model: str
    domain: str
    value: float
    low: float
    high: float
    examples: int
    metrics: dict[str, float]


class _Result(BaseModel):
    metric: str
    rows: list[_Row]
    comparison: dict[str, Any] | None
    sentence: str
    reasons: list[Finding] = []


class _Data(BaseModel):
    fingerprint: str
    examples: int


class _Manifest(BaseModel):
    backbone: _Part
    source: list[_Part] = []
    target: list[_Part] = []
    evaluate: list[_Part] = []
    adapters: list[_Part] = []
    train: dict[str, Any]


class _Composed(BaseModel):
    backbone: _Part
    device: str
    parameters: int
    trainable: int


class _Base(BaseModel):
    repo: Annotated[str, Field(pattern=r"^[\w-][\w.-]*/[\w-][\w.-]*$")]
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    file: Literal["model.safetensors"]
    sha256: Sha256


class _Delta(BaseModel):
    base: _Base
    same: list[str]


class _Record(BaseModel):
    """What tlhub writes, as far as anything reads it."""

    format: Annotated[int, Field(ge=FORMAT, le=FORMAT)]
    name: Annotated[str, Field(max_length=200)]
    form: str
    exporter: _Part | None = None
    modality: str
    backbone: _Part
    neck: _Part
    head: _Part
    task: _Part
    classes: list[str] | None
    composed: _Composed
    lineage: list[_Origin]
    manifest: _Manifest
    data: dict[str, _Data]
    versions: dict[str, str]
    history: list[dict[str, Any]]
    files: dict[str, Sha256]
    delta: _Delta | None = None
    result: _Result | None = None


def read_record(place: str, path: Path) -> dict[str, Any]:
    """What a fetched `tlhub.json` says. Raises ArtifactError where it is not what tlhub writes."""
    content = path.read_bytes()
    try:
        _Record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(
            f"{RECORD} of `{place}` is not what this tlhub writes: {f'{where}: ' if where else ''}{first['msg']}",
            "upgrade tlhub, if the model is newer; otherwise its owner has to publish it again",
        ) from None
    record: dict[str, Any] = json.loads(content)
    try:
        if record.get("result"):
            result_of(path.parent, record)
    except (KeyError, TypeError, ValueError):
        raise ArtifactError(
            f"the result in {RECORD} of `{place}` is not what this tlhub writes", "its owner has to publish it again"
        ) from None
    check_names(place, record["files"])
    same = (record.get("delta") or {}).get("same", [])
    for name in [*record["files"], *same]:
        if name.endswith(PICKLES):
            raise ArtifactError(
                f"`{place}` is made of `{name}`, a pickle, which runs code when it is opened",
                "only safetensors are fetched; ask its owner for them",
            )
        if name in OURS or not allowed(name):
            raise ArtifactError(
                f"`{place}` is made of `{name}`, which is neither safetensors nor a known kind of text",
                "nothing was fetched; tell the repository's owner",
            )
    if record["backbone"]["use"] == "artifact" or (not record.get("exporter") and record["backbone"].get("pretrained")):
        raise ArtifactError(
            f"{RECORD} of `{place}` would load another model than the one beside it", "tell the repository's owner"
        )
    return record


def check_content(place: str, folder: Path, record: Mapping[str, Any]) -> None:
    """Raise ArtifactError where fetched configurations name code, or sizes that the weights beside them do not have.

    Such sizes would only use up time and memory before the weights are found not to fit.
    """
    said = {RECORD: {role: record[role] for role in ("backbone", "neck", "head", "exporter") if record.get(role)}}
    for name in record["files"]:
        if name.endswith("config.json"):
            said[name] = _read_json(place, folder / name)
    tensors, side = (_FIXED_LAYERS, 32 * SIDE) if record.get("exporter") else _sizes(place, folder)
    for name, value in said.items():
        if "auto_map" in value:
            raise ArtifactError(
                f"{name} of `{place}` asks for code of its own (`auto_map`), which tlhub never runs",
                "use a model whose architecture is part of its library",
            )
        for key, number in _numbers(value):
            if number > (tensors if _LAYERS.search(key) else max(side, SIDE)) and "theta" not in key:
                raise ArtifactError(
                    f"{name} of `{place}` says `{key}: {number}`, and its weights are not as large",
                    "tell the repository's owner",
                )


def _read_json(place: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
        if isinstance(value, dict):
            return value
    except (ValueError, RecursionError):
        pass
    raise ArtifactError(f"{path.name} of `{place}` is damaged: it is no JSON object", "tell the repository's owner")


def _sizes(place: str, folder: Path) -> tuple[int, int]:
    """How many tensors there are, and the longest side of any."""
    shapes: list[tuple[int, ...]] = []
    for path in folder.glob("*.safetensors"):
        try:
            with path.open("rb") as file:
                _, tensors = read_header(file)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ArtifactError(
                f"{path.name} of `{place}` is damaged: its header is no list of tensors", "tell the repository's owner"
            ) from None
        shapes += [tensor.shape for tensor in tensors.values()]
    return len(shapes), max((side for shape in shapes for side in shape), default=0)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """The whole numbers in JSON, each with the key above it."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _numbers(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, key)
    elif isinstance(value, int):
        yield key, value
