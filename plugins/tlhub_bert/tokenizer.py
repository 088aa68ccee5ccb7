"""Tokenizers of transformers, loaded once a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tlhub.errors import SettingError
from tlhub_bert.fetch import fetched, quiet

VOCABULARY = Path(__file__).with_name("vocab.txt")
"""WordPiece for networks that start from random weights: characters, endings, and common English words."""


@dataclass(frozen=True)
class Source:
    """Where a tokenizer comes from.

    Attributes:
        place: name on the Hub, or a folder; None is the built-in vocabulary.
        revision: branch, tag or commit on the Hub.
        by_words: whether texts come as words; some tokenizers then have to treat a first word like any other.
        setting: the setting that names the place, for errors.
    """

    place: str | None
    revision: str | None = None
    by_words: bool = False
    setting: str = field(default="model", compare=False)


@lru_cache(maxsize=8)
def tokenizer(source: Source) -> Any:
    """The tokenizer; it neither cuts nor pads. Whoever changes it should `load` one of their own.

    Raises SettingError where there is none, or none that the `tokenizers` library runs.
    """
    return load(source)


def load(source: Source) -> Any:
    """As `tokenizer`, loaded anew."""
    from transformers import AutoTokenizer, BertTokenizer

    if source.place is None:
        return BertTokenizer(vocab=str(VOCABULARY))
    more = {"add_prefix_space": True} if source.by_words else {}
    hint = "name a folder or model that has one in the setting `tokenizer`"
    with quiet(), fetched(source.setting, source.place, "the tokenizer of ", hint):
        found: Any = AutoTokenizer.from_pretrained(
            source.place, revision=source.revision or "main", trust_remote_code=False, **more
        )
    if len(found) <= len(found.all_special_tokens):  # transformers makes an empty one where the files are missing
        raise SettingError(source.setting, f"`{source.place}` holds no tokenizer", hint)
    if not found.is_fast:
        raise SettingError(source.setting, f"the tokenizer of `{source.place}` has no tokenizer.json", hint)
    found.backend_tokenizer.no_truncation()
    found.backend_tokenizer.no_padding()
    return found


@lru_cache(maxsize=8)
def cutting(source: Source, max_length: int) -> Any:
    """The same tokenizer as the `tokenizers` library runs it, cutting at `max_length` tokens; of a pair the longer."""
    from tokenizers import Tokenizer

    whole = tokenizer(source)
    backend = Tokenizer.from_str(whole.backend_tokenizer.to_str())
    backend.enable_truncation(max_length, strategy="longest_first", direction=whole.truncation_side)
    return backend


def encode(backend: Any, texts: Sequence[Any], by_words: bool) -> list[Any]:
    """Encodings of texts, pairs of texts, or lists of words."""
    if by_words:
        return list(backend.encode_batch(texts, is_pretokenized=True))
    return list(backend.encode_batch_fast(texts))  # knows no words
