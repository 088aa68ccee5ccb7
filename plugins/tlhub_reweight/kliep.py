"""The Kullback-Leibler importance estimation procedure."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from tlhub_reweight.density import DensityRatio, median_distance, normalised, squared_distances

FOLDS = 5
WIDTHS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The widths that are tried, in median distances."""


def fit_mixture(at_target: Tensor, at_source: Tensor, steps: int = 2000) -> Tensor:
    """The alpha `[centres]` >= 0 of largest mean ln(`at_target` alpha) with mean(`at_source` alpha) = 1.

    Both are the kernels of examples and centres, `[examples, centres]`. With b the mean of `at_source`, alpha b are the
    proportions of a mixture, which EM finds; it ends where the largest mean is less than 1e-5 away.
    """
    means = at_source.mean(0)
    tiny = torch.finfo(means.dtype).tiny
    density = torch.where(means > tiny, at_target / means.clamp(min=tiny), 0)  # no source example near: no ratio
    proportions = torch.full_like(means, 1 / len(means))
    for _ in range(steps):
        gain = (density / (density @ proportions).clamp(min=tiny)[:, None]).mean(0)
        if gain.max() < 1 + 1e-5:
            break
        proportions = proportions * gain
    proportions = proportions / proportions.sum()
    return torch.where(means > tiny, proportions / means.clamp(min=tiny), 0)


class KLIEP(DensityRatio):
    """Weighs source examples by a sum of Gaussians under which the target is likeliest.

    Sugiyama et al. 2008: w(x) = sum_l alpha_l exp(-|x - c_l|^2 / (2 sigma^2)), centres c_l among the
    target examples, maximises the mean ln w over the target, with alpha >= 0 and mean w = 1 over the source. sigma is
    that of the largest likelihood in 5-fold cross-validation over the target.

    Use it when the target's inputs are differently drawn from the source's, and there are many of both.
    Cost: nothing per step; at the start O((n + m) centres) memory.
    Deviation: features of the pretrained backbone stand for the inputs; the concave problem is solved by EM instead of
    projected gradients.

    Args:
        bandwidth: sigma; `likelihood`: the likeliest of 1/8, 1/4, 1/2, 1, 2 and 4 median distances.
        centres: number of Gaussians; 100 as in the paper.
        largest: weights above it, where 1 is the mean, are cut; null as in the paper.
    """

    name = "kliep"
    paper = "Sugiyama et al. 2008, Direct importance estimation for covariate shift adaptation, AISM 60, 699-746"

    def __init__(
        self,
        bandwidth: Annotated[float, Field(gt=0)] | Literal["likelihood"] = "likelihood",
        centres: Annotated[int, Field(gt=0)] = 100,
        largest: Annotated[float, Field(gt=1)] | None = None,
    ) -> None:
        super().__init__()
        self.bandwidth, self.centres, self.largest = bandwidth, centres, largest

    def ratio(self, source: Tensor, target: Tensor) -> Tensor:
        order = torch.randperm(len(target))
        centres = target[order[: self.centres]]
        at_source, at_target = (squared_distances(x, centres) for x in (source, target))
        sigma = self._likeliest(at_source, at_target, median_distance(source, target))
        near_source, near_target = (torch.exp(d / (-2 * sigma**2)) for d in (at_source, at_target))
        ratios = near_source @ fit_mixture(near_target, near_source)
        return normalised(ratios, self.largest) if ratios.any() else torch.ones_like(ratios)

    def _likeliest(self, at_source: Tensor, at_target: Tensor, unit: float) -> float:
        """The given width, or the one under which target examples left out of the fit are likeliest."""
        if self.bandwidth != "likelihood":
            return float(self.bandwidth)
        if len(at_target) == 1:
            return unit
        fold = torch.randperm(len(at_target)) % min(FOLDS, len(at_target))
        scores = {}
        for sigma in (unit * share for share in WIDTHS):
            near_source, near_target = (torch.exp(d / (-2 * sigma**2)) for d in (at_source, at_target))
            left_out = []
            for number in range(int(fold.max()) + 1):
                alpha = fit_mixture(near_target[fold != number], near_source, steps=200)
                left_out.append((near_target[fold == number] @ alpha).log())
            scores[sigma] = float(torch.cat(left_out).mean())
        return max(scores, key=scores.__getitem__)
