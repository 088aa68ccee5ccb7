"""Texts as the token numbers that a network reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tlhub.errors import DataError
from tlhub.ragged import Ragged
from tlhub_bert.cache import cached
from tlhub_bert.tokenizer import Source, cutting, encode, tokenizer

CACHED_FROM = 100
"""So many texts at once are worth a file; fewer are tokenised again sooner than one is read."""

CHUNK = 1024
"""How many texts are tokenised at once: enough for all processors, and little memory."""


@dataclass(frozen=True)
class TextPreprocess:
    """A text, a pair of texts or a list of words to numbers `[tokens, fields]` (int32).

    Field 0 is the number of the token in the vocabulary, field 1 that of the text in a pair (0 or 1). Where the
    tokenizer goes by words, field 2 is the number of the word, from 1, at the word's first token, and 0 elsewhere; a
    text is split at white space then. Otherwise given words are joined by spaces.

    What has more than `max_length` tokens is cut; of a pair always the text that is longer at that point.
    """

    source: Source
    max_length: int
    random: ClassVar[bool] = False

    def __call__(self, raw: Any) -> Tensor:
        [encoding] = encode(cutting(self.source, self.max_length), [self._text(raw)], self.source.by_words)
        return torch.from_numpy(self._fields(encoding))

    def many(self, raws: Sequence[Any]) -> Ragged:
        """All of them at once; kept on the disk by the content of texts and tokenizer. The remark tells what was cut.

        Raises DataError naming the first that is no text.
        """
        texts = []
        for number, raw in enumerate(raws, 1):
            try:
                texts.append(self._text(raw))
            except TypeError as error:
                raise DataError(f"example {number} of {len(raws)} cannot be tokenised: {error}") from None
        if len(texts) < CACHED_FROM:
            return self._tokenised(texts)
        return cached(self._key(texts), lambda: self._tokenised(texts))

    def _tokenised(self, texts: Sequence[Any]) -> Ragged:
        whole, cut = tokenizer(self.source).backend_tokenizer, cutting(self.source, self.max_length)
        examples: list[Any] = []
        tokens = long = beyond = 0
        for start in range(0, len(texts), CHUNK):
            encodings = encode(whole, texts[start : start + CHUNK], self.source.by_words)
            for row, encoding in enumerate(encodings):
                tokens += len(encoding)
                if len(encoding) > self.max_length:
                    long += 1
                    beyond += len(encoding) - self.max_length
                    [encoding] = encode(cut, [texts[start + row]], self.source.by_words)
                examples.append(self._fields(encoding))
        remark = None
        if long:
            remark = (
                f"{long:,} of {len(texts):,} texts have more than {self.max_length} tokens (`max_length`) and are cut: "
                f"{beyond / tokens:.1%} of all tokens"
            )
        lengths = torch.tensor([len(example) for example in examples], dtype=torch.int64)
        return Ragged(torch.from_numpy(np.concatenate(examples)), lengths, remark)

    def _fields(self, encoding: Any) -> Any:
        fields = [encoding.ids, encoding.type_ids]
        if self.source.by_words:
            words = [0 if word is None else word + 1 for word in encoding.word_ids]
            before = [0, *words[:-1]]
            fields.append([word if word != last else 0 for word, last in zip(words, before, strict=True)])
        return np.array(fields, dtype=np.int32).T.copy()

    def _text(self, raw: Any) -> Any:
        """As the `tokenizers` library wants it. Raises TypeError for what is neither text, pair nor words."""
        if isinstance(raw, str):
            return raw.split() if self.source.by_words else raw
        if isinstance(raw, list) and all(isinstance(word, str) for word in raw):
            return raw if self.source.by_words else " ".join(raw)
        if isinstance(raw, tuple) and len(raw) == 2 and all(isinstance(text, str) for text in raw):
            if self.source.by_words:
                raise TypeError("a pair of texts has no single row of words to answer for")
            return raw
        kind = type(raw).__name__
        raise TypeError(f"expected a text, a pair of texts or a list of words, found {kind}")

    def _key(self, texts: Sequence[Any]) -> str:
        digest = hashlib.sha256(tokenizer(self.source).backend_tokenizer.to_str().encode())
        digest.update(json.dumps([cutting(self.source, self.max_length).truncation, self.source.by_words]).encode())
        for text in texts:
            digest.update(json.dumps(text).encode() + b"\n")  # JSON has no line ends of its own: no two lists are alike
        return digest.hexdigest()
