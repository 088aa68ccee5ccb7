"""How the commands print models that are kept or shared, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from tlhub.diagnostics import escaped
from tlhub_cli import output

if TYPE_CHECKING:
    from tlhub_registry.fsck import Damage


def found(console: Console, rows: Sequence[Sequence[str]]) -> None:
    """Adapted models that were found."""
    if not rows:
        console.print("No adapted model was found.")
        return
    table = output.columns("model", "task", "made from", "data", "adapters", "score", "source-only", "downloads")
    for row in rows:
        table.add_row(*map(escaped, row))
    output.show(console, table)


def entries(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """What the registry keeps."""
    table = output.columns("entry", "tags", "added", "task", "adapters", "result", "size")
    for each in found:
        names = (", ".join(each[key]) for key in ("task", "adapter"))
        row = (each["ref"], ", ".join(each["tags"]), each["created"][:10], *names, each["score"] or "")
        table.add_row(*map(escaped, row), output.size(each["size"]))
    output.show(console, table)


def lineage(console: Console, model: Mapping[str, Any]) -> None:
    """A model as a tree, with what it was made from below it."""

    def label(each: Mapping[str, Any]) -> Text:
        entry = "" if each["entry"] in (None, each["name"]) else f", here {each['entry']}"
        place = f", {each['hub']}" if each.get("hub") else ""
        pinned = escaped(f" @ {each['revision'] or 'not pinned'}{place}{entry}")
        return Text.assemble(f"{each['role']}: ", (escaped(each["name"]), "bold"), (pinned, "dim"))

    def grow(tree: Tree, below: Sequence[Mapping[str, Any]]) -> Tree:
        for each in below:
            grow(tree.add(label(each)), each["lineage"])
        return tree

    console.print(grow(Tree(label(model)), model["lineage"]))


def damages(console: Console, found: Sequence[Damage]) -> None:
    """Files that are not as they were written."""
    if not found:
        return
    table = output.columns("entry", "file", "what", "mended from")
    for each in found:
        table.add_row(*map(escaped, (each.entry, each.file, each.what, each.mended or "not mended")))
    output.show(console, table)


def orphans(console: Console, paths: Sequence[str]) -> None:
    """Files that nothing needs."""
    if not paths:
        return
    console.print(f"{output.count(len(paths), 'file')} that no model needs:")
    for path in paths:
        console.print(f"  {escaped(path)}", soft_wrap=True)
