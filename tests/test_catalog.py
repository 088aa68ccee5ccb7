"""What plugins offer is found by name; a broken plugin hurts nothing."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.manifests import plugin
from tlhub import hookspecs
from tlhub.adapter import Adapter
from tlhub.catalog import KINDS, Catalog
from tlhub.errors import UserError
from tlhub.hookspecs import hookimpl


def offering(**hooks: Callable[[], Any]) -> types.SimpleNamespace:
    return types.SimpleNamespace(**{name: hookimpl(hook) for name, hook in hooks.items()})


def adapter(name: Any, init: Callable[..., None] | None = None) -> type[Adapter]:
    return type("Made", (Adapter,), {"name": name} | ({"__init__": init} if init else {}))


@pytest.fixture
def catalog() -> Catalog:
    return Catalog({"fake": plugin})


def test_components_are_found_by_kind_and_name(catalog: Catalog) -> None:
    entry = catalog.find("adapters", "align")
    assert (entry.cls, entry.kind, entry.name, entry.plugin) == (plugin.Align, "adapters", "align", "fake")
    assert (entry.distribution, entry.version) == (None, None)
    assert catalog.find("adapters", "fake/align") == entry
    assert catalog.broken == []


def test_entries_come_by_kind_and_name(catalog: Catalog) -> None:
    assert [entry.name for entry in catalog.entries("adapters")] == ["align", "boost", "freeze", "words"]
    kinds = [entry.kind for entry in catalog.entries()]
    assert kinds == sorted(kinds, key=KINDS.index)


def test_a_component_is_created_with_checked_settings(catalog: Catalog) -> None:
    assert catalog.create("datasets", "folder", {"path": "a"}).settings == {"path": Path("a")}
    with pytest.raises(UserError, match="unknown setting `pth` of `folder`"):
        catalog.create("datasets", "folder", {"pth": "a"})


@pytest.mark.parametrize(
    ("kind", "use", "message", "hint"),
    [
        ("adapters", "alignn", "there is no adapter `alignn`", "did you mean `align`?"),
        ("adapters", "fake/alignn", "there is no adapter `fake/alignn`", "did you mean `fake/align`?"),
        ("adapters", "fakes/align", "there is no adapter `fakes/align`", "did you mean `fake/align`?"),
        ("datasets", "align", "`align` is an adapter, not a data set", "known are `folder` and `table`"),
        ("heads", "linear", "there is no head `linear`", "no plugin offers any head"),
        ("adapters", "", "there is no adapter ``", "known are `align`, `boost`, `freeze` and `words`"),
    ],
)
def test_what_is_not_there(kind: Any, use: str, message: str, hint: str, catalog: Catalog) -> None:
    with pytest.raises(UserError) as raised:
        catalog.find(kind, use)
    assert (raised.value.message, raised.value.hint) == (message, hint)


def test_one_name_from_two_plugins_must_say_whose() -> None:
    both = Catalog({"fake": plugin, "other": offering(tlhub_adapters=lambda: [adapter("align")])})
    with pytest.raises(UserError) as raised:
        both.find("adapters", "align")
    assert raised.value.message == "`align` is offered by 2 plugins: `fake`, `other`"
    assert raised.value.hint == "say which one: `use: fake/align` or `use: other/align`"
    assert both.find("adapters", "fake/align").cls is plugin.Align
    assert both.find("adapters", "other/align").plugin == "other"


def no_type(self: Adapter, size=3) -> None:  # type: ignore[no-untyped-def]
    pass


def training(self: Adapter, training: bool = True) -> None:
    pass


def half(self: Adapter, half: bool = True) -> None:
    pass


def use(self: Adapter, use: str = "") -> None:
    pass


def raising() -> Any:
    raise RuntimeError("no luck")


def nothing() -> Any:
    return []


def leaving() -> Any:
    sys.exit("bye")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (offering(tlhub_adapters=raising), "RuntimeError: no luck"),
        (offering(tlhub_adapters=leaving), "SystemExit: bye"),
        (offering(tlhub_adapters=lambda: None), "tlhub_adapters returned `None` instead of a list of classes"),
        (offering(tlhub_adapters=lambda: {"align": 1}), "tlhub_adapters returned `{'align': 1}` instead of a list"),
        (offering(tlhub_adapters=lambda: [3]), "`3` is offered as an adapter but is no subclass of Adapter"),
        (offering(tlhub_adapters=lambda: [plugin.Net]), "`Net` is offered as an adapter but is no subclass of Adapter"),
        (offering(tlhub_adapters=lambda: [adapter(None)]), "Made has no usable `name`: it is `None`"),
        (offering(tlhub_adapters=lambda: [adapter("a/b")]), "Made has no usable `name`: it is `'a/b'`"),
        (offering(tlhub_adapters=lambda: [adapter("a"), adapter("a")]), "it offers two adapters with the name `a`"),
        (offering(tlhub_adapters=lambda: [adapter("a", no_type)]), "the setting size of Made has no type annotation"),
        (offering(tlhub_adapters=lambda: [adapter("a", training)]), "Made calls a setting `training`, which shadows"),
        (offering(tlhub_adapters=lambda: [adapter("a", half)]), "Made calls a setting `half`, which shadows"),
        (offering(tlhub_adapters=lambda: [adapter("a", use)]), "Made calls a setting `use`, which is taken"),
        (offering(tlhub_datasets=lambda: [plugin.Dataset]), "Dataset does not implement `open` and `splits`"),
        (offering(tlhub_adaptors=nothing), "there is no hook `tlhub_adaptors`, did you mean `tlhub_adapters`?"),
        (offering(), "it implements no hook of tlhub"),
    ],
)
def test_a_broken_plugin_is_set_aside_with_its_reason(broken: object, reason: str) -> None:
    catalog = Catalog({"bad": broken, "fake": plugin})
    (aside,) = catalog.broken
    assert aside.name == "bad"
    assert aside.reason.startswith(reason)
    assert catalog.entries() == Catalog({"fake": plugin}).entries()


def test_a_name_that_a_broken_plugin_may_have_offered() -> None:
    catalog = Catalog({"bad": offering(tlhub_adapters=raising)})
    with pytest.raises(UserError, match="the plugin `bad` was set aside: RuntimeError: no luck"):
        catalog.find("adapters", "bad")
    with pytest.raises(UserError, match="the plugin `bad` was set aside: RuntimeError: no luck"):
        catalog.find("adapters", "bad/align")
    with pytest.raises(UserError) as raised:
        catalog.find("adapters", "align")
    assert raised.value.hint == "the plugin `bad` could not be loaded and may offer it: see `tlhub plugins`"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, str], None]:
    """Installs a distribution of one plugin module: its name, the plugin's name, the module's text."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(distribution: str, name: str, code: str) -> None:
        module = f"{distribution}_module"
        (tmp_path / f"{module}.py").write_text(code)
        facts = tmp_path / f"{distribution}-1.5.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (facts / "entry_points.txt").write_text(f"[tlhub]\n{name} = {module}\n")
        importlib.invalidate_caches()

    return install


WORKS = """
from tlhub.adapter import Adapter
from tlhub.hookspecs import hookimpl

class Fine(Adapter):
    name = "fine_{name}"

@hookimpl
def tlhub_adapters():
    return [Fine]
"""


def test_installed_plugins_are_loaded_one_by_one(site: Callable[[str, str, str], None]) -> None:
    site("aaa", "one", WORKS.format(name="one"))
    site("bbb", "two", "import nothing_of_this_name")
    site("ccc", "three", "raise SystemExit('no')")
    site("ddd", "four", "class")
    site("eee", "one", WORKS.format(name="again"))
    catalog = Catalog.installed()
    entry = catalog.find("adapters", "fine_one")
    assert (entry.plugin, entry.distribution, entry.version) == ("one", "aaa", "1.5")
    reasons = {broken.name: broken.reason for broken in catalog.broken if broken.version == "1.5"}
    assert reasons["two"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert reasons["three"] == "SystemExit: no"
    assert reasons["four"].startswith("SyntaxError: ")
    assert reasons["one"] == "aaa already has a plugin of this name"


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_every_hook_is_a_plugin(kind: str) -> None:
    text = getattr(hookspecs, f"tlhub_{kind}").__doc__.partition("A complete plugin module:")[2]
    example = types.ModuleType("example")
    exec("\n".join(line[8:] for line in text.splitlines()), vars(example))
    catalog = Catalog({"example": example})
    assert catalog.broken == []
    assert kind in [entry.kind for entry in catalog.entries()]
