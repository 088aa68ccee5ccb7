"""`tlhub describe`"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlhub.diagnostics import closest, quoted
from tlhub.errors import UserError
from tlhub_cli import components, output
from tlhub_cli.options import Json

if TYPE_CHECKING:
    from tlhub.catalog import Catalog, Entry
    from tlhub.settings import Description


def describe(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A component, or PLUGIN/NAME.", show_default=False)],
    json: Json = False,
) -> None:
    """Describe a component: what it does, its paper, its settings, and how to write it in a manifest."""
    from tlhub.catalog import Catalog
    from tlhub.settings import describe as describe_component

    found = _find(Catalog.installed(), name)
    described = [(entry, describe_component(entry.cls)) for entry in found]
    if json:
        output.facts([_as_dict(entry, description) for entry, description in described])
        return
    screen = output.screen(json)
    for entry, description in described:
        components.described(screen, entry, description)
        snippet = _snippet(entry, description)
        if snippet:
            output.snippet(screen, "In a manifest:", snippet)


def _find(catalog: Catalog, name: str) -> list[Entry]:
    """The components of this name, of whatever kind and plugin. Raises UserError where there is none."""
    plugin, slash, own = name.rpartition("/")
    entries = catalog.entries()
    found = [entry for entry in entries if entry.name == own and (not slash or entry.plugin == plugin)]
    if found:
        return found
    for broken in catalog.broken:
        if broken.name in (name, plugin):
            raise UserError(
                f"the plugin {quoted(broken.name)} was set aside: {broken.reason}", "mend, update or uninstall it"
            )
    near = closest(own, [entry.name for entry in entries])
    hint = f"did you mean {quoted(near)}?" if near else "`tlhub plugins` lists them all"
    raise UserError(f"there is no component {quoted(name)}", hint)


def _as_dict(entry: Entry, description: Description) -> dict[str, Any]:
    provider = {
        "kind": entry.kind,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "version": entry.version,
    }
    return {**provider, **asdict(description), "snippet": _snippet(entry, description)}


def _snippet(entry: Entry, description: Description) -> str | None:
    """The component in a manifest, with every setting at its default; None for a kind that manifests do not name."""
    from tlhub.yaml_tree import dump

    place = _PLACES.get(entry.kind)
    if place is None:
        return None
    settings = {each.name: each.name.upper() if each.required else each.default for each in description.settings}
    part = {"use": entry.name, **settings}
    return dump({place: [part] if place == "adapters" else part}).rstrip()


_PLACES = {
    "backbones": "backbone",
    "adapters": "adapters",
    "datasets": "source",
    "tasks": "task",
    "validators": "select",
}
