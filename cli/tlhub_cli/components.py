"""How the commands print what plugins offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tlhub.diagnostics import escaped
from tlhub_cli import output

if TYPE_CHECKING:
    from tlhub.catalog import Entry
    from tlhub.settings import Description


def offered(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Every component and who offers it."""
    table = output.columns("kind", "name", "what it is", "plugin", "from")
    for each in found:
        provider = " ".join(filter(None, (each["distribution"], each["version"])))
        table.add_row(*map(escaped, (each["kind"], each["name"], each["summary"], each["plugin"], provider)))
    output.show(console, table)


def broken(console: Console, plugins: Sequence[Mapping[str, Any]]) -> None:
    """The plugins that are set aside."""
    console.print()
    console.print("These plugins were set aside; everything else works without them:", style="yellow")
    for each in plugins:
        provider = " ".join(filter(None, (each["distribution"], each["version"])))
        console.print(Text(f"  {escaped(each['name'])} ({escaped(provider)}): {output.indented(each['reason'])}"))


def described(console: Console, entry: Entry, description: Description) -> None:
    """A component: what its author says, and its settings."""
    kind = "data set" if entry.kind == "datasets" else entry.kind.removesuffix("s")
    provider = " ".join(filter(None, (entry.distribution, entry.version)))
    of = f"a {kind}" if kind[0] not in "aeiou" else f"an {kind}"
    console.print(
        Text.assemble((escaped(entry.name), "bold"), f", {of} of the plugin {escaped(entry.plugin)} ({provider})")
    )
    console.print()
    for paragraph in description.text.partition("\nArgs:")[0].strip().split("\n\n"):
        console.print(escaped(" ".join(paragraph.split())))
        console.print()
    known = {
        "paper": [description.paper] if description.paper else [],
        "needs": [", ".join(description.needs)] if description.needs else [],
        "for": [", ".join(description.modalities)] if description.modalities else [],
    }
    if any(known.values()):
        output.fields(console, known)
        console.print()
    if not description.settings:
        console.print("It has no settings.")
        return
    table = output.columns("setting", "type", "default", "meaning")
    for each in description.settings:
        default = "required" if each.required else output.as_yaml(each.default)
        table.add_row(*map(escaped, (each.name, each.type, default, each.description)))
    output.show(console, table)
