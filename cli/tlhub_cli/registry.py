"""`tlhub registry`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlhub.errors import UserError
from tlhub_cli import models, output
from tlhub_cli.errors import USER, command
from tlhub_cli.options import Json

if TYPE_CHECKING:
    from tlhub.lineage import Origin
    from tlhub_registry.entry import Entry
    from tlhub_registry.registry import Registry

registry = typer.Typer(no_args_is_help=True, help="List, tag, check and remove the models that are kept on this disk.")

Ref = Annotated[
    str,
    typer.Argument(
        metavar="REF", help="An entry, such as digits, digits:3, digits:best or sha256:0b51c8de.", show_default=False
    ),
]


def show_entries(
    name: Annotated[str | None, typer.Argument(help="Only the versions of this name.", show_default=False)] = None,
    task: Annotated[str | None, typer.Option(metavar="TEXT", help="Only where the task's name has this text.")] = None,
    base: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where a model it was made from has this text in its name.")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TEXT", help="Only where a tag has this text.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where a data set's name or path has this text.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only where an adapter's name has this text.")
    ] = None,
    json: Json = False,
) -> None:
    """List the models that are kept, the newest first. Case is ignored in filters."""
    everything = _registry().entries(name)
    found = [each for each in everything if each.matches(task=task, base=base, tag=tag, data=data, adapter=adapter)]
    if json:
        output.facts([_as_dict(entry) for entry in found])
        return
    screen = output.screen(json)
    if not everything and name is None:
        output.outcome(screen, "Nothing is kept here yet.", None)
        output.next_steps(screen, {"tlhub adapt MANIFEST": "adapts a model, and keeps it"})
        return
    if not found:
        output.outcome(screen, "Nothing that is kept here matches.", None)
        output.next_steps(screen, {"tlhub registry list": "shows everything"})
        return
    models.entries(screen, [_as_dict(entry) for entry in found])
    ref = found[0].ref
    output.next_steps(
        screen,
        {
            f"tlhub registry show {ref}": "shows where it comes from and what it consists of",
            f"tlhub predict {ref} INPUT": "asks it",
        },
    )


def show_entry(ref: Ref, json: Json = False) -> None:
    """Show what the registry knows of a model: where it comes from, where it was published, and its files."""
    entry = _registry().find(ref)
    if json:
        output.facts({**_as_dict(entry), "record": entry.record})
        return
    screen = output.screen(json)
    output.fields(
        screen,
        {
            "entry": [entry.ref],
            "identity": [entry.digest],
            "added": [_moment(entry.created)],
            "from": [entry.run or entry.source],
            "tags": [", ".join(entry.tags) or "none"],
            "published": list(entry.published) or ["nowhere"],
            "made from": [f"{each.role}: {each.name} @ {each.revision or 'unknown'}" for each in entry.lineage],
            "adapters": [", ".join(entry.texts["adapter"]) or "none"],
            "result": [entry.score or "not scored"],
        },
    )
    output.files(screen, {name: file.size for name, file in entry.files.items()})
    output.next_steps(
        screen,
        {
            f"tlhub show {entry.ref}": "shows its parts, its scores and how to load it",
            f"tlhub registry lineage {entry.ref}": "shows what it was made from, all the way down",
            f"tlhub publish {entry.ref} OWNER/NAME": "shares it",
        },
    )


def add(
    folder: Annotated[Path, typer.Argument(help="A folder that `tlhub adapt` left.", show_default=False)],
    name: Annotated[str | None, typer.Option(help="What to call it.", show_default="the name of its manifest")] = None,
) -> None:
    """Keep a run that is not kept yet, say because the disk was full when it finished."""
    entry = _registry().add(folder, name=name)
    screen = output.screen(False)
    output.outcome(screen, f"It is kept as {entry.ref}.", None)
    output.next_steps(screen, {f"tlhub registry show {entry.ref}": "shows it"})


def tag(
    ref: Annotated[str, typer.Argument(metavar="REF", help="An entry; with --delete, NAME:TAG.", show_default=False)],
    tag: Annotated[str | None, typer.Argument(help="The new tag, such as best.", show_default=False)] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove a tag.")] = False,
) -> None:
    """Give a version a name of its own: NAME:TAG then means it, and no longer what it meant before."""
    known = _registry()
    screen = output.screen(False)
    if delete:
        name, _, old = ref.partition(":")
        if not old or tag is not None:
            raise UserError("it is not clear which tag to remove", "`tlhub registry tag --delete NAME:TAG`")
        known.untag(name, old)
        output.outcome(screen, f"The tag {ref} is removed.", None)
        output.next_steps(screen, {f"tlhub registry list {name}": "shows the versions and their tags"})
        return
    if tag is None:
        raise UserError("there is no tag to give", f"`tlhub registry tag {ref} TAG`")
    entry = known.find(ref)
    known.tag(entry, tag)
    output.outcome(screen, f"{entry.name}:{tag} means {entry.ref}.", None)
    output.next_steps(screen, {f"tlhub predict {entry.name}:{tag} INPUT": "asks it"})


def remove(
    ref: Ref,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking, even what others stand on.")] = False,
) -> None:
    """Remove a version. Its number is not used again."""
    known = _registry()
    entry = known.find(ref)
    if not yes:
        others = [] if len(known.by_digest(entry.digest)) > 1 else known.dependents(entry)
        if others:
            raise UserError(
                f"{entry.ref} is what {_few([each.ref for each in others])} was made from",
                "with --yes it is removed all the same; what stands on it keeps working",
            )
        if not sys.stdin.isatty():
            raise UserError("nobody is there to confirm that", "--yes removes it without asking")
        if not output.confirmed(f"Remove {entry.ref}?"):
            raise typer.Exit
    known.remove(entry)
    screen = output.screen(False)
    output.outcome(screen, f"{entry.ref} is removed.", None)
    output.next_steps(screen, {"tlhub registry gc": "frees the room that nothing else needs"})


def fsck(
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is damaged from the run's folder or from the Hub.")
    ] = False,
) -> None:
    """Read everything that is kept, and check that it is as it was written. Exits with 2 where something is not."""
    from tlhub_registry.fsck import check, from_hub

    known = _registry()
    notes: list[str] = []
    with from_hub(notes.append) if repair else nullcontext() as fetch:
        report = check(known, repair=repair, fetch=fetch)
    screen = output.screen(False)
    output.notes(notes)
    models.damages(screen, report.damages)
    models.orphans(screen, [str(path) for path in report.orphans])
    whole = f"{output.count(report.entries, 'model')}, {output.size(report.size)}"
    steps = {"tlhub registry gc": "removes what no model needs"} if report.orphans else {}
    if report.sound:
        output.outcome(screen, f"Everything is as it was written: {whole}.", "helped")
    else:
        lost = len({damage.entry for damage in report.damages if damage.mended is None})
        output.outcome(screen, f"Damaged: {output.count(lost, 'model')} of {whole}.", "hurt")
        if repair:
            steps["tlhub registry remove REF"] = "gives a model up of which there is no other copy"
        else:
            steps["tlhub registry fsck --repair"] = "looks for other copies and mends what it can"
    output.next_steps(screen, steps or {"tlhub registry list": "shows what there is"})
    if not report.sound:
        raise typer.Exit(USER)


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove files that no model needs: of removed versions, and of interrupted commands."""
    from tlhub_registry.garbage import collect

    known = _registry()
    garbage = collect(known, dry_run=dry_run)
    found = len(garbage.blobs) + len(garbage.checkouts)
    screen = output.screen(False)
    if not found:
        output.outcome(screen, "There is nothing to remove.", None)
    elif dry_run:
        models.orphans(screen, [str(path) for path in [*garbage.blobs, *garbage.checkouts]])
        output.outcome(screen, f"To remove: {output.count(found, 'file')}, {output.size(garbage.size)}.", None)
    else:
        output.outcome(screen, f"Removed: {output.count(found, 'file')}, {output.size(garbage.size)}.", None)
    again = {"tlhub registry gc": "removes them"}
    output.next_steps(screen, again if dry_run and found else {"tlhub registry list": "shows what there is"})


def lineage(ref: Ref, json: Json = False) -> None:
    """Show what a model was made from, and what that was made from, each with the revision that pins it."""
    known = _registry()
    entry = known.find(ref)
    tree = {
        "role": "adapted",
        "name": entry.ref,
        "revision": entry.digest,
        "entry": entry.ref,
        "lineage": _tree(known, entry.lineage),
    }
    if json:
        output.facts(tree)
        return
    screen = output.screen(json)
    models.lineage(screen, tree)
    output.next_steps(screen, {f"tlhub registry show {entry.ref}": "shows the entry"})


_COMMANDS: dict[str, Callable[..., None]] = {
    "list": show_entries,
    "show": show_entry,
    "lineage": lineage,
    "tag": tag,
    "add": add,
    "remove": remove,
    "fsck": fsck,
    "gc": gc,
}
for called, function in _COMMANDS.items():
    registry.command(called)(command(function))


def _registry() -> Registry:
    from tlhub_registry.registry import Registry

    return Registry()


def _as_dict(entry: Entry) -> dict[str, Any]:
    """JSON-ready, without the record."""
    plain = ("ref", "name", "version", "digest", "created", "source", "tags", "published", "run", "score", "size")
    texts = {key: texts for key, texts in entry.texts.items() if key != "tag"}
    files = {name: {"sha256": file.sha256, "size": file.size} for name, file in entry.files.items()}
    return {**{key: getattr(entry, key) for key in plain}, **texts, "files": files}


def _tree(known: Registry, origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """Origins with those of theirs; `entry` is the one that holds the same model here, if any."""
    found = []
    for origin in origins:
        here = known.by_digest(origin.revision) if origin.revision else []
        facts = {**origin.as_dict(), "entry": here[0].ref if here else None}
        found.append({**facts, "lineage": _tree(known, origin.lineage)})
    return found


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _moment(created: str) -> str:
    return created.replace("T", " ").replace("+00:00", " UTC")
