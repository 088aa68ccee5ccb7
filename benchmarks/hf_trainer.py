"""What tlhub's text models are measured against: transformers' Trainer with the same model, data and settings."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any


@dataclass
class Trained:
    """A model that Trainer trained.

    Attributes:
        seconds: what `train()` took.
        real, padded: tokens that the network was given, without and with padding.
    """

    model: Any
    seconds: float
    real: int
    padded: int


def features(tokenizer: Any, texts: Sequence[str], max_length: int, labels: Sequence[int]) -> list[dict[str, Any]]:
    """Tokenised examples, as Trainer takes them."""
    found = tokenizer(list(texts), truncation=True, max_length=max_length)
    return [{**{key: found[key][row] for key in found}, "labels": label} for row, label in enumerate(labels)]


def classifier(folder: str | None, frozen: bool) -> Any:
    """A BERT with a new classifier of two classes: pretrained from a folder, or BERT-base with random weights.

    A frozen encoder has no dropout, as in tlhub, where it is in evaluation mode.
    """
    from transformers import AutoModelForSequenceClassification, BertConfig, logging

    logging.set_verbosity_error()  # else it says that the classifier is new
    logging.disable_progress_bar()
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if frozen else {}
    auto: Any = AutoModelForSequenceClassification
    if folder is None:
        model = auto.from_config(BertConfig(num_labels=2, **calm))
    else:
        model = auto.from_pretrained(folder, num_labels=2, **calm)
    model.base_model.requires_grad_(not frozen)
    return model


def train(
    model: Any,
    examples: Sequence[dict[str, Any]],
    tokenizer: Any,
    device: str,
    *,
    epochs: int,
    batch: int,
    lr: float,
    seed: int,
    grouped: bool,
) -> Trained:
    """Train all that learns of `model`: AdamW without weight decay, a cosine schedule, gradients clipped at 1.

    `grouped` is Trainer's own grouping of examples by length; without, it is as a new Trainer has it. What does not
    fill a batch is left out of an epoch, as tlhub does. On a GPU it computes in bf16.
    """
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainingArguments

    pad = DataCollatorWithPadding(tokenizer)
    tokens = [0, 0]

    def collate(rows: list[dict[str, Any]]) -> Any:
        made = pad(rows)
        tokens[0] += sum(len(row["input_ids"]) for row in rows)
        tokens[1] += made["input_ids"].numel()
        return made

    with TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            num_train_epochs=epochs,
            per_device_train_batch_size=batch,
            learning_rate=lr,
            lr_scheduler_type="cosine",
            max_grad_norm=1.0,
            bf16=device == "cuda",
            use_cpu=device == "cpu",
            seed=seed,
            train_sampling_strategy="group_by_length" if grouped else "random",
            dataloader_drop_last=True,
            remove_unused_columns=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        )
        trainer = Trainer(model, settings, data_collator=collate, train_dataset=list(examples))
        trainer.remove_callback(PrinterCallback)
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
    return Trained(model, seconds, tokens[0], tokens[1])
