"""Linear probing, then fine-tuning: LP-FT."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tlhub.errors import UserError
from tlhub.run import Run
from tlhub_finetune.thaw import Thaw


class LinearProbeThenFinetune(Thaw):
    """Trains the head alone for the first epochs, the whole network afterwards.

    Kumar et al. 2022, section 3 (LP-FT): a random head sends large gradients into the network, which change its
    features on the training data and distort them elsewhere. A head that fits already does not.

    Use it when the model is to be good beyond its training data: on shifted or new inputs.
    Cost: none; in the first epochs a step has no backward pass through the backbone.

    Deviations: the head is trained for a number of epochs by the run's optimizer, not to convergence, and there is one
    schedule of the learning rate for both phases; the neck (a bottleneck, say) learns with the head.

    Args:
        epochs: how many of the run's epochs train the head alone; 1 is enough where an epoch has hundreds of steps.
    """

    name = "lp_ft"
    paper = (
        "Kumar et al. 2022, Fine-tuning can distort pretrained features and underperform out-of-distribution, "
        "arXiv:2202.10054"
    )

    def __init__(self, epochs: Annotated[int, Field(gt=0)] = 1) -> None:
        super().__init__()
        self.epochs = epochs

    def prepare(self, run: Run) -> None:
        if self.epochs >= run.train.epochs:
            raise UserError(
                f"`lp_ft` trains the head alone for {self.epochs} epochs, and `train.epochs` is {run.train.epochs}",
                "raise `epochs` under `train`, or freeze the backbone with `partial_freeze` if that is meant",
            )
        super().prepare(run)

    def still_frozen(self, epoch: int, stages: int) -> int:
        return stages if epoch < self.epochs else 0
