"""The training loop: it knows when adapters speak, never what they say."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tlhub import oracle
from tlhub.adapter import looks_at_target
from tlhub.backbone import Preprocess
from tlhub.checkpoint import Checkpoints, State
from tlhub.data import NO_LABEL, Domain
from tlhub.errors import DataError, TrainingError, UserError
from tlhub.loader import Batch, Loader, fits, ordered, read_ahead, store
from tlhub.measure import to_device
from tlhub.model import Seen, batch_norms, normalisation
from tlhub.monitor import Monitor
from tlhub.ragged import Ragged, padded
from tlhub.randomness import seed_all
from tlhub.run import Run
from tlhub.selection import Selection, check_validator
from tlhub.step import Step, View, rows_of
from tlhub.watch import Watch

SHOW_SECONDS = 0.5
"""How often the screen hears of the loss; on a GPU this is also how often the program waits for it."""

TELL_READING = 5_000
"""From so many examples on, the screen hears that they are read before training."""

CHECKPOINT_SECONDS = 30.0
"""Without `checkpoint_every`, a checkpoint is written at the end of an epoch when the last one is older than this."""

_TINY = 1e-12  # in the place of a gradient of 0

LONG_SECONDS = 300.0
"""Without `checkpoint_every`, a checkpoint is written within an epoch too when the last one is older than this."""


MEASURED = 5
"""In one step of so many, adapters tell what they measure: the history has means, which need no more."""

COMPARED = 25
"""In one step of so many, at most, the gradients of the loss terms are compared: each costs a backward pass."""


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked
    """Training was interrupted by a signal, after a checkpoint was written."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by signal {signum}")
        self.signum = signum


def check(run: Run, watch: Watch) -> None:
    """Raise what would stop the run later, so that nothing, not even a baseline, is trained in vain.

    That is a UserError where the settings of training do not fit the model, and a DataError naming an example that
    cannot be read: training would meet it only when its turn comes. What fits in memory is preprocessed for training
    on the way; of a larger or augmented domain, the first 20,000 examples are read.
    """
    make_optimizer(run)
    refuse_inexact(run)
    check_validator(run)
    if run.model.taps:
        _try_layers(run)
    _note_idle(run, watch)
    way, preprocess = _way(run)
    unread = [*{"features": run.targets, "inputs": [], "stream": run.domains}[way], *run.held_out]
    if way == "inputs" or (run.model.backbone.ragged and fits(run.domains, run.model.backbone, preprocess)):
        for domain in run.domains:
            stored = store(domain, run.model.backbone, preprocess, run.workers)
            if isinstance(stored, Ragged) and stored.remark:
                watch.note(f"`{domain.key}`: {stored.remark}")
        unread = run.held_out
    if sum(map(len, unread)) >= TELL_READING:
        watch.note("every example is read once before training, so that a damaged one is found now")
    for domain in unread:  # of stored features, the sources' are not: computing them comes first in training
        read_ahead(domain, run.workers)


def _try_layers(run: Run) -> None:
    """One example through the model, so that a layer that cannot be read is told before training."""
    preprocess, model = run.model.backbone.preprocess(train=False), run.model.eval()
    with torch.inference_mode():
        model.see(to_device(model.backbone.collate([preprocess(run.domains[0].raw(0))]), run.device))


def _note_idle(run: Run, watch: Watch) -> None:
    """Say so where adapters look at the target for the features' sake, and nothing below the head can move."""
    below = [*run.model.backbone.parameters(), *run.model.neck.parameters()]
    looking = [f"`{name}`" for name, adapter in run.penalised.items() if looks_at_target(adapter.needs)]
    if looking and not any(parameter.requires_grad for parameter in below):
        mend = "freeze less, or add `head_swap` with a `bottleneck`"
        watch.note(f"no parameter below the head learns, so {', '.join(looking)} can change nothing there: {mend}")


def train(
    run: Run, checkpoints: Checkpoints, watch: Watch, title: str = "training", epochs: Path | None = None
) -> list[dict[str, Any]]:
    """Train `run` from its newest checkpoint, or from the start; returns the history, a row an epoch.

    The model of every epoch of the last round is kept in the folder `epochs`, where one is named.

    Raises TrainingError where a loss term is not finite, and Interrupted after SIGINT or SIGTERM: the checkpoints
    then hold the state to continue from.
    """
    refuse_inexact(run)
    trainer = _Trainer(run, checkpoints, watch, epochs)
    trainer.restore()
    with _signals() as caught:
        try:
            trainer.train(caught, title)
        finally:
            watch.stopped()
    return trainer.history


class _Trainer:
    """One training's optimizer, batches and records."""

    def __init__(self, run: Run, checkpoints: Checkpoints, watch: Watch, kept: Path | None) -> None:
        self.run, self.checkpoints, self.watch, self.kept = run, checkpoints, watch, kept
        self.penalised = run.penalised
        self.pretraining = [adapter for adapter in run.adapters if adapter.pretrain_epochs]
        own = [adapter.name for adapter in self.pretraining if adapter.name not in self.penalised]
        self.terms = ["task", *self.penalised, *own, "gradient"]
        self.adapters = nn.ModuleList(run.adapters)
        self.superset: list[nn.Parameter]
        self.optimizer: torch.optim.Optimizer
        self.loader: Loader
        self.see: Callable[[Any], Seen]
        if self.epochs:
            self.loader, self.see = self._loader()  # before adapters freeze for a while what learns later
        self.history: list[dict[str, Any]] = []
        self.selection = Selection(run, watch)
        self.monitor = Monitor(run.catalog)
        self.in_round = False
        self.sums = torch.zeros(len(self.terms), device=run.device)
        self.measures: dict[str, Tensor] = {}  # sum and number of what was measured in this epoch
        self.bad = torch.zeros((), device=run.device)
        self.began = False  # whether start_epoch was called for the epoch that training stands in
        self.saved_at = self.shown_at = time.monotonic()

    def train(self, caught: Callable[[], int | None], title: str) -> None:
        run = self.run
        self.watch.started(title, run.steps, self._done())
        while run.round < run.rounds:
            if not self.in_round:
                self._begin_round()
            self._train_round(caught)
            if self.selection.best:
                run.model.load_state_dict(self.selection.best)
            if run.round >= 0:
                self._speak("end_round")
            run.round, run.epoch, run.step, self.began, self.in_round = run.round + 1, 0, 0, False, False
            for parameter in self.superset:
                parameter.requires_grad_(True)
        self._speak("finish")
        run.model.eval()

    @property
    def epochs(self) -> int:
        """Of this round."""
        return self.run.pretrain_epochs if self.run.round < 0 else self.run.epochs

    @property
    def compared(self) -> int:
        """In one step of so many, the gradients of the loss terms are compared: some twenty times in a long round."""
        return max(COMPARED, self.epochs * self.steps_per_epoch // 20)

    @property
    def steps_per_epoch(self) -> int:
        """Of this round."""
        run = self.run
        return run.pretrain_steps // run.pretrain_epochs if run.round < 0 else run.steps_per_epoch

    def _begin_round(self) -> None:
        """Let the adapters set up the round's learner, and make an optimizer of what learns then."""
        run = self.run
        if self.epochs and list(self.loader.domains) != self._domains():  # pretraining has its own, rounds the same
            self.loader, self.see = self._loader()
        if run.round >= 0:
            self._speak("start_round")
        run.model.to(run.device)
        self.adapters.to(run.device)
        self.superset = _learning(run)
        self.optimizer = make_optimizer(run)
        self.selection.begin()
        self.in_round = True

    def _train_round(self, caught: Callable[[], int | None]) -> None:
        run = self.run
        if not self.epochs:  # an adapter's own learner does the work, in `end_round`
            self._leave_if(caught())
            return
        parts = run.train.accumulate
        batches = self.loader.batches(run.step * parts)
        while run.epoch < self.epochs and not self._waited_enough():
            if not self.began:
                if run.round >= 0:
                    self._speak("start_epoch")
                self.sums.zero_()
                self.measures.clear()
                self.began = True
                refuse_standstill(run, self.superset)
            started, first = time.monotonic(), run.step
            run.model.train()
            self.adapters.train()
            while run.step < (run.epoch + 1) * self.steps_per_epoch:
                self._step([self._next(batches) for _ in range(parts)])
                run.step += 1
                self._show()
                self._leave_if(caught())
                if self._due():
                    self._save()
                self.watch.step(self._done())
            self._end_epoch(time.monotonic() - started, run.step - first)
            self._leave_if(caught())

    def _next(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; where an example cannot be read, what was trained is saved first."""
        try:
            return next(batches)
        except DataError as error:
            self._save()
            error.hint = f"{error.hint or 'mend it'}; what was trained is kept: go on with --resume"
            raise

    def _leave_if(self, signum: int | None) -> None:
        if signum is not None:
            self._save()
            raise Interrupted(signum)

    def _due(self) -> bool:
        """Whether it is time for a checkpoint in the middle of an epoch."""
        every = self.run.train.checkpoint_every
        if every:
            return self.run.step % every == 0
        return time.monotonic() - self.saved_at > LONG_SECONDS

    def _step(self, batches: list[Batch]) -> None:
        """One update from the batches' mean loss; several only where the loss is additive."""
        run = self.run
        set_learning_rate(self.optimizer, run, run.step / (self.epochs * self.steps_per_epoch))
        self.optimizer.zero_grad(set_to_none=True)
        terms = torch.zeros(len(self.terms) - 1, device=run.device)
        for number, batch in enumerate(batches):
            seed_all(run.seed, "step", run.round, run.step, number)
            losses = self._pretraining(batch) if run.round < 0 else self._losses(self._look(batch))
            if number == 0 and run.round >= 0 and run.step % self.compared == self.compared // 2:
                self._compare(losses)
            loss = torch.stack([term for term in losses.values() if term.requires_grad]).sum() / len(batches)
            torch.autograd.backward(loss)
            known = [losses.get(name, terms.new_zeros(())) for name in self.terms[:-1]]
            terms += torch.stack([term.detach().float() for term in known]) / len(batches)
        norm = self._gradient_norm()
        terms = torch.cat([terms, norm.detach().reshape(1)])
        self.sums += terms
        self.bad = torch.maximum(self.bad, (~torch.isfinite(terms)).any().float())
        if run.device.type == "cuda":
            self.optimizer.found_inf = self.bad  # type: ignore[attr-defined]  # the fused update is skipped on the device
        else:
            self._stop_if_not_finite()
        self.optimizer.step()

    def _compare(self, losses: Mapping[str, Tensor]) -> None:
        """Measure how strongly every penalty pulls at the model, as a share of the task, and how far they agree."""
        learning = [parameter for parameter in self.run.model.parameters() if parameter.requires_grad]
        terms = {name: term for name, term in losses.items() if term.requires_grad}
        if len(terms) < 2 or "task" not in terms or not learning:
            return

        def gradients(name: str) -> list[Tensor]:
            return list(
                torch.autograd.grad(terms[name], learning, retain_graph=True, allow_unused=True, materialize_grads=True)
            )

        task = gradients("task")
        size = nn.utils.get_total_norm(task).clamp(min=_TINY)
        for name in (name for name in terms if name != "task"):
            other = gradients(name)
            pull = nn.utils.get_total_norm(other)
            along = torch.stack([(one * two).sum() for one, two in zip(task, other, strict=True)]).sum()
            self._measure(f"{name}.pull", pull / size)
            self._measure(f"{name}.agreement", along / (size * pull.clamp(min=_TINY)))

    def _measure(self, name: str, value: Tensor) -> None:
        added = torch.stack([value, torch.ones_like(value)])
        self.measures[name] = self.measures[name] + added if name in self.measures else added

    def _gradient_norm(self) -> Tensor:
        """The norm of the whole gradient, which is then clipped where that was asked for."""
        if self.run.train.clip:
            return nn.utils.clip_grad_norm_(self.superset, self.run.train.clip, error_if_nonfinite=False)
        gradients = [parameter.grad for parameter in self.superset if parameter.grad is not None]
        return nn.utils.get_total_norm(gradients, error_if_nonfinite=False)

    def _look(self, batch: Batch) -> Step:
        """One joint forward pass of all domains."""
        run = self.run
        kind = run.device.type
        roles = [len(run.sources) * self.loader.rows, len(run.targets) * self.loader.rows]
        with (
            torch.autocast(kind, dtype=torch.bfloat16, enabled=half_precision(run)),
            normalisation(run.train.batch_norm, [rows for rows in roles if rows]),
        ):
            inputs = to_device(batch.inputs, run.device)
            seen = self.see(inputs)
        return self._views(batch, inputs, seen)

    def _views(self, batch: Batch, inputs: Any, seen: Seen) -> Step:
        """What adapters see of a step."""
        run = self.run
        features, logits = seen.features.float(), seen.logits.float()
        views, first = [], 0
        for domain, indices in zip(self.loader.domains, batch.indices, strict=True):
            rows = slice(first, first + len(indices))
            labels = None if domain.labels is None else domain.labels[indices].to(run.device, non_blocking=True)
            views.append(
                View(
                    role=domain.role,
                    domains=(domain,),
                    indices=indices.to(run.device, non_blocking=True),
                    inputs=rows_of(inputs, rows),
                    labels=labels,
                    features=features[rows],
                    logits=logits[rows],
                    tapped=_rows_of(seen, rows),
                )
            )
            first = rows.stop
        measured: dict[str, Tensor] | None = {} if run.step % MEASURED == MEASURED // 2 else None
        return Step(views, run.step / (self.epochs * self.steps_per_epoch), run.step, run.model, measured)

    def _pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of the training before training: every adapter's own, of target examples."""
        run = self.run
        inputs = to_device(batch.inputs, run.device)
        nothing = torch.zeros(sum(map(len, batch.indices)), 0, device=run.device)
        step = self._views(batch, inputs, Seen(nothing, nothing, {}))
        with torch.autocast(run.device.type, torch.bfloat16, half_precision(run)):
            return {a.name: a.pretrain(step) for a in self.pretraining if run.epoch < a.pretrain_epochs}

    def _losses(self, step: Step) -> dict[str, Tensor]:
        """Every term of the loss by name."""
        labelled = [view for view in step.views if view.labels is not None]
        logits = torch.cat([view.logits for view in labelled])
        labels = padded([view.labels for view in labelled if view.labels is not None], NO_LABEL)
        losses = self.run.task.loss(logits, labels)
        for adapter in self.run.adapters:
            weights = [adapter.weights(view) for view in labelled]
            if any(weight is not None for weight in weights):
                ones = [torch.ones(len(view), device=losses.device) for view in labelled]
                pairs = zip(weights, ones, strict=True)
                losses = losses * torch.cat([one if weight is None else weight for weight, one in pairs])
        terms = {"task": losses.mean()}
        for name, adapter in self.penalised.items():
            penalty = adapter.penalty(step)
            if penalty is not None:
                terms[name] = penalty
            for measure, value in (step.measured or {}).items():
                self._measure(f"{name}.{measure}", value)
            if step.measured is not None:
                step.measured.clear()  # of the next adapter's
        return terms

    def _stop_if_not_finite(self) -> None:
        """Raise TrainingError, before the optimizer steps, naming the terms that are not finite."""
        if not self.bad.item():
            return
        sums = self.sums.tolist()
        names = [f"`{name}`" for name, total in zip(self.terms, sums, strict=True) if not math.isfinite(total)]
        named = [name for name in names if name != "`gradient`"] or names
        hint = "lower the learning rate, set `clip: 1.0` under `train`, or lower the term's strength"
        if self.checkpoints.latest()[0] is not None:
            hint += "; the last checkpoint is from before"
        raise TrainingError(f"the loss term {' and '.join(named)} is not finite in step {self._done() + 1}", hint)

    def _end_epoch(self, seconds: float, steps: int) -> None:
        run = self.run
        self._stop_if_not_finite()
        means = self._means()
        row: dict[str, Any] = {"round": run.round, "epoch": run.epoch, "step": run.step, "loss": means}
        if self.measures:
            row["measures"] = self._measured()
        row["examples_per_second"] = round(steps * self._rows_per_step() / max(seconds, 1e-9), 1)
        if run.validator is not None and run.round >= 0:
            row |= self.selection.consider()
        self.history.append(row)
        if self.kept is not None and run.round == run.rounds - 1:
            oracle.keep(run.model, self.kept, run.epoch)
        self.watch.epoch(row)
        for finding in self.monitor.hear(self.history):
            self.watch.note(str(finding))
        run.epoch += 1
        self.began = False
        overdue = time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
        if overdue and not run.train.checkpoint_every:
            self._save()

    def _waited_enough(self) -> bool:
        patience = self.run.train.patience
        return patience is not None and self.selection.waited >= patience

    def _show(self) -> None:
        if time.monotonic() - self.shown_at < SHOW_SECONDS:
            return
        self._stop_if_not_finite()
        self.shown_at = time.monotonic()
        self.watch.progress(self._done(), self._rows_per_step(), self._means())

    def _done(self) -> int:
        """Steps done in all rounds."""
        run = self.run
        before = run.pretrain_steps + run.round * run.epochs * run.steps_per_epoch if run.round >= 0 else 0
        return before + run.step

    def _means(self) -> dict[str, float]:
        """The mean of every term over the steps of this epoch."""
        done = self.run.step - self.run.epoch * self.steps_per_epoch
        sums = (self.sums / max(1, done)).tolist()
        return dict(zip(self.terms, sums, strict=True))

    def _measured(self) -> dict[str, dict[str, float]]:
        """By term, the means of what was measured in this epoch."""
        found: dict[str, dict[str, float]] = {}
        for name in sorted(self.measures):
            term, _, measure = name.rpartition(".")
            total, number = self.measures[name].tolist()
            found.setdefault(term, {})[measure] = total / number
        return found

    def _rows_per_step(self) -> int:
        return self.run.train.batch * len(self.loader.domains)

    def _speak(self, moment: str) -> None:
        """Give every adapter the word, each with randomness of its own."""
        for number, adapter in enumerate(self.run.adapters):
            seed_all(self.run.seed, moment, number, self.run.round, self.run.epoch)
            getattr(adapter, moment)(self.run)

    def _loader(self) -> tuple[Loader, Callable[[Any], Seen]]:
        """Batches of stored features where the backbone cannot change, of stored inputs where they fit, or a stream."""
        run = self.run
        domains = self._domains()
        backbone, rows = run.model.backbone, run.train.batch // run.train.accumulate
        way, preprocess = _way(run)
        if way == "features":
            backbone.eval()
            features = [self._features(domain, preprocess) for domain in domains]
            run.features = {domain.key: each for domain, each in zip(domains, features, strict=True)}
            return Loader(domains, rows, run.seed, run.device, features), run.model.see_features
        if way == "inputs":
            stored = [store(domain, backbone, preprocess, run.workers) for domain in domains]
            return Loader(domains, rows, run.seed, run.device, stored), run.model.see
        streamed = Loader(domains, rows, run.seed, run.device, None, backbone, preprocess, run.workers)
        return streamed, run.model.see

    def _domains(self) -> list[Domain]:
        """Whose examples this round's batches are of."""
        return self.run.targets if self.run.round < 0 else self.run.domains

    def _features(self, domain: Domain, preprocess: Preprocess) -> Tensor:
        """`[examples, width]` of a frozen backbone, computed in the first round."""
        run = self.run
        if domain.key in run.features:
            return run.features[domain.key]
        rows, features = [], []
        with torch.inference_mode(), torch.autocast(run.device.type, torch.bfloat16, half_precision(run)):
            for index, inputs in ordered(domain, run.model.backbone, preprocess, run.workers):
                rows.append(index)
                features.append(run.model.backbone(to_device(inputs, run.device)).float())
            there = torch.cat(rows).argsort().to(run.device)
        return torch.cat(features)[there].clone()  # out of inference mode, so that autograd may keep them

    def _save(self) -> None:
        """Write a checkpoint of this very step."""
        self._stop_if_not_finite()
        run = self.run
        tensors = {f"model.{name}": value for name, value in run.model.state_dict().items()}
        tensors |= {f"adapters.{name}": value for name, value in self.adapters.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.selection.best.items()}
        tensors |= {"sums": self.sums, **{f"measures.{name}": value for name, value in self.measures.items()}}
        for number, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items() if value is not None}
        facts = {
            "manifest": run.decisive(),
            "data": run.data_identity(),
            "round": run.round,
            "epoch": run.epoch,
            "step": run.step,
            "began": self.began,
            "history": self.history,
            "selection": self.selection.facts(),
            "learning": [parameter.requires_grad for parameter in self.superset],
        }
        copies = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
        self.checkpoints.save(self._done(), State(copies, facts))
        self.saved_at = time.monotonic()

    def restore(self) -> None:
        """Continue from the newest checkpoint, if any. Raises TrainingError where it is of another manifest."""
        state, damaged = self.checkpoints.latest()
        for sentence in damaged:
            self.watch.note(sentence)
        if state is None:
            return
        run, facts = self.run, state.facts
        hint = "continue with what they were made from, or start anew without --resume in another folder"
        if facts["manifest"] != run.decisive():
            raise TrainingError(f"the checkpoints in {self.checkpoints.folder} are of a different manifest", hint)
        data = run.data_identity()
        changed = [f"`{key}`" for key in data if facts["data"].get(key) != data[key]]
        if changed:
            message = f"the data of {', '.join(changed)} changed since the checkpoints in {self.checkpoints.folder}"
            raise TrainingError(message, hint)
        run.round, run.epoch, run.step, self.began = (facts[key] for key in ("round", "epoch", "step", "began"))
        self._begin_round()  # builds what the state belongs to; all its values come from the checkpoint
        self.history = list(facts["history"])
        run.model.load_state_dict(_under("model.", state.tensors))
        self.adapters.load_state_dict(_under("adapters.", state.tensors))
        best = {name: value.to(run.device) for name, value in _under("best.", state.tensors).items()}
        self.selection.restore(best, facts["selection"])
        self.sums.copy_(state.tensors["sums"])
        measures = _under("measures.", state.tensors)
        self.measures = {name: value.to(run.device) for name, value in measures.items()}
        for parameter, learns in zip(self.superset, facts["learning"], strict=True):
            parameter.requires_grad_(learns)
        self._restore_optimizer(_under("optimizer.", state.tensors))

    def _restore_optimizer(self, tensors: Mapping[str, Tensor]) -> None:
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, name = key.split(".", 1)
            like = parameters[int(number)]
            if value.shape == like.shape:  # in the parameter's memory order, which fused updates rely on
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(number), {})[name] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": state, "param_groups": whole["param_groups"]})


def _way(run: Run) -> tuple[Literal["features", "inputs", "stream"], Preprocess]:
    """Whether features or inputs are computed once and stored, or a stream of inputs is; and how inputs are made."""
    fixed = not run.model.backbone_learns
    preprocess = run.model.backbone.preprocess(train=not fixed)  # a frozen one sees examples unaugmented, so only once
    reading = run.task.per_word or run.pretrain_epochs or any(adapter.needs_inputs for adapter in run.adapters)
    if fixed and not preprocess.random and not run.model.taps and not reading:
        return "features", preprocess
    return "inputs" if fits(run.domains, run.model.backbone, preprocess) else "stream", preprocess


def make_optimizer(run: Run) -> torch.optim.Optimizer:
    """One optimizer over whatever learns: the model, and what adapters assigned to themselves.

    The backbone's stages learn at `train.backbone_lr` of the learning rate; biases and normalisation are not decayed.
    """
    fractions = run.train.backbone_lr
    if isinstance(fractions, list) and len(fractions) != len(run.stages):
        raise UserError(
            f"`train.backbone_lr` lists {len(fractions)} fractions; the backbone has {len(run.stages)} stages",
            "give one number for all stages, or one per stage from input to output",
        )
    scale: dict[int, float] = {}
    for number, stage in enumerate(run.stages):
        fraction = fractions[number] if isinstance(fractions, list) else fractions
        scale |= {id(parameter): fraction for parameter in stage}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in _learning(run):
        factor = scale.get(id(parameter), 1.0) * run.lr_scales.get(parameter, 1.0)
        decays = parameter.ndim > 1 and parameter not in run.undecayed
        decay = run.train.weight_decay if decays else 0.0
        groups.setdefault((factor, decay), []).append(parameter)
    listed = [
        {"params": parameters, "lr": run.train.lr * factor, "factor": factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]
    fused = run.device.type in ("cuda", "cpu")  # all parameters in one pass over memory
    if run.train.optimizer == "sgd":
        momentum = run.train.momentum
        sgd = torch.optim.SGD(listed, lr=run.train.lr, momentum=momentum, nesterov=momentum > 0, fused=fused)
        if momentum:
            for parameter in (parameter for group in sgd.param_groups for parameter in group["params"]):
                # zero is what the first step takes it for; the fused update fails where some have one and others not
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(listed, lr=run.train.lr, fused=fused)


def schedule(kind: str, progress: float) -> float:
    """The learning rate as a share of its start.

    `dann` is (1 + 10 p)^-0.75 (Ganin et al. 2016, section 5.2.2), `cosine` is (1 + cos(pi p)) / 2, `constant` is 1.
    """
    if kind == "dann":
        return float((1 + 10 * progress) ** -0.75)
    return (1 + math.cos(math.pi * progress)) / 2 if kind == "cosine" else 1.0


def set_learning_rate(optimizer: torch.optim.Optimizer, run: Run, progress: float) -> None:
    """Set every group's learning rate for the coming step: schedule, warm-up, and the group's own factor."""
    warm = min(1.0, (run.step + 1) / run.train.warmup) if run.train.warmup else 1.0
    rate = run.train.lr * schedule(run.train.schedule, progress) * warm
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def refuse_inexact(run: Run) -> None:
    """Raise UserError where `accumulate` would train something else than the whole batch would."""
    parts = run.train.accumulate
    run.model.train()
    norms = batch_norms(run.model)
    if norms and run.train.batch == 1:
        raise UserError(f"a batch of one cannot be normalised by `{norms[0]}`", "raise `batch` under `train`")
    if parts == 1:
        return
    if run.train.batch % parts:
        raise UserError(f"`accumulate: {parts}` does not divide `batch: {run.train.batch}`", "choose a divisor")
    if run.task.per_word:
        raise UserError(
            "`accumulate` would weigh words unevenly: the parts of a batch have different numbers of them",
            "remove `accumulate`, or lower `batch`",
        )
    joint = [adapter.name for adapter in run.penalised.values() if not adapter.additive]
    if joint:
        raise UserError(
            f"`accumulate` would change what `{joint[0]}` computes: its term for a batch is not the mean of its parts'",
            "remove `accumulate`, or lower `batch`",
        )
    if norms:
        raise UserError(
            f"`accumulate` would change batch normalisation (`{norms[0]}`): its statistics are the whole batch's",
            "remove `accumulate`, or freeze those layers with `partial_freeze`",
        )


def refuse_standstill(run: Run, parameters: Sequence[nn.Parameter]) -> None:
    """Raise UserError where nothing learns in the coming epoch."""
    if not any(parameter.requires_grad for parameter in parameters):
        names = ", ".join(f"`{adapter.name}`" for adapter in run.adapters)
        raise UserError(f"nothing is left to learn in epoch {run.epoch + 1}: {names} froze it all", "freeze less")


def half_precision(run: Run) -> bool:
    """Whether the forward pass runs in bf16: as asked, or where the hardware computes in it."""
    if run.train.precision != "auto":
        return run.train.precision == "bf16"
    return run.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _learning(run: Run) -> list[nn.Parameter]:
    modules: list[nn.Module] = [run.model, *run.adapters]
    found = {id(p): p for module in modules for p in module.parameters() if p.requires_grad}
    return list(found.values())


def _rows_of(seen: Seen, rows: slice) -> Callable[[str], Tensor]:
    return lambda name: seen.layers[name][rows].float()


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


@contextmanager
def _signals() -> Iterator[Callable[[], int | None]]:
    """Note SIGINT and SIGTERM instead of dying in the middle of a step; a second one ends the program at once."""
    caught: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)
        signal.signal(signum, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals reach the main thread alone
        return
    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: caught[0] if caught else None
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
