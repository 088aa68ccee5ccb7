"""Weight decay towards the pretrained network: L2-SP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from tlhub.adapter import Adapter
from tlhub.model import Model
from tlhub.run import Run
from tlhub.step import Step
from tlhub_finetune.pretrained import never_pretrained


def l2_sp(
    weights: Sequence[Tensor], starts: Sequence[Tensor], new: Sequence[Tensor], alpha: float, beta: float
) -> Tensor:
    """alpha / 2 ||w - w0||^2 + beta / 2 ||new||^2."""
    nothing = torch.zeros(())
    away = sum(((weight - start).square().sum() for weight, start in zip(weights, starts, strict=True)), nothing)
    return alpha / 2 * away + beta / 2 * sum((weight.square().sum() for weight in new), nothing)


class L2SP(Adapter):
    """Pulls the weights of the backbone to where they started, and those of the neck and the head to zero.

    Li et al. 2018, section 3 (L2-SP): loss + alpha / 2 ||w_S - w_S^0||^2 + beta / 2 ||w_S'||^2, where S are the
    pretrained weights and S' the new ones. It takes the place of `train.weight_decay`, which is not applied to any of
    them. As in the authors' experiments, and as weight decay here, it is for matrices and kernels, not for biases and
    normalisation. The start is the network when training proper begins, after pretraining by an adapter such as `mlm`.

    Use it when the labelled examples are few, and the pretraining task is like the new one.
    Cost: one pass over the weights in a step, and a second copy of them.

    Deviations: with `optimizer: adamw` the term's gradient is scaled like that of the loss; the paper uses SGD.

    Args:
        alpha: strength of the pull to the start; 0.1; the paper chooses it by validation for every data set.
        beta: strength of the pull of new weights to zero; 0.01 as in the paper.
    """

    name = "l2_sp"
    paper = (
        "Li et al. 2018, Explicit inductive bias for transfer learning with convolutional networks, arXiv:1802.01483"
    )
    additive = True
    starts: nn.ParameterList

    def __init__(self, alpha: Annotated[float, Field(ge=0)] = 0.1, beta: Annotated[float, Field(ge=0)] = 0.01) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def prepare(self, run: Run) -> None:
        pulled, new = _weights(run.model)
        self.starts = nn.ParameterList(nn.Parameter(weight.detach().clone(), False) for weight in pulled)
        run.undecayed.update(pulled, new)

    def start_round(self, run: Run) -> None:
        if run.round == 0:
            with torch.no_grad():
                for start, weight in zip(self.starts, _weights(run.model)[0], strict=True):
                    start.copy_(weight)

    def penalty(self, step: Step) -> Tensor:
        pulled, new = _weights(step.model)
        return l2_sp(pulled, list(self.starts), new, self.alpha, self.beta)


def _weights(model: Model) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices and kernels that were pretrained, and those that were not."""
    fresh = never_pretrained(model.backbone)
    pretrained = [parameter for parameter in model.backbone.parameters() if parameter not in fresh]
    new = [*fresh, *model.neck.parameters(), *model.head.parameters()]
    return [p for p in pretrained if p.ndim > 1], [p for p in new if p.ndim > 1]
