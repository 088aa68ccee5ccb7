"""Masked language modelling on the target's texts before fine-tuning."""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.run import Run
from tlhub.step import Step
from tlhub_bert.backbone import BertBackbone
from tlhub_bert.encoder import LanguageModelHead
from tlhub_bert.tokenizer import tokenizer


class MaskedLanguageModel(Adapter):
    """Goes on pretraining the encoder on the target's own texts, without labels, before it is fine-tuned.

    Domain-adaptive pretraining: a share of the tokens is chosen anew in every step (dynamic masking, Liu et al. 2019);
    of the chosen, 80 % become the mask token, 10 % another token, 10 % stay (Devlin et al. 2019, section 3.1), and a
    language-model head learns to say what they were. The head starts from the model's own where its weights have one,
    and shares the encoder's word embeddings; it is dropped before fine-tuning.

    Use it when the target's words are unlike those the encoder was pretrained on, and there are many texts without
    labels. Cost: `epochs` passes over the target's texts, and the head's answer for the chosen tokens alone.

    Deviation: exactly the share of a batch's tokens is chosen, not each token with that probability.

    Args:
        epochs: passes over the target before training.
        probability: share of the tokens that are to be guessed.
    """

    name = "mlm"
    needs = frozenset({Need.TARGET})
    modalities = frozenset({"text"})
    paper = "Gururangan et al. 2020, Don't Stop Pretraining, arXiv:2004.10964"
    special: Tensor

    def __init__(
        self,
        epochs: Annotated[int, Field(gt=0)] = 1,
        probability: Annotated[float, Field(gt=0, lt=1)] = 0.15,
    ) -> None:
        super().__init__()
        self.pretrain_epochs, self.probability = epochs, probability
        self.head: LanguageModelHead

    def prepare(self, run: Run) -> None:
        backbone = run.model.backbone
        if not isinstance(backbone, BertBackbone):
            raise UserError(f"`mlm` trains encoders of `bert`, not `{backbone.name}`", "write `backbone: {use: bert}`")
        if not run.model.backbone_learns:
            raise UserError("`mlm` has nothing to train: the encoder is frozen", "freeze less, or remove `mlm`")
        words = tokenizer(backbone.words)
        if words.mask_token_id is None:
            raise UserError(f"the tokenizer of `{backbone.words.place}` has no mask token", "remove `mlm`")
        self.mask, self.vocabulary = words.mask_token_id, backbone.net.config.vocab_size
        self.register_buffer("special", torch.tensor(words.all_special_ids), persistent=False)
        settings = backbone.settings
        start = settings["model"] if settings["pretrained"] else None
        self.head = LanguageModelHead(backbone.net, start, settings["revision"])

    def pretrain(self, step: Step) -> Tensor:
        backbone = step.model.backbone
        assert isinstance(backbone, BertBackbone)
        inputs = step.target.inputs
        tokens = inputs["tokens"][..., 0]
        places = chosen(tokens, inputs["lengths"], self.special, self.probability)
        answers = tokens.flatten()[places]
        read = tokens.flatten().scatter(0, places, masked(answers, self.mask, self.vocabulary)).view_as(tokens)
        fields = torch.cat([read[..., None], inputs["tokens"][..., 1:]], -1)
        hidden = backbone.hidden({**inputs, "tokens": fields}).flatten(0, 1)[places]
        return F.cross_entropy(self.head(hidden).float(), answers)


def chosen(tokens: Tensor, lengths: Tensor, special: Tensor, probability: float) -> Tensor:
    """`[count]`: places among all tokens `[rows, longest]`, at random, none of them special or padding.

    The count is the share of all tokens before padding, known without waiting for the device; where fewer can be
    chosen, special tokens are too.
    """
    count = max(1, round(int(lengths.sum()) * probability))
    real = torch.arange(tokens.shape[1], device=tokens.device) < lengths.to(tokens.device)[:, None]
    scores = torch.rand(tokens.shape, device=tokens.device)
    scores = scores + real.float() + (real & ~torch.isin(tokens, special)).float()
    return scores.flatten().topk(count).indices


def masked(tokens: Tensor, mask: int, vocabulary: int) -> Tensor:
    """`[count]`: what is read in place of the chosen tokens."""
    chance = torch.rand(tokens.shape, device=tokens.device)
    others = torch.randint(vocabulary, tokens.shape, device=tokens.device)
    return torch.where(chance < 0.8, mask, torch.where(chance < 0.9, others, tokens))
