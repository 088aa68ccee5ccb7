"""A manifest brought to life: data opened, model composed, adapters prepared."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from tlhub.adapter import Adapter, looks_at_target
from tlhub.backbone import Backbone
from tlhub.data import Dataset, Domain, Role, check_classes, check_split, mapped_names, open_domain
from tlhub.errors import DataError, UserError
from tlhub.head import Identity
from tlhub.loader import workers
from tlhub.measure import outputs
from tlhub.model import Model, memory_order
from tlhub.randomness import seed_all
from tlhub.task import Task
from tlhub.validator import Outputs, Validator

if TYPE_CHECKING:
    from tlhub.catalog import Catalog, Kind
    from tlhub.lineage import Origin
    from tlhub.manifest import Manifest
    from tlhub.parts import DomainPart, Part


@dataclass(frozen=True)
class Data:
    """The domains of a run that training may see, with the class names all labels count through."""

    sources: Sequence[Domain]
    targets: Sequence[Domain]
    classes: tuple[str, ...] | None
    task: Task


def parts(manifest: Manifest, role: Role) -> list[tuple[str, DomainPart]]:
    """The parts of a manifest in a role, each with its place: `source`, or `target.1` where there are several."""
    found: Sequence[DomainPart] = getattr(manifest, role)
    return [(role if len(found) == 1 else f"{role}.{number}", part) for number, part in enumerate(found)]


def open_role(manifest: Manifest, catalog: Catalog, role: Role) -> list[Domain]:
    """Open every domain of a role. Raises DataError."""
    return [
        open_domain(catalog.create("datasets", part.use, part.settings), part, key, role)
        for key, part in parts(manifest, role)
    ]


def needs_target(manifest: Manifest, catalog: Catalog) -> bool:
    """Whether training looks at the target at all: if not, it is never opened."""
    shown = any(part.labels != "none" for _, part in parts(manifest, "target"))
    looking = shown or len(source_only(manifest.adapters, "adapters", catalog)) < len(manifest.adapters)
    return looking or (manifest.select is not None and not source_only([manifest.select], "validators", catalog))


def source_only(listed: Sequence[Part], kind: Kind, catalog: Catalog) -> list[Part]:
    """The adapters, or validators, that need no target: what the source-only baseline keeps."""
    return [part for part in listed if not looks_at_target(catalog.find(kind, part.use).cls.needs)]


def open_data(manifest: Manifest, catalog: Catalog) -> Data:
    """Open what training may see, and match class lists by name, those of `evaluate` too.

    Raises DataError where a data set cannot be used, class lists differ, or there is less data than a batch. Of the
    `evaluate` part, whatever can be known without opening it is checked.
    """
    sources = open_role(manifest, catalog, "source")
    targets = open_role(manifest, catalog, "target") if needs_target(manifest, catalog) else []
    labelled = [domain for domain in [*sources, *targets] if domain.labels is not None]
    if not labelled:
        raise DataError("no domain has labels", "label the source, or write `labels: all` in the target")
    task = _task(manifest, catalog, labelled)
    sources = [with_targets(domain, task) for domain in sources]
    targets = [with_targets(domain, task) for domain in targets]
    first = next(domain for domain in [*sources, *targets] if domain.labels is not None)
    classes = first.classes
    if classes is not None:
        if len(classes) < 2 and not first.labels.is_floating_point():  # type: ignore[union-attr]
            raise DataError(f"`{labelled[0].key}` has one class only, {classes[0]!r}: there is nothing to tell apart")
        sources = [domain.matched(classes) for domain in sources]
        targets = [domain.matched(classes) for domain in targets]
    for key, part in parts(manifest, "evaluate"):
        dataset: Dataset = catalog.create("datasets", part.use, part.settings)
        check_split(dataset.splits(), part, key, "evaluate")
        names = dataset.class_names()  # those it declares; no example's label is read before training ends
        if names is not None and classes is not None:
            check_classes(key, mapped_names(names, part.classes or {}, key), classes)
    for domain in [*sources, *targets]:
        _check_size(domain, manifest.train.batch)
    return Data(sources, targets, classes, task)


def _task(manifest: Manifest, catalog: Catalog, labelled: Sequence[Domain]) -> Task:
    """The task the manifest names, or the one that fits the labels. Raises DataError where they are of many kinds."""
    task: Task
    if manifest.task is not None:
        task = catalog.create("tasks", manifest.task.use, manifest.task.settings)
        return task
    kinds = sorted({domain.examples.task for domain in labelled})
    if len(kinds) > 1:
        raise DataError(
            f"the labels of the domains are of different kinds: {', '.join(kinds)}", "say what is meant with `task:`"
        )
    task = catalog.create("tasks", kinds[0], {})
    return task


def with_targets(domain: Domain, task: Task) -> Domain:
    """The domain with its labels in the form the task learns from. Raises DataError where they cannot be."""
    if domain.labels is None:
        return domain
    try:
        labels, classes = task.targets(domain.labels, domain.classes)
    except DataError as error:
        raise DataError(f"`{domain.key}`: {error.message}", error.hint) from None
    return replace(domain, labels=labels, classes=classes)


def check_modality(manifest: Manifest, catalog: Catalog, backbone: Backbone) -> None:
    """Raise UserError where a data set or an adapter is not for what a backbone reads.

    The manifest's check says so before, where the class of the backbone tells what it reads.
    """
    for role in ("source", "target", "evaluate"):
        for key, part in parts(manifest, role):
            gives = catalog.create("datasets", part.use, part.settings).modality
            if gives != backbone.modality:
                raise UserError(
                    f"`{key}` gives {gives}, but the backbone is a `{backbone.name}`, which reads {backbone.modality}",
                    f"name a data set of {backbone.modality}, or another backbone",
                )
    for adapter in manifest.adapters:
        fits = catalog.find("adapters", adapter.use).cls.modalities
        if fits is not None and backbone.modality not in fits:
            raise UserError(
                f"`{adapter.use}` is for {' and '.join(sorted(fits))}, "
                f"but the backbone is a `{backbone.name}`, which reads {backbone.modality}",
                "remove it, or name another backbone",
            )


def check_words(task: Task, backbone: Backbone) -> None:
    """Raise UserError where a task answers every word, and a backbone sees an example as a whole, or the reverse."""
    for_words = backbone.word_settings
    sees_words = for_words is not None and for_words.items() <= backbone.settings.items()
    if task.per_word != sees_words:
        seen, answered = ("every word" if each else "an example as a whole" for each in (sees_words, task.per_word))
        raise UserError(
            f"the backbone is a `{backbone.name}` that sees {seen}, and `{task.name}` answers {answered}",
            "go on from a model of the same kind of task, or name the pretrained model that it began with",
        )


def _check_size(domain: Domain, batch: int, held_out: int = 0) -> None:
    """Raise a DataError where a domain cannot fill a batch."""
    if len(domain) < batch:
        without = f" besides the {held_out} held out for `select`" if held_out else ""
        mend = (
            f"set `batch: {len(domain)}` or less under `train`" if len(domain) else "add examples, or remove `select`"
        )
        raise DataError(f"`{domain.key}` has {len(domain)} examples{without}, fewer than one batch of {batch}", mend)


class Run:
    """One training: its data, model, adapters, and where it stands.

    Attributes:
        manifest: what was asked for; `train` holds the settings of training.
        sources, targets: the domains training sees; `held_out` are the parts of those with labels kept for `select`.
        classes: the class names, or None where the task has none.
        named: the backbone that the manifest names; it may only say where the model's own is found.
        model: backbone, neck and head; adapters may replace the neck and the head.
        lr_scales: by parameter, a factor for its learning rate that an adapter asks for in `prepare`.
        undecayed: parameters that an adapter asks in `prepare` not to be decayed, since it pulls them elsewhere.
        features: by domain, `[examples, width]` of a frozen backbone once training has computed them.
        workers: how many processes preprocess examples.
        round, epoch, step: where training stands; `step` counts the steps done in this round. Round -1 is the training
            by adapters' `pretrain`, where there is any.
        epochs, steps_per_epoch: how long a round is.
    """

    def __init__(self, manifest: Manifest, catalog: Catalog, data: Data, device: torch.device) -> None:
        self.manifest = manifest
        self.catalog = catalog
        self.device = device
        self.train = manifest.train
        self.seed = manifest.train.seed
        self.workers = workers(manifest.train.workers, device)
        self.classes = data.classes
        self.targets = list(data.targets)
        self.sources = list(data.sources)
        self.held_out: list[Domain] = []
        self.validator: Validator | None = None
        if manifest.select is not None:
            self.validator = catalog.create("validators", manifest.select.use, manifest.select.settings)
            for domains in (self.sources, self.targets):
                for number, domain in enumerate(domains):
                    if domain.labels is not None and domain.role in self.validator.holds_out:
                        domains[number], held = domain.hold_out(self.train.validation, self.seed)
                        _check_size(domains[number], self.train.batch, len(held))
                        self.held_out.append(held)
        self.task = data.task
        self.named = self._backbone()
        self.model = self._model(self.named.resolved())
        stages = self.model.backbone.stages()
        parameters = dict(self.model.backbone.named_parameters())
        self.stages: list[list[nn.Parameter]] = [[parameters[name] for name in stage] for stage in stages]
        self.lr_scales: dict[nn.Parameter, float] = {}
        self.undecayed: set[nn.Parameter] = set()
        self.features: dict[str, Tensor] = {}
        self.adapters: list[Adapter] = []
        for number, part in enumerate(manifest.adapters):
            seed_all(self.seed, "adapter", number)
            self.adapters.append(catalog.create("adapters", part.use, part.settings))
        self.rounds = max([1, *(adapter.rounds for adapter in self.adapters)])
        self.pretrain_epochs = max([0, *(adapter.pretrain_epochs for adapter in self.adapters)])
        self.epochs = self.train.epochs
        longest = max(len(domain) for domain in self.sources or self.targets)
        self.steps_per_epoch = self.train.steps_per_epoch or max(1, longest // self.train.batch)
        self.round = -1 if self.pretrain_epochs else 0
        self.epoch = self.step = 0
        for number, adapter in enumerate(self.adapters):
            seed_all(self.seed, "modify", number)
            adapter.modify(self)
        for number, adapter in enumerate(self.adapters):
            seed_all(self.seed, "prepare", number)
            adapter.prepare(self)
        for adapter in self.adapters:
            adapter.check(self)
        self.model.to(memory_format=memory_order(device))
        self.model.to(device)
        for adapter in self.adapters:
            adapter.to(device)

    @property
    def domains(self) -> list[Domain]:
        """The domains of a training step, in the order of their rows: sources, then targets."""
        return [*self.sources, *self.targets]

    def outputs(self, domain: Domain) -> Outputs:
        """What the model says now of every example of a domain, in evaluation mode; kept on the CPU.

        Features of a frozen backbone are not computed again.
        """
        return outputs(self.model, domain, self.device, self.workers, self.features.get(domain.key))

    @property
    def pretrain_steps(self) -> int:
        """How many steps the training by adapters' `pretrain` takes."""
        longest = max((len(domain) for domain in self.targets), default=0)
        return self.pretrain_epochs * max(1, longest // self.train.batch)

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return self.pretrain_steps + self.rounds * self.epochs * self.steps_per_epoch

    @property
    def penalised(self) -> dict[str, Adapter]:
        """The adapters that may add a term to the loss, by the term's name; the second `mmd` is `mmd#2`."""
        found: dict[str, Adapter] = {}
        for adapter in self.adapters:
            if type(adapter).penalty is not Adapter.penalty:
                before = sum(other.name == adapter.name for other in found.values())
                before += adapter.name in ("task", "gradient")  # these are terms of the loop's own
                found[f"{adapter.name}#{before + 1}" if before else adapter.name] = adapter
        return found

    def decisive(self) -> dict[str, Any]:
        """What the manifest says that training depends on: not its name, say, nor the number of workers."""
        unread = ("name", "evaluate", "baseline")
        said = {key: value for key, value in self.manifest.as_dict().items() if key not in unread}
        free = ("workers", "checkpoint_every")
        return {**said, "train": {key: value for key, value in said["train"].items() if key not in free}}

    def data_identity(self) -> dict[str, list[str]]:
        """By domain, what changes when its data, its rows, its labels or the classes do."""
        found = {}
        for domain in [*self.domains, *self.held_out]:
            labels = b"" if domain.labels is None else domain.labels.numpy().tobytes()
            rows = hashlib.sha256(domain.rows.numpy().tobytes() + b"/" + labels).hexdigest()
            found[domain.key] = [domain.examples.fingerprint, rows, *(self.classes or ())]
        return found

    def origins(self) -> list[Origin]:
        """The models that this one was made from."""
        return [*self.named.origins(), *(origin for adapter in self.adapters for origin in adapter.origins())]

    def facts(self) -> dict[str, Any]:
        """What was composed, for people and for the record."""
        parameters = list(self.model.parameters())
        return {
            "backbone": self.named.spec,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "trainable": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "classes": list(self.classes or ()),
            "examples": {domain.key: len(domain) for domain in [*self.domains, *self.held_out]},
            "adapters": [adapter.spec for adapter in self.adapters],
            "device": str(self.device),
            "hardware": hardware(self.device),
            "threads": torch.get_num_threads(),
            "epochs": self.epochs,
            "steps": self.steps,
        }

    def _backbone(self) -> Backbone:
        use, settings = self.manifest.backbone.use, self.manifest.backbone.settings
        if self.task.per_word:
            for_words = self.catalog.find("backbones", use).cls.word_settings
            if for_words is None:
                able = [f"`{e.name}`" for e in self.catalog.entries("backbones") if e.cls.word_settings is not None]
                raise UserError(
                    f"`{self.task.name}` answers every word, and the backbone `{use}` sees an example as a whole",
                    f"installed backbones that see words: {', '.join(able) or 'none'}",
                )
            settings = {**settings, **for_words}
        seed_all(self.seed, "backbone")
        backbone: Backbone = self.catalog.create("backbones", use, settings)
        return backbone

    def _model(self, backbone: Backbone) -> Model:
        if not self.named.modality:
            check_modality(self.manifest, self.catalog, backbone)
            check_words(self.task, backbone)
        seed_all(self.seed, "head")
        return Model(backbone, Identity(backbone.width), self.task.head(backbone.width, self.classes))


def hardware(device: torch.device) -> str:
    """What computes: the name of the GPU, or the processor's widest instructions. Rounding depends on it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def pick_device(name: str | None) -> torch.device:
    """The device by name, or the best there is. Raises UserError where it cannot be used."""
    if name is None or name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise RuntimeError("it holds no data")
    except (RuntimeError, AssertionError) as error:
        there = "cuda, cpu" if torch.cuda.is_available() else "cpu"
        reason = str(error).splitlines()[0]
        raise UserError(f"the device `{name}` cannot be used: {reason}", f"there is {there}") from None
    return device
