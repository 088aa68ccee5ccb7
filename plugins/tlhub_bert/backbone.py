"""The component `bert`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.backbone import Backbone
from tlhub.errors import SettingError
from tlhub.lineage import Origin
from tlhub.model import Model
from tlhub.task import Task
from tlhub_bert import native
from tlhub_bert.encoder import configure, create, positions, recorded, source_head, stages
from tlhub_bert.fetch import commit, digest
from tlhub_bert.preprocess import TextPreprocess
from tlhub_bert.tokenizer import Source, cutting, tokenizer as load_tokenizer


class BertBackbone(Backbone):
    """Any BERT-type encoder of the transformers library (Devlin et al. 2019, arXiv:1810.04805), without its classifier.

    BERT, DistilBERT, RoBERTa, MiniLM, ELECTRA, MPNet, ALBERT, DeBERTa and others, by name, from a folder, or new with
    random weights. Texts, pairs of texts, and sentences of given words are tokenised by the model's own tokenizer.

    With `pooling: pooler` and `words`, a saved model has transformers' own form: its folder loads with
    `AutoModelForSequenceClassification` or `AutoModelForTokenClassification` and with `pipeline` (to which
    `truncation=True` has to be said for longer texts than `max_length`).

    Args:
        model: name of a model on the Hugging Face Hub, such as `distilbert-base-uncased`, or a folder that holds one.
            Not needed where `config` describes a new network.
        revision: branch, tag or commit of `model`, or of `tokenizer` where no model is named. What is recorded is the
            commit that was found.
        pretrained: whether to start from the weights of `model`; only safetensors are read. Without, they are random.
        config: settings of the architecture that differ from the model's own, such as `hidden_dropout_prob: 0.2`.
            Without `model`, a new network of `model_type` (`bert` unless said) with random weights: `{hidden_size: 128,
            num_hidden_layers: 4, num_attention_heads: 4, intermediate_size: 512}`.
        tokenizer: name or folder of another tokenizer than the model's. Without `model`, one is built in that knows
            characters, endings and common English words, in lower case.
        pooling: what the features of a text are. `pooler` is what the architecture's own classifier reads: BERT's
            pooler, RoBERTa's dense layer on the first token, and so on; `cls` is the first token of the last layer;
            `mean` the mean over all tokens, as sentence encoders have it; `words` gives features for each word, those
            of its first token, as tasks that answer each word need them.
        max_length: how many tokens of a text are read, with the special ones at its ends; longer texts are cut.
    """

    name = "bert"
    modality = "text"
    ragged = True
    word_settings: ClassVar[Mapping[str, Any]] = {"pooling": "words"}

    def __init__(
        self,
        model: str | None = None,
        revision: str | None = None,
        pretrained: bool = True,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        pooling: Literal["cls", "mean", "pooler", "words"] = "pooler",
        max_length: Annotated[int, Field(ge=8)] = 128,
    ) -> None:
        super().__init__()
        if model is None and config is None:
            raise SettingError("model", "`bert` needs a `model`, or a `config` for a new network")
        pretrained = self.settings["pretrained"] = pretrained and model is not None
        model, tokenizer = _place(model), _place(tokenizer)
        by_words = pooling == "words"
        if tokenizer is not None:
            self.words = Source(tokenizer, None if model else revision, by_words, "tokenizer")
        else:
            self.words = Source(model, revision, by_words)
        found = configure(model, revision, config or {}, self.words)
        if model is not None and (at := commit(model, revision)) is not None:
            revision = self.settings["revision"] = at  # so that records say which weights those were
            if tokenizer is None:
                self.words = replace(self.words, revision=at)
        if model is not None:
            self._check_vocabulary(found.vocab_size)
        self.net: Any
        self.net, self.width, self.classifier = create(model if pretrained else None, revision, found, pooling)
        self.pooling, self.max_length = pooling, max_length
        self._check_length()
        takes = inspect.signature(self.net.base_model.forward).parameters
        self._typed = "token_type_ids" in takes and getattr(found, "type_vocab_size", 0) > 1

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Features `[examples, width]`, with `pooling: words` `[examples, words, width]`, zero beyond the last word.

        A word without a token, because it was cut off or is nothing but control characters, has zeros too.
        """
        read, real = self._read(inputs)
        output = self.net(**read)
        features: Tensor
        if self.pooling == "pooler":
            features = output.logits
        elif self.pooling == "words":
            features = _first_tokens(output.logits, inputs["tokens"][..., 2])
        elif self.pooling == "cls":
            features = output.last_hidden_state[:, 0]
        elif real is None:
            features = output.last_hidden_state.mean(1)
        else:
            features = (output.last_hidden_state * real[..., None]).sum(1) / real.sum(1, keepdim=True)
        return features

    def activation(self, output: Any) -> Tensor:
        """Also of an encoder, and of a tuple that begins with the hidden state, as some layers in transformers give."""
        if isinstance(output, tuple) and output:
            output = output[0]
        return super().activation(getattr(output, "last_hidden_state", output))

    def hidden(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """`[rows, tokens, width]`: the last layer, whatever the pooling."""
        read, _ = self._read(inputs)
        states: Tensor = self.net.base_model(**read).last_hidden_state
        return states

    def stages(self) -> Sequence[Sequence[str]]:
        """Embeddings, then each layer; what follows the layers, such as a pooler, belongs to the last."""
        return [[f"net.{name}" for name in stage] for stage in stages(self.net)]

    def preprocess(self, train: bool) -> TextPreprocess:
        """Token numbers `[tokens, fields]` of a text; the same in training."""
        return TextPreprocess(self.words, self.max_length)

    def origins(self) -> Sequence[Origin]:
        if not self.settings["pretrained"]:
            return []
        folder = Path(self.settings["model"]).expanduser()
        if folder.is_dir():
            return [Origin("backbone", folder.resolve().name, digest(folder))]
        return [Origin("backbone", self.settings["model"], self.settings["revision"])]

    def source_head(self) -> nn.Module | None:
        if not self.settings["pretrained"] or self.pooling != "pooler":
            return None
        return source_head(self.settings["model"], self.settings["revision"], self.net.config)

    def rebuild(self) -> Mapping[str, Any]:
        """The architecture in full, so that neither weights nor a model's configuration are fetched."""
        return {
            "revision": self.words.revision,
            "pretrained": False,
            "config": recorded(self.net.config),
            "tokenizer": self.words.place,
            "pooling": self.pooling,
            "max_length": self.max_length,
        }

    def export(self, model: Model, task: Task, classes: Sequence[str] | None, folder: Path) -> str:
        """transformers' own form where it has one for this model, else `tlhub-bert`; both with the tokenizer."""
        form = native.export(self.net, self.classifier, self.pooling, model, task, classes, folder)
        inputs = ["input_ids", *(["token_type_ids"] if self._typed else []), "attention_mask"]
        native.export_tokenizer(self.words, self.max_length, inputs, folder)
        return form

    def load_exported(self, model: Model, folder: Path) -> None:
        native.load(self.net, model, folder)
        load_tokenizer.cache_clear()  # the folder may hold another one than when it was last read
        cutting.cache_clear()
        self.words = Source(str(folder), None, self.words.by_words)

    def _read(self, inputs: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor | None]:
        """What transformers' networks take, and which tokens `[rows, tokens]` are no padding; None where none is."""
        tokens, lengths = inputs["tokens"], inputs["lengths"]
        read = {"input_ids": tokens[..., 0]}
        if self._typed:
            read["token_type_ids"] = tokens[..., 1]
        if int(lengths.min()) == tokens.shape[1]:
            return read, None  # no mask, without which attention is faster
        real = torch.arange(tokens.shape[1], device=tokens.device) < lengths.to(tokens.device)[:, None]
        # RoBERTa's kind finds positions by looking for padding
        read["input_ids"] = tokens[..., 0].where(real, self.net.config.pad_token_id or 0)
        read["attention_mask"] = real.long()
        return read, real

    def _check_length(self) -> None:
        known = positions(self.net)
        if known is not None and self.max_length > known:
            raise SettingError(
                "max_length",
                f"`max_length` is {self.max_length}, but this network has positions for {known} tokens",
                f"set `max_length: {known}` or less",
            )

    def _check_vocabulary(self, size: int) -> None:
        known = len(load_tokenizer(self.words))
        if known > size:
            raise SettingError(
                self.words.setting,
                f"the tokenizer of `{self.words.place}` knows {known} tokens, but the network {size}",
                "name the tokenizer that the network was trained with",
            )


def _place(name: str | None) -> str | None:
    """A folder's name in full, as far as it is one."""
    if name is None:
        return None
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def _first_tokens(hidden: Tensor, numbers: Tensor) -> Tensor:
    """Of `hidden` `[rows, tokens, width]`, what begins a word by `numbers` `[rows, tokens]`: `[rows, words, width]`."""
    words = int(numbers.max())
    places = numbers[..., None].expand(hidden.shape)
    slots = hidden.new_zeros(len(hidden), words + 1, hidden.shape[2])  # what begins no word goes to slot 0
    return slots.scatter(1, places, hidden)[:, 1:]
