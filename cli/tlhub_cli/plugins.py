"""`tlhub plugins`"""

from __future__ import annotations

from dataclasses import asdict

from tlhub_cli import components, output
from tlhub_cli.options import Json


def plugins(json: Json = False) -> None:
    """List every component that a manifest can name, who offers it, and the plugins that could not be loaded."""
    from tlhub.catalog import Catalog
    from tlhub.settings import describe

    catalog = Catalog.installed()
    offered = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "summary": describe(entry.cls).summary,
            "plugin": entry.plugin,
            "distribution": entry.distribution,
            "version": entry.version,
        }
        for entry in catalog.entries()
    ]
    broken = [asdict(plugin) for plugin in catalog.broken]
    if json:
        output.facts({"components": offered, "broken": broken})
        return
    screen = output.screen(json)
    components.offered(screen, offered)
    if broken:
        components.broken(screen, broken)
    output.next_steps(screen, {"tlhub describe NAME": "settings of a component, and how to write it in a manifest"})
