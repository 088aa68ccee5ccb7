"""FixMatch."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from tlhub.adapter import Adapter, Need, require_classes
from tlhub.run import Run
from tlhub.step import Step
from tlhub.train import half_precision
from tlhub_selftrain.confident import confident_loss
from tlhub_selftrain.fields import Positive, Share
from tlhub_selftrain.look import look, untracked
from tlhub_selftrain.strong import strong
from tlhub_selftrain.suited import require_disturbable
from tlhub_selftrain.thinned import thinned


class FixMatch(Adapter):
    """Teaches the model to see in a strongly disturbed target example what it confidently sees in the example itself.

    Sohn et al. 2020, eq. 4: loss + lambda * the mean of 1(max q >= tau) H(argmax q, p), where q are the class
    probabilities of a weakly augmented example, constants, and p those of a strongly augmented one. The weak
    augmentation is the backbone's own in training (`augment`, say). Strong is, for images, RandAugment with two of the
    paper's 14 operations at random magnitudes, then Cutout, on top of the weak one; for texts, a share of the tokens
    left out. The second pass normalises by the disturbed batch's own statistics, and does not move the running ones.

    Use it when nothing that the strong disturbance does changes an example's class, and there is time for a second
    pass.
    Cost: a second forward and backward pass of the model over the target's rows.

    Deviation: a step has as many target as source examples; the paper has seven times as many unlabelled ones.
    Deviation: the final weights are not averaged over training.
    Deviation: in the joint pass, weak examples meet the source's in batch normalisation (unless it is `separate`), the
    strong ones only each other; the paper normalises all three kinds together.
    Deviation: each operation gets an equal share of the rows; images are sheared about their centre.
    Deviation: the paper has no texts. Leaving out tokens, the first and last excepted, takes the place of RandAugment;
    of a pair, the mark between the texts may go, and the weak view is the text itself.

    Args:
        threshold: tau, the least probability of a label that is believed; 0.95 as in the paper.
        strength: lambda; 1 as in the paper.
        token_dropout: for texts: the share of tokens that is left out.
    """

    name = "fixmatch"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TARGET})
    modalities = frozenset({"image", "text"})
    paper = "Sohn et al. 2020, FixMatch: simplifying semi-supervised learning, arXiv:2001.07685"
    additive = True
    needs_inputs = True

    def __init__(
        self,
        threshold: Share = 0.95,
        strength: Positive = 1.0,
        token_dropout: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    ) -> None:
        super().__init__()
        self.threshold, self.strength, self.token_dropout = threshold, strength, token_dropout

    def prepare(self, run: Run) -> None:
        require_classes(run, self.name)
        require_disturbable(run, self.name)
        self.bf16 = half_precision(run)

    def penalty(self, step: Step) -> Tensor:
        weak, view = step.target.inputs, step.target
        disturbed = strong(weak) if isinstance(weak, Tensor) else thinned(weak, self.token_dropout)
        with untracked(step.model):
            logits = look(step.model, disturbed, view.logits.device, self.bf16)
        return self.strength * confident_loss(logits, view.logits, self.threshold)
