"""Every component that plugins offer, by kind and name."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import pluggy

from tlhub import hookspecs
from tlhub.diagnostics import closest, listed, quoted
from tlhub.errors import UserError
from tlhub.settings import create, model

Kind = Literal["backbones", "adapters", "datasets", "tasks", "heads", "validators", "scores", "symptoms", "stores"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_BASES: dict[Kind, tuple[str, str]] = {
    "backbones": ("tlhub.backbone", "Backbone"),
    "adapters": ("tlhub.adapter", "Adapter"),
    "datasets": ("tlhub.data", "Dataset"),
    "tasks": ("tlhub.task", "Task"),
    "heads": ("tlhub.head", "Head"),
    "validators": ("tlhub.validator", "Validator"),
    "scores": ("tlhub.score", "TransferScore"),
    "symptoms": ("tlhub.symptom", "Symptom"),
    "stores": ("tlhub.store", "Store"),
}
_TAKEN = {"use", "name", "settings", "spec"}  # keys and attributes that mean the same in every component
_TAKEN_OF_DATASETS = {"labels", "split", "classes", "test_ratio", "split_seed"}  # keys that the core reads


@dataclass(frozen=True)
class Entry:
    """A component and who offers it; `distribution` and `version` are None for a plugin that is not installed."""

    cls: type[Any]
    kind: Kind
    name: str
    plugin: str
    distribution: str | None
    version: str | None


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that is set aside: everything else works without it."""

    name: str
    distribution: str | None
    version: str | None
    reason: str


class Catalog:
    """The components of some plugins.

    Attributes:
        broken: the plugins that are set aside, each with the reason.
    """

    def __init__(self, plugins: Mapping[str, object]) -> None:
        self.broken: list[BrokenPlugin] = []
        self._entries: list[Entry] = []
        for name, plugin in plugins.items():
            self.add(name, plugin)

    @classmethod
    def installed(cls) -> Self:
        """The components of the plugins that installed distributions register under the entry-point group `tlhub`."""
        catalog = cls({})
        points = importlib.metadata.entry_points(group="tlhub")
        # asked once for each: a distribution reads its metadata anew every time
        known = {dist: (dist.name, dist.version) for dist in {point.dist for point in points if point.dist}}
        providers: dict[str, str] = {}
        for point in sorted(points, key=lambda point: (point.name, known[point.dist][0] if point.dist else "")):
            distribution, version = known[point.dist] if point.dist else (None, None)
            if point.name in providers:
                reason = f"{providers[point.name]} already has a plugin of this name"
                catalog.broken.append(BrokenPlugin(point.name, distribution, version, reason))
            else:
                providers[point.name] = distribution or point.value
                catalog._add(point.name, distribution, version, point.load)
        return catalog

    def add(self, name: str, plugin: object) -> None:
        """Take in one more plugin; set it aside where something is wrong in it."""
        self._add(name, None, None, lambda: plugin)

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """The components of one kind or of all, by kind and name."""
        found = [entry for entry in self._entries if kind in (None, entry.kind)]
        return sorted(found, key=lambda entry: (KINDS.index(entry.kind), entry.name, entry.plugin))

    def find(self, kind: Kind, use: str) -> Entry:
        """The component that a manifest means by `use`: a name, or `plugin/name` where two plugins offer that name.

        Raises UserError where there is none, or more than one.
        """
        plugin, slash, name = use.rpartition("/")
        named = [entry for entry in self._entries if entry.name == name and (not slash or entry.plugin == plugin)]
        found = [entry for entry in named if entry.kind == kind]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{quoted(use)} is offered by {len(found)} plugins: {', '.join(_provider(entry) for entry in found)}",
                f"say which one: {listed((f'use: {entry.plugin}/{entry.name}' for entry in found), 'or')}",
            )
        for broken in self.broken:
            if broken.name == (plugin if slash else use):
                raise UserError(
                    f"the plugin {quoted(broken.name)} was set aside: {broken.reason}", "mend, update or uninstall it"
                )
        if named:
            kinds = " and ".join(dict.fromkeys(_a(entry.kind) for entry in named))
            raise UserError(f"{quoted(use)} is {kinds}, not {_a(kind)}", self._suggestion(kind, use))
        raise UserError(f"there is no {_one(kind)} {quoted(use)}", self._suggestion(kind, use))

    def create(self, kind: Kind, use: str, settings: Mapping[str, Any]) -> Any:
        """A component with these settings. Raises UserError where there is none, or the settings do not fit it."""
        return create(self.find(kind, use).cls, settings)

    def _suggestion(self, kind: Kind, use: str) -> str:
        entries = self.entries(kind)
        names = [entry.name for entry in entries]
        options = [f"{entry.plugin}/{entry.name}" for entry in entries] if "/" in use else names
        near = closest(use, options) or closest(use.rpartition("/")[2], names)
        if near:
            return f"did you mean {quoted(near)}?"
        if self.broken:
            broken = listed(plugin.name for plugin in self.broken)
            return f"the plugin {broken} could not be loaded and may offer it: see `tlhub plugins`"
        return f"known are {listed(dict.fromkeys(names))}" if names else f"no plugin offers any {_one(kind)}"

    def _add(self, name: str, distribution: str | None, version: str | None, load: Callable[[], object]) -> None:
        """Ask one plugin what it offers; set it aside whatever goes wrong in it."""
        try:
            offered = _offered(name, load())
        except (Exception, SystemExit) as error:
            reason = str(error) if isinstance(error, _RefusedError) else f"{type(error).__name__}: {error}"
            self.broken.append(BrokenPlugin(name, distribution, version, reason))
        else:
            self._entries += [Entry(cls, kind, cls.name, name, distribution, version) for kind, cls in offered]


class _RefusedError(Exception):
    """Why what a plugin offers is refused."""


def _offered(name: str, plugin: object) -> list[tuple[Kind, type[Any]]]:
    """What one plugin offers. It has a manager of its own, so that it can do nothing to the others."""
    manager = pluggy.PluginManager("tlhub")
    manager.add_hookspecs(hookspecs)
    manager.register(plugin, name)
    unknown = [hook.name for hook in vars(manager.hook).values() if not hook.spec]
    hooks = [hook for kind in KINDS if (hook := getattr(manager.hook, f"tlhub_{kind}")).get_hookimpls()]
    if unknown:
        near = closest(unknown[0], (f"tlhub_{kind}" for kind in KINDS))
        raise _RefusedError(f"there is no hook {quoted(unknown[0])}" + (f", did you mean `{near}`?" if near else ""))
    if not hooks:
        raise _RefusedError("it implements no hook of tlhub")
    offered: list[tuple[Kind, type[Any]]] = []
    for kind in KINDS:
        hook = getattr(manager.hook, f"tlhub_{kind}")
        if hook not in hooks:
            continue
        classes = (hook() or [None])[0]  # pluggy leaves out what returns None
        if not isinstance(classes, list):
            raise _RefusedError(f"{hook.name} returned {quoted(repr(classes))} instead of a list of classes")
        for cls in classes:
            _check(kind, cls)
            if any((kind, cls.name) == (other, each.name) for other, each in offered):
                raise _RefusedError(f"it offers two {kind} with the name {quoted(cls.name)}")
            offered.append((kind, cls))
    return offered


def _check(kind: Kind, cls: Any) -> None:
    """Raise where a class cannot be a component of this kind."""
    module, base_name = _BASES[kind]
    base = getattr(importlib.import_module(module), base_name)
    if not isinstance(cls, type) or not issubclass(cls, base):
        what = quoted(getattr(cls, "__name__", repr(cls)))
        raise _RefusedError(f"{what} is offered as {_a(kind)} but is no subclass of {base_name}")
    if inspect.isabstract(cls):
        raise _RefusedError(f"{cls.__name__} does not implement {listed(sorted(vars(cls)['__abstractmethods__']))}")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not name or "/" in name or name.split() != [name]:
        raise _RefusedError(f"{cls.__name__} has no usable `name`: it is {quoted(repr(name))}")
    try:
        settings = [field.alias for field in model(cls).model_fields.values()]
    except TypeError as error:
        raise _RefusedError(str(error)) from error
    nn = sys.modules.get("torch.nn")
    for setting in filter(None, settings):
        if setting in _TAKEN or (kind == "datasets" and setting in _TAKEN_OF_DATASETS):
            raise _RefusedError(f"{cls.__name__} calls a setting `{setting}`, which is taken in every {_one(kind)}")
        if nn and issubclass(cls, nn.Module) and (hasattr(nn.Module, setting) or setting in nn.Module.__annotations__):
            raise _RefusedError(
                f"{cls.__name__} calls a setting `{setting}`, which shadows a member of torch.nn.Module"
            )


def _provider(entry: Entry) -> str:
    return quoted(entry.plugin) + (f" ({entry.distribution} {entry.version})" if entry.distribution else "")


def _one(kind: Kind) -> str:
    return "data set" if kind == "datasets" else kind.removesuffix("s")


def _a(kind: Kind) -> str:
    return f"an {_one(kind)}" if kind == "adapters" else f"a {_one(kind)}"
