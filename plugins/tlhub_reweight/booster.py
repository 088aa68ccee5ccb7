"""What the forms of TrAdaBoost have in common: rounds, weights of source and target, and the learners that are kept."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from tlhub.adapter import Adapter, Need
from tlhub.errors import UserError
from tlhub.head import Head
from tlhub.run import Run
from tlhub.step import View
from tlhub_reweight.features import all_features
from tlhub_reweight.learner import Learner, fit

Initial = Literal["equal", "halves"]


def source_beta(examples: int, rounds: int) -> float:
    """beta of the source examples: 1 / (1 + sqrt(2 ln n / N)), n of them (Dai et al. 2007, figure 1)."""
    return 1 / (1 + math.sqrt(2 * math.log(examples) / rounds))


def target_error(weights: Tensor, errors: Tensor) -> Tensor:
    """epsilon: the mean error of the target examples, by their weights (step 3 of the figure)."""
    return (weights * errors).sum() / weights.sum()


def reweighted(
    source: Tensor, target: Tensor, source_errors: Tensor, target_errors: Tensor, beta: Tensor, rounds: int
) -> tuple[Tensor, Tensor]:
    """The weights of the next round (step 5): source x beta_source^error, target x `beta`^-error."""
    return source * source_beta(len(source), rounds) ** source_errors, target * beta**-target_errors


def by_class(shares: Tensor, labels: Tensor) -> Tensor:
    """`shares` so scaled that those of every class have the same sum, and all the sum 1."""
    totals = labels.bincount(shares)
    balanced = shares / totals[labels].clamp(min=torch.finfo(shares.dtype).tiny)
    return balanced / balanced.sum()


class Booster(Adapter):
    """Trains a linear learner a round, then makes wrong source examples count less and wrong target examples more."""

    needs: ClassVar[frozenset[Need]] = frozenset({Need.SOURCE, Need.TARGET_LABELS})
    numbers: ClassVar[bool] = False  # whether labels are numbers to be predicted, not those of classes
    shares: Tensor
    taught: Tensor
    votes: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, rounds: int, learner: Learner, c: float, initial: Initial, balance: bool) -> None:
        super().__init__()
        self.rounds, self.learner, self.c, self.initial, self.balance = rounds, learner, c, initial, balance
        self.first = math.ceil(rounds / 2) - 1  # of the rounds whose learners answer, counted from 0
        self._features: Any = None

    @abstractmethod
    def errors(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`[examples]` in [0, 1]: how wrong a learner is."""

    @abstractmethod
    def beta(self, error: Tensor, outputs: int) -> Tensor:
        """beta of the target examples, in (0, 1], from epsilon."""

    @abstractmethod
    def published(self, features: int, outputs: int, members: int) -> Head:
        """The head that answers in the end: `linear` of all members, and `votes`."""

    def prepare(self, run: Run) -> None:
        self._refuse(run)
        domains = [domain for domain in run.domains if domain.labels is not None]
        self.sources = sum(len(domain) for domain in domains if domain.role == "source")
        self.starts: dict[str, int] = {}
        for domain in domains:
            self.starts[domain.key] = sum(len(before) for before in domains[: len(self.starts)])
        self.labels = torch.cat([domain.labels for domain in domains if domain.labels is not None])
        shares = torch.ones(len(self.labels))
        if self.initial == "halves":
            shares[: self.sources] /= self.sources
            shares[self.sources :] /= len(shares) - self.sources
        self.register_buffer("shares", shares / shares.sum())
        self.register_buffer("taught", torch.zeros_like(shares))
        outputs, features = next(run.model.head.parameters()).shape
        kept = self.rounds - self.first
        self.register_buffer("weight", torch.zeros(kept, outputs, features))
        self.register_buffer("bias", torch.zeros(kept, outputs))
        self.register_buffer("votes", torch.zeros(kept))
        if self.learner != "linear":
            run.epochs = 0  # nothing is left to the loop

    def check(self, run: Run) -> None:
        inner = [*run.model.backbone.parameters(), *run.model.neck.parameters()]
        if any(parameter.requires_grad for parameter in inner):
            raise UserError(
                f"`{self.name}` keeps the learner of every round, and all must read the same features: "
                "what is below the head may not learn",
                "add `{use: partial_freeze, stages: all}`, and no bottleneck",
            )

    def start_round(self, run: Run) -> None:
        self.check(run)  # another adapter may let the backbone learn from a later round on
        shares = self.shares.cpu()
        self.taught.copy_(by_class(shares, self.labels) if self.balance else shares)
        if self.learner == "linear":
            fresh = run.task.head(run.model.neck.width, run.classes)
            run.model.head.load_state_dict(fresh.state_dict())

    def weights(self, view: View) -> Tensor:
        """A batch has as many rows of every domain, whatever their sizes: by these weights the loss is the mean by
        `taught`.
        """
        (domain,) = view.domains
        return self.taught[self.starts[domain.key] + view.indices] * len(domain) * len(self.starts)

    def end_round(self, run: Run) -> None:
        weight, bias = run.model.head.parameters()
        if self._features is None:
            domains = [domain for domain in run.domains if domain.key in self.starts]
            self._features = all_features(run, domains)
        if self.learner != "linear":
            labels, taught = self.labels.double().numpy(), self.taught.double().cpu().numpy()
            learnt = fit(self.learner, self._features, labels, taught, len(bias), self.c)
            for parameter, values in zip((weight, bias), learnt, strict=True):
                parameter.data.copy_(torch.from_numpy(values))
        at = {name: value.detach().double().cpu() for name, value in (("weight", weight), ("bias", bias))}
        answers = [self._features @ row for row in at["weight"].numpy()]  # scipy is slower on few columns at once
        logits = torch.from_numpy(np.stack(answers, 1)) + at["bias"]
        sizes = [self.sources, len(self.labels) - self.sources]
        source, target = torch.split(self.shares.double().cpu(), sizes)
        source_errors, target_errors = torch.split(self.errors(logits, self.labels), sizes)
        beta = self.beta(target_error(target, target_errors), len(bias))
        if run.round >= self.first:
            kept = run.round - self.first
            self.weight[kept], self.bias[kept], self.votes[kept] = at["weight"], at["bias"], -beta.log()
        shares = torch.cat(reweighted(source, target, source_errors, target_errors, beta, self.rounds))
        self.shares.copy_(shares / shares.sum())

    def finish(self, run: Run) -> None:
        members, outputs, features = self.weight.shape
        head: Any = self.published(features, outputs, members)
        head.linear.weight.data.copy_(self.weight.flatten(0, 1))
        head.linear.bias.data.copy_(self.bias.flatten())
        head.votes.copy_(self.votes if self.votes.any() else torch.ones(members))
        run.model.head = head.to(run.device)

    def _refuse(self, run: Run) -> None:
        """Raise UserError where the labels or the head are not what is boosted here."""
        labels = [domain.labels for domain in run.domains if domain.labels is not None]
        if any(each.ndim != 1 or each.is_floating_point() != self.numbers for each in labels):
            learns = "a number" if self.numbers else "one class"
            hint = "`tradaboost_r2` is for numbers, `tradaboost` for classes"
            raise UserError(f"`{self.name}` learns {learns} for each example, not the task `{run.task.name}`", hint)
        if [parameter.ndim for parameter in run.model.head.parameters()] != [2, 1]:
            raise UserError(f"`{self.name}` boosts linear heads, and `{run.model.head.name}` is none")
        if not self.numbers and (torch.cat(labels) == labels[0][0]).all():
            raise UserError(f"`{self.name}` needs examples of two classes, and all here are of one")
