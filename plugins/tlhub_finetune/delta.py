"""Keeping the feature maps of the pretrained network: DELTA."""

from __future__ import annotations

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter
from tlhub.errors import UserError
from tlhub.model import Model, memory_order
from tlhub.run import Run
from tlhub.step import Step
from tlhub.train import half_precision
from tlhub_finetune.attention import channel_weights
from tlhub_finetune.pretrained import largest_modules, never_pretrained


def weighed(squares: Tensor, weights: Tensor) -> Tensor:
    """`[rows]`: half the sum over channels of W_j times a map's mean squared distance `[rows, channels]`."""
    return squares @ weights / 2


class Delta(Adapter):
    """Keeps feature maps of the backbone near those of the pretrained network, above all the channels that matter.

    Li et al. 2019, section 3: loss + alpha sum over layers and channels j of W_j ||FM_j(x; w) - FM_j(x; w0)||^2. W is
    the softmax, over a layer's channels, of how much the loss of the pretrained network (with a head fitted to its
    features) rises when the channel is set to zero. The pretrained network is never trained, nor are its running
    statistics. Weights of the backbone are not decayed; `train.weight_decay` is the paper's second term, for new ones.

    Use it when the labelled examples are few, and the pretraining task is like the new one; `l2_sp` is cheaper.
    Cost: a forward pass of the pretrained network in a step. Before training with `attention`, a forward pass of
    `examples` examples for every channel of every layer: minutes on a GPU for a ResNet-50, hours on a processor.

    Deviations: as in the authors' code, a map's squares are averaged over its positions, halved, and W counts channels
    x softmax(standardised / 5); the mean over the batch is taken as for the loss, where that code has the sum. W is a
    mean over examples, not each example's own. By default maps are what stages give, where the authors take the last
    convolution in each.

    Args:
        layers: modules of the backbone whose outputs are kept; by default the largest module of every stage but the
            first.
        attention: whether channels are weighed; otherwise all count alike (the paper's DELTA without attention).
        examples: how many labelled examples the channels are weighed with; the authors' code takes 256.
        strength: factor of the term in the loss, alpha; 0.64 is the 0.01 of the authors' code for a sum over a batch
            of 64.
    """

    name = "delta"
    paper = (
        "Li et al. 2019, DELTA: Deep learning transfer using feature map with attention for convolutional networks, "
        "arXiv:1901.09229"
    )
    needs_inputs = True
    additive = True
    reference: Model

    def __init__(
        self,
        layers: Annotated[list[str], Field(min_length=1)] | None = None,
        attention: bool = True,
        examples: Annotated[int, Field(gt=0)] = 64,
        strength: Annotated[float, Field(gt=0)] = 0.64,
    ) -> None:
        super().__init__()
        self.layers, self.attention, self.examples, self.strength = layers, attention, examples, strength

    def prepare(self, run: Run) -> None:
        model, backbone = run.model, run.model.backbone
        self.names = self.layers or largest_modules(backbone, run.stages)
        if not self.names:
            raise UserError(f"`delta` has nothing to keep: `{backbone.name}` learns nothing", "remove `delta`")
        self.reference = copy.deepcopy(model).requires_grad_(False).eval()  # what is frozen stays so
        self.reference.taps = []
        for each in (model, self.reference):
            for name in self.names:
                each.tap(name, pooled=False)
        example = backbone.collate([backbone.preprocess(train=False)(run.domains[0].raw(0))])
        with torch.inference_mode():
            seen = self.reference.see(example)
        for number, name in enumerate(self.names):
            width = backbone.pooled(seen.map(name)).shape[1]
            self.register_buffer(f"weights_{number}", torch.ones(width))
        self.reference.to(memory_format=memory_order(run.device))  # as the model's, or rounding differs
        self.bf16 = half_precision(run)
        run.undecayed.update(p for p in backbone.parameters() if p not in never_pretrained(backbone))

    def start_round(self, run: Run) -> None:
        if run.round > 0:
            return
        self.reference.backbone.load_state_dict(run.model.backbone.state_dict())
        if self.attention:
            model = copy.deepcopy(self.reference)  # whose head is fitted
            widths = [len(weights) for weights in self._channels()]
            found = channel_weights(run, model, self.names, widths, self.examples)
            for weights, new in zip(self._channels(), found, strict=True):
                weights.copy_(new)

    def penalty(self, step: Step) -> Tensor:
        terms = []
        for view in step.views:
            with torch.no_grad(), torch.autocast(view.features.device.type, torch.bfloat16, self.bf16):
                seen = self.reference.see(view.inputs)
            for name, weights in zip(self.names, self._channels(), strict=True):
                squares = (view.map(name) - seen.map(name).float()).square()
                terms.append(weighed(self.reference.backbone.pooled(squares, view.inputs), weights).sum())
        return self.strength * torch.stack(terms).sum() / sum(map(len, step.views))

    def _channels(self) -> list[Tensor]:
        """For every layer `[channels]`: how much each counts."""
        return [self.get_buffer(f"weights_{number}") for number in range(len(self.names))]
