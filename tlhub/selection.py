"""Which epoch of a round is kept: what a validator sees of it, and when it is overruled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from tlhub.adapter import require_classes
from tlhub.data import Domain, one_class_each
from tlhub.errors import TrainingError
from tlhub.loader import ordered
from tlhub.measure import outputs, side_by_side, to_device
from tlhub.randomness import permutation
from tlhub.run import Run
from tlhub.validator import Evidence, Mixed, Outputs
from tlhub.watch import Watch

COLLAPSED = 0.1
"""Answers have collapsed where their effective number of classes, less one, is under this share of the labels'."""

TRAINED_ROWS = 5_000
"""Of every source, at most so many of the examples that are trained on are shown to a validator, always the same."""


class Selection:
    """The best epoch of a round so far, by the run's validator.

    An epoch whose answers on the target have collapsed into few classes is never preferred over one whose have not,
    whatever the validator says: entropy is least, and neighbourhoods are densest, where all answers are the same.

    Attributes:
        best: the model's state after the best epoch; empty before the first.
        waited: for how many epochs none was better.
    """

    def __init__(self, run: Run, watch: Watch) -> None:
        self.run, self.watch = run, watch
        # the same parts in every epoch, so that what is preprocessed once is kept
        self._sampled = [_part(domain, TRAINED_ROWS) for domain in run.sources]
        self._shuffled = [_part(domain, len(domain)) for domain in run.targets]
        self._breadth_of_labels = _breadth_of_labels(run)
        self.begin()

    def begin(self) -> None:
        """A round begins: nothing was seen yet."""
        self.best: dict[str, Tensor] = {}
        self.waited = 0
        self._best = (False, -math.inf)  # sound before collapsed, then by score

    def consider(self) -> dict[str, Any]:
        """Score the model as it is, and keep it if none was better; what the history tells of it.

        Of equals the last is kept: a source that is soon learnt perfectly must not choose a model that has not adapted.
        """
        run = self.run
        assert run.validator is not None
        seen = self.evidence()
        score = run.validator.score(run.task, seen)
        if not math.isfinite(score):
            raise TrainingError(
                f"`{run.validator.name}` gave {score} after epoch {run.epoch + 1}, no score to choose by",
                "choose another `select`",
            )
        breadth = self._breadth_of_labels
        target = seen.target if "target" in vars(seen) else None  # whether the validator asked for it
        collapsed = target is not None and breadth is not None and has_collapsed(target.logits, breadth)
        now, best = (not collapsed, score), self._best
        if self.best and (score >= best[1]) != (now >= best):
            self._tell(score, best[1], collapsed)
        self.waited = 0 if now > best else self.waited + 1
        if now >= best:
            self._best = now
            self.best = {name: value.detach().clone() for name, value in run.model.state_dict().items()}
        return {"selection": score, **({"collapsed": True} if collapsed else {})}

    def evidence(self) -> Evidence:
        """What a validator may see of the model as it is."""
        return Evidence(self._look, self._mixed)

    def facts(self) -> dict[str, Any]:
        """What a checkpoint holds besides `best`."""
        sound, score = self._best
        return {"best_sound": sound, "best_score": None if math.isinf(score) else score, "waited": self.waited}

    def restore(self, best: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Continue from what a checkpoint holds."""
        self.best, self.waited = dict(best), facts["waited"]
        self._best = (facts["best_sound"], -math.inf if facts["best_score"] is None else facts["best_score"])

    def _tell(self, score: float, best: float, collapsed: bool) -> None:
        run = self.run
        assert run.validator is not None
        one, other = (score, best) if collapsed else (best, score)
        when = f"of epoch {run.epoch + 1}" if collapsed else "of an epoch before"
        self.watch.note(
            f"`{run.validator.name}` was overruled: it prefers the model {when} ({one:.3g} against {other:.3g}), whose "
            "answers on the target have collapsed into few of the classes"
        )

    def _look(self, part: Literal["source", "trained", "shown", "target"]) -> Outputs | None:
        run = self.run
        if part == "target":
            return side_by_side([run.outputs(domain) for domain in run.targets])
        if part == "trained":
            return side_by_side([self._trained(number) for number, each in enumerate(run.sources) if _labelled(each)])
        role = "source" if part == "source" else "target"
        return side_by_side([run.outputs(each) for each in run.held_out if each.role == role and _labelled(each)])

    def _trained(self, number: int) -> Outputs:
        run = self.run
        known = run.features.get(run.sources[number].key)
        rows, domain = self._sampled[number]
        return outputs(
            run.model, domain, run.device, run.workers, None if known is None else known[rows.to(run.device)]
        )

    def _mixed(self, share: float) -> Mixed:
        """Neighbours in a random order of every domain are mixed, batch by batch."""
        run, model = self.run, self.run.model
        preprocess = model.backbone.preprocess(train=False)
        was_training, start = model.training, 0
        firsts, seconds, logits = [], [], []
        model.eval()
        with torch.inference_mode():
            for order, domain in self._shuffled:
                for rows, collated in ordered(domain, model.backbone, preprocess, run.workers):
                    if len(rows) < 2:
                        continue  # a last batch of one example has nothing to be mixed with
                    inputs = to_device(collated, run.device)
                    if model.backbone.ragged:
                        mixed = model.see_features(_with_next(model.backbone(inputs), share))
                    else:
                        mixed = model.see(_with_next(inputs, share))
                    firsts.append(start + order[rows])
                    seconds.append(start + order[rows].roll(-1))
                    logits.append(mixed.logits.float().cpu())
                start += len(domain)
        model.train(was_training)
        if not firsts:
            nothing = torch.zeros(0, dtype=torch.long)
            return Mixed(nothing, nothing, torch.zeros(0, 1))
        return Mixed(torch.cat(firsts), torch.cat(seconds), torch.cat(logits))


def check_validator(run: Run) -> None:
    """Raise UserError where the run's validator is not for its task."""
    if run.validator is not None and run.validator.one_class:
        require_classes(run, run.validator.name, "`source_risk` or `source_score`")


def has_collapsed(logits: Tensor, breadth_of_labels: float) -> bool:
    """Whether the answers are of far fewer classes than labels are: see `COLLAPSED`, and `breadth`."""
    return breadth(logits.argmax(1)) - 1 < COLLAPSED * (breadth_of_labels - 1)


def breadth(classes: Tensor) -> float:
    """The effective number of classes among class numbers: exp of the entropy of their shares (Hill 1973, order 1)."""
    shares = classes.bincount().double() / len(classes)
    return float(torch.special.entr(shares).sum().exp())


def _breadth_of_labels(run: Run) -> float | None:
    """Of the labels that training sees; None where an example is not of one class."""
    labels = [domain.labels for domain in run.domains if domain.labels is not None]
    if run.classes is None or not all(map(one_class_each, labels)):
        return None
    return breadth(torch.cat(labels))


def _labelled(domain: Domain) -> bool:
    return domain.labels is not None


def _part(domain: Domain, rows: int) -> tuple[Tensor, Domain]:
    """Some examples of a domain in a random order, always the same, and their positions in it."""
    picked = permutation(len(domain), "selection", domain.key)[:rows]
    return picked, domain.part(picked)


def _with_next(given: Tensor, share: float) -> Tensor:
    """Every row by `share`, and the next by the rest of it; in whole numbers where inputs are."""
    mixed = share * given + (1 - share) * given.roll(-1, 0)
    return mixed if given.is_floating_point() else mixed.round().to(given.dtype)
