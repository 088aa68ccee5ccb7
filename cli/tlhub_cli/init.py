"""`tlhub init`"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlhub.diagnostics import escaped
from tlhub.errors import DataError, UserError
from tlhub_cli import output, tables

if TYPE_CHECKING:
    from tlhub.catalog import Catalog
    from tlhub.data import Domain

Parts = dict[str, Any]


def init(
    path: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled data: a folder with a folder of images for each class, or a CSV, JSON Lines or Parquet "
            "table of texts or images. Left out: built-in digits to try things on.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        Path | None, typer.Option(help="Data to adapt to, whose labels are unknown.", show_default=False)
    ] = None,
    evaluate: Annotated[
        Path | None, typer.Option(help="Labelled data for the final score.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="The manifest to write.")] = Path("manifest.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite it if it is there.")] = False,
) -> None:
    """Write a manifest to start from, with comments: for your data, or for built-in digits.

    The data is looked at for names, counts and columns; nothing is downloaded.
    """
    if out.exists() and not force:
        raise UserError(f"{out} is there already", "choose another name with --out, or overwrite it with --force")
    if path is None and (target or evaluate):
        raise UserError("there is no labelled data to learn from", "name it first: `tlhub init PATH --target …`")
    if not out.parent.is_dir():
        raise UserError(f"there is no folder {out.parent}", "make it first, or choose another name with --out")
    parts = _digits() if path is None else _parts(path, target, evaluate)
    from tlhub.catalog import Catalog

    catalog = Catalog.installed()
    if parts["source"] == parts.get("evaluate"):
        parts["source"]["split"], parts["evaluate"]["split"] = _split(catalog, parts["source"])
    domains = _opened(catalog, parts)
    smallest = min(len(domain) for role, domain in domains.items() if role != "evaluate")
    if smallest < parts["train"]["batch"]:
        parts["train"]["batch"] = 2 ** (smallest.bit_length() - 1)
    remarks = _differing(domains)
    out.write_text(_written(parts, domains, remarks, str(out)), encoding="utf-8")
    output.notes(remarks)
    output.written(output.screen(False), out)
    name = shlex.quote(str(out))
    steps = {f"tlhub check {name}": "check it, after you changed it", f"tlhub adapt {name}": "do what it says"}
    output.next_steps(output.screen(False), steps)


def _digits() -> Parts:
    """From clean digits to digits on photographs, both built in."""
    return {
        "backbone": {"use": "lenet", "grey": False, "batch_norm": True, "dropout": 0.0, "shift": 2},
        "source": {"use": "digits", "split": "train"},
        "target": {"use": "digits_photo", "split": "train"},
        "evaluate": {"use": "digits_photo", "split": "test"},
        "adapters": [{"use": "dann", "hidden": 128}],
        "train": {
            "epochs": 10,
            "steps_per_epoch": 45,
            "batch": 64,
            "lr": 0.001,
            "backbone_lr": 1.0,
            "weight_decay": 0.01,
            "batch_norm": "separate",
        },
    }


def _parts(path: Path, target: Path | None, evaluate: Path | None) -> Parts:
    """The parts of a manifest for the user's data. Raises UserError where it is not understood."""
    modality, source = tables.guess(path)
    of_role = {}
    for role, other in (("target", target), ("evaluate", evaluate)):
        if other is not None:
            theirs, of_role[role] = tables.guess(other, source)
            if theirs != modality:
                raise UserError(f"{path} holds {modality}s, {other} holds {theirs}s", "name two of one kind")
    if not of_role:
        of_role["evaluate"] = dict(source)
    return {
        "backbone": dict(_BACKBONES[modality]),
        "source": source,
        **of_role,
        **({"adapters": [{"use": "mmd"}]} if target else {}),
        "train": dict(_TRAINING[modality]),
    }


def _split(catalog: Catalog, part: Mapping[str, Any]) -> tuple[str, str]:
    """What to train on and what to keep for the score, of a data set that serves for both."""
    settings = {key: value for key, value in part.items() if key != "use"}
    names: Sequence[str] = catalog.create("datasets", part["use"], settings).splits()
    if not names:
        return "train", "test"  # made by `test_ratio`
    if len(names) == 1:
        return f"{names[0]}[:80%]", f"{names[0]}[80%:]"
    return names[0], "test" if "test" in names else names[1]


def _opened(catalog: Catalog, parts: Parts) -> dict[str, Domain]:
    """The data by role. Raises DataError where it cannot be used."""
    from tlhub.manifest import from_dict
    from tlhub.run import open_role

    manifest = from_dict(parts)
    return {
        "source": open_role(manifest, catalog, "source")[0],
        **({"target": open_role(manifest, catalog, "target")[0]} if "target" in parts else {}),
        **({"evaluate": open_role(manifest, catalog, "evaluate")[0]} if "evaluate" in parts else {}),
    }


def _differing(domains: Mapping[str, Domain]) -> list[str]:
    """What to say of classes of the evaluation data that the source lacks."""
    from tlhub.data import check_classes

    if "evaluate" not in domains:
        return []
    try:
        check_classes("evaluate", domains["evaluate"].classes or (), domains["source"].classes or ())
    except DataError as error:
        return [f"{error.message.partition(chr(10))[0]}: {error.hint}"]
    return []


def _written(parts: Parts, domains: Mapping[str, Domain], remarks: Sequence[str], name: str) -> str:
    """The manifest with its comments."""
    from tlhub.yaml_tree import dump

    blocks = [
        _comments(
            f"What `tlhub adapt {name}` does.",
            "`tlhub plugins` lists what can be used, `tlhub describe NAME` the settings of each.",
            *(f"Note: {remark}." for remark in remarks),
        )
    ]
    for key, value in parts.items():
        if key == "evaluate" and "target" not in parts:
            said = ["Labelled examples for the final score, which training does not see."]
        else:
            said = _SAID.get(key, [])
        if key in domains:
            said = [f"{said[0]} Here: {_counted(domains[key])}.", *said[1:]]
        if key == "backbone":
            said = _ABOUT_BACKBONES[value["use"]]
        blocks.append(_comments(*said) + dump({key: value}))
        if key == "target" and "evaluate" not in parts:
            example = {**parts["source"], "path": "some-labelled-examples"}
            blocks.append(_comments(*_NO_EVALUATION, *dump({"evaluate": example}).splitlines()))
    return "\n".join(blocks)


def _counted(domain: Domain) -> str:
    classes = domain.classes
    examples = f"{len(domain):,} examples"
    return examples if classes is None else f"{examples}, classes {output.classes(classes)}"


def _comments(*lines: str) -> str:
    return "".join(f"# {escaped(line)}\n" for line in lines)


_BACKBONES = {
    "image": {"use": "timm", "model": "resnet18"},
    "text": {"use": "bert", "model": "sentence-transformers/all-MiniLM-L6-v2"},
}
_TRAINING = {
    "image": {"epochs": 10, "batch": 32, "lr": 0.001},
    "text": {"epochs": 3, "batch": 16, "lr": 0.001},
}
_ABOUT_BACKBONES = {
    "timm": [
        "The pretrained network: any image network of timm, say mobilenetv3_small_100 (faster) or resnet50 (larger).",
        "Its weights are downloaded when it is first used; `weights: FILE.safetensors` takes them from a file instead.",
    ],
    "bert": [
        "The pretrained network: any encoder like BERT of the Hugging Face Hub. This one is small and reads English;",
        "distilbert-base-uncased is larger, distilbert-base-multilingual-cased reads a hundred languages.",
        "It is downloaded when it is first used; `model: FOLDER` takes it from a folder instead, where config.json,",
        "model.safetensors and the tokenizer's files lie.",
    ],
    "lenet": ["A small network that is not pretrained, hence `backbone_lr: 1.0` under `train`."],
}
_SAID: dict[str, list[str]] = {
    "source": ["Labelled data to learn from."],
    "target": ["Data to adapt to; its labels, if it has any, are not read."],
    "evaluate": ["Labelled examples like the target's for the final score; they are opened after training."],
    "adapters": [
        "Methods of transfer, which add up. `mmd` makes source and target features alike; `dann` is another way."
    ],
    "train": ["How to train. The backbone learns at a tenth of `lr` unless `backbone_lr` says otherwise."],
}
_NO_EVALUATION = [
    "Without labelled examples like the target's, nobody can say whether adaptation helped. Where you have some:"
]
