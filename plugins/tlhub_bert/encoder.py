"""A transformers encoder without its classifier, and the configuration to make it again without fetching anything."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tlhub.errors import SettingError
from tlhub_bert.fetch import fetched, quiet
from tlhub_bert.tokenizer import Source, tokenizer

KNOWN = "encoders such as BERT, DistilBERT, RoBERTa, MiniLM, ELECTRA, MPNet, ALBERT or DeBERTa work"

LABELS = ("num_labels", "id2label", "label2id", "problem_type", "architectures")
"""What a configuration says of a classifier, which is the task's here."""


def configure(model: str | None, revision: str | None, given: Mapping[str, Any], words: Source) -> Any:
    """The configuration of a model, or without one, of an architecture for this tokenizer's vocabulary.

    Raises SettingError where it cannot be had, knows no such setting, or is of no encoder.
    """
    from transformers import AutoConfig

    given = dict(given)
    for name in given:
        if name in LABELS:
            raise SettingError("config", f"`config` cannot hold `{name}`", "the classifier is the task's")
    kind = str(given.pop("model_type", "bert"))
    with quiet():
        if model is not None:
            with fetched("model", model):
                plain: Any = AutoConfig.from_pretrained(model, revision=revision or "main", trust_remote_code=False)
        else:
            plain = _plain(kind)
            for key in vocabulary_keys(plain) - given.keys():
                vocabulary = tokenizer(words)
                given[key] = len(vocabulary) if key == "vocab_size" else getattr(vocabulary, key, None)
        for key in given:
            if not hasattr(plain, key):
                near = difflib.get_close_matches(key, plain.to_dict(), n=1)
                hint = f"did you mean `{near[0]}`?" if near else None
                raise SettingError("config", f"the architecture `{plain.model_type}` has no setting `{key}`", hint)
        try:
            config = type(plain).from_dict(plain.to_dict() | given) if model else type(plain)(**given)
        except Exception as error:  # its errors have no common base
            message = f"`config` does not fit `{plain.model_type}`: {' '.join(str(error).split())}"
            raise SettingError("config", message) from error
    config.dtype = torch.float32  # whatever the weights were saved in: training needs it
    _check_encoder(config, model or kind, "model" if model else "config")
    return config


def recorded(config: Any) -> dict[str, Any]:
    """Settings that make this configuration again, whatever the tokenizer; JSON-ready."""
    plain = _plain(config.model_type)
    drop = {"transformers_version", "dtype", "model_type", *LABELS}
    settings = {key: value for key, value in config.to_diff_dict().items() if hasattr(plain, key) and key not in drop}
    settings |= {key: getattr(config, key) for key in vocabulary_keys(plain)}
    return {"model_type": config.model_type, **settings}


def vocabulary_keys(config: Any) -> set[str]:
    """What an architecture's configuration says of the vocabulary."""
    tokens = {f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")}
    return {"vocab_size", *(key for key in tokens if hasattr(config, key))}


def create(model: str | None, revision: str | None, config: Any, pooling: str) -> tuple[Any, int, str | None]:
    """The network, the width of its features, and the name of the module that was its classifier.

    With pooling `pooler` and `words` it is the architecture's own classifier of texts or of tokens, of which only the
    last linear layer is missing; else the encoder alone, which has had no classifier. Weights are random where `model`
    is None.

    Raises SettingError where weights cannot be had or do not fit.
    """
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    auto: Any = AutoModelForSequenceClassification if pooling == "pooler" else AutoModelForTokenClassification
    with quiet():
        try:
            whole = auto.from_config(config) if model is None else _load(auto, model, revision, config)
        except (ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
            message = f"transformers cannot make `{config.model_type}` with these settings: {error}"
            raise SettingError("config", message) from error
    if pooling in ("cls", "mean"):
        return whole.base_model, config.hidden_size, None
    name = _classifier(whole)
    linear = whole.get_submodule(name)
    if not isinstance(linear, nn.Linear) or linear.out_features != config.num_labels:
        raise SettingError("pooling", f"`{config.model_type}` has no linear classifier", "set `pooling: mean`")
    whole.set_submodule(name, nn.Identity())
    return whole, linear.in_features, name


def source_head(model: str, revision: str | None, config: Any) -> nn.Module | None:
    """The last linear layer of a model that was saved as a classifier of texts into one class each; None of others."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

    own: Any = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(config)]
    one = config.problem_type in (None, "single_label_classification") and config.num_labels > 1
    if config.architectures != [own.__name__] or not one:
        return None
    with quiet():
        whole = _load(AutoModelForSequenceClassification, model, revision, config)
    head: nn.Module = whole.get_submodule(_classifier(whole))
    return head


class LanguageModelHead(nn.Module):
    """What an architecture's masked language model makes of its encoder's last layer.

    Args:
        net: the encoder, whose word embeddings the head shares.
        model: whose weights the head starts from, where it has any; None: they are random.
    """

    def __init__(self, net: Any, model: str | None, revision: str | None) -> None:
        from transformers import AutoModelForMaskedLM

        super().__init__()
        auto: Any = AutoModelForMaskedLM
        with quiet():
            whole = auto.from_config(net.config) if model is None else _load(auto, model, revision, net.config)
        setattr(whole, whole.base_model_prefix, net.base_model)
        whole.tie_weights()
        setattr(whole, whole.base_model_prefix, _Given())
        self.whole = whole

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits `[tokens, vocabulary]` of the last layer's `[tokens, width]`."""
        nothing = hidden.new_zeros(1, len(hidden), dtype=torch.long)
        getattr(self.whole, self.whole.base_model_prefix).hidden = hidden[None]
        logits: Tensor = self.whole(input_ids=nothing).logits[0]
        return logits


class _Given(nn.Module):
    """Stands where the encoder was: what it would say is known already."""

    hidden: Tensor

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=self.hidden)


def bare(config: Any, pooling: str) -> Any:
    """The architecture's own classifier for this pooling, without memory for its weights."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    auto: Any = AutoModelForSequenceClassification if pooling == "pooler" else AutoModelForTokenClassification
    with quiet(), torch.device("meta"):
        return auto.from_config(config)


def positions(net: Any) -> int | None:
    """How many tokens have positions in the network; None where positions are relative only."""
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa's kind counts from behind the number of the padding token
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def stages(net: Any) -> list[list[str]]:
    """Names of the parameters: embeddings, each layer; what follows the layers is in the last."""
    base = net.base_model
    inside = {id(parameter) for parameter in base.parameters()}
    embeddings = {id(p) for m in base.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    lists = [module for module in base.modules() if isinstance(module, nn.ModuleList)]
    layers = max(lists, key=lambda module: sum(p.numel() for p in module.parameters()))  # the outermost of the largest
    number = {id(p): index for index, layer in enumerate(layers) for p in layer.parameters()}
    groups: list[list[str]] = [[] for _ in range(len(layers) + 1)]
    before = True
    for name, parameter in net.named_parameters():
        key = id(parameter)
        if key in number:
            before = False
            groups[number[key] + 1].append(name)
        elif key in embeddings or (before and key in inside):
            groups[0].append(name)
        else:
            groups[-1].append(name)
    return groups


def _plain(kind: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.for_model(kind)
    except ValueError:
        raise SettingError("config", f"transformers knows no `model_type: {kind}`", KNOWN) from None


def _check_encoder(config: Any, place: str, setting: str) -> None:
    from transformers import (
        MODEL_FOR_MASKED_LM_MAPPING,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    )

    kinds = (
        MODEL_FOR_MASKED_LM_MAPPING,
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING,
    )
    if config.is_encoder_decoder or not all(type(config) in kind for kind in kinds):
        raise SettingError(setting, f"`{place}` is a `{config.model_type}`, which is no encoder of texts", KNOWN)


def _load(auto: Any, model: str, revision: str | None, config: Any) -> Any:
    with fetched(
        "model", model, "the weights of ", "only safetensors are read: other formats can run code when opened"
    ):
        whole, report = auto.from_pretrained(
            model,
            revision=revision or "main",
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # a classifier's, which is not used; others are told below
            output_loading_info=True,
        )
    base = f"{whole.base_model_prefix}."
    lacking = sorted(key for key in report["missing_keys"] if key.startswith(base) and ".pooler." not in key)
    if lacking:
        message = f"`{model}` lacks weights of a `{config.model_type}`: {_few(lacking)}"
        raise SettingError("model", message, "is it a model of another kind?")
    misfits = sorted(str(entry[0]) for entry in report["mismatched_keys"] if str(entry[0]).startswith(base))
    if misfits:
        message = f"weights of `{model}` have other shapes than `config` says: {_few(misfits)}"
        raise SettingError("config", message, "leave sizes out of `config`, or set `pretrained: false`")
    return whole


def _classifier(whole: Any) -> str:
    """The last linear layer outside the encoder."""
    inside = f"{whole.base_model_prefix}."
    linears = [name for name, module in whole.named_modules() if isinstance(module, nn.Linear)]
    return next((name for name in reversed(linears) if not name.startswith(inside)), "")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
