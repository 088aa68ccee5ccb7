"""NCE."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from tlhub.score import TransferScore
from tlhub_scores.counts import joint, too_few


class NCE(TransferScore):
    """The negative conditional entropy of labels, given the likeliest source class of an example.

    -H(Y | Z) = sum over y and z of P(y, z) log P(y | z), counted on the examples (Tran et al. 2019, "Transferability
    and Hardness of Supervised Classification Tasks", eq. 8).

    Deviation: the paper knows both labels of the same examples; here Z is the class that the source classifier deems
    likeliest, as Nguyen et al. 2020 do when they compare it with `leep`.

    Use it when `leep` is to be checked by something simpler; it looks at the likeliest class alone, so it cannot tell
    a sure classifier from an unsure one.

    Cost: counting.
    """

    name = "nce"
    reads: ClassVar[Literal["features", "probabilities"]] = "probabilities"
    paper = "Tran et al. 2019, https://arxiv.org/abs/1908.08142"

    def score(self, given: Tensor, labels: Tensor) -> float:
        return nce(joint(F.one_hot(given.argmax(1), given.shape[1]).double(), labels))

    def caution(self, given: Tensor, labels: Tensor) -> str | None:
        return too_few(self.name, given)


def nce(joint: Tensor) -> float:
    """The negative conditional entropy of the rows of a joint distribution `[classes, source classes]`."""
    mass = joint.sum(0)
    conditional = joint / mass.where(mass > 0, 1)
    return float((joint * conditional.where(joint > 0, 1).log()).sum())
