"""Central moment discrepancy."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from tlhub import Adapter, Need


def moment_distance(x: Tensor, y: Tensor, orders: int) -> Tensor:
    """Equation 7 for features in [0, 1]: distance of the means, and of the central moments up to `orders`."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    terms = [mean_x - mean_y]
    terms += [(x - mean_x).pow(k).mean(0) - (y - mean_y).pow(k).mean(0) for k in range(2, orders + 1)]
    return sum(term.square().sum().add(1e-12).sqrt() for term in terms)


class Moments(Adapter):
    """Match the moments of source and target features.

    Deviation from the paper: features are squashed by a sigmoid, since the distance is defined on a bounded interval.

    Args:
        strength: the term's factor in the loss.
        orders: the highest central moment that is matched; the paper uses 5.
    """

    name = "moments"
    paper = "Zellinger et al. 2017, Central Moment Discrepancy (CMD) for Domain-Invariant Representation Learning"
    needs = frozenset({Need.SOURCE, Need.TARGET})

    def __init__(
        self, strength: Annotated[float, Field(gt=0)] = 1.0, orders: Annotated[int, Field(ge=1, le=10)] = 5
    ) -> None:
        super().__init__()
        self.strength = strength
        self.orders = orders

    def penalty(self, step):
        x, y = step.source.features.sigmoid(), step.target.features.sigmoid()
        return self.strength * moment_distance(x, y, self.orders)
