"""`tlhub publish`"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tlhub.errors import UserError
from tlhub_cli import output
from tlhub_cli.options import Json

if TYPE_CHECKING:
    from tlhub_registry.entry import Entry
    from tlhub_registry.plan import Plan


def publish(
    ref: Annotated[
        str,
        typer.Argument(
            metavar="REF", help="An entry such as digits:3, or a folder that `tlhub adapt` left.", show_default=False
        ),
    ],
    repo: Annotated[
        str, typer.Argument(metavar="REPO", help="OWNER/NAME on the Hugging Face Hub.", show_default=False)
    ],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    delta: Annotated[
        bool, typer.Option("--delta", help="Send only what changed of the base on the Hub; tlhub alone loads that.")
    ] = False,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Propose it in a pull request.")] = False,
    tag: Annotated[str | None, typer.Option(help="Name of the version.", show_default="the next of v1, v2, …")] = None,
    license: Annotated[
        str | None, typer.Option(help="Such as apache-2.0 or cc-by-4.0.", show_default="the base's")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every file and the card, and send nothing.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask: also where adaptation hurt, or the repository holds other files.")
    ] = False,
    json: Json = False,
) -> None:
    """Publish an adapted model on the Hugging Face Hub: private unless you say otherwise, all of it in one commit.

    It is sent in its library's own form with a model card, tagged, fetched again, and compared. Repeat the command
    where it was interrupted: it goes on from there.
    """
    from tlhub_registry.hub import Hub
    from tlhub_registry.plan import plan as make_plan
    from tlhub_registry.publish import publish as send
    from tlhub_registry.refs import parse_repo
    from tlhub_registry.registry import Registry

    place = parse_repo(repo)
    if place.revision is not None:
        raise UserError(f"`{repo}` names a revision, and a publication makes one", f"write `{place.repo}`")
    screen, registry, hub = output.screen(json), Registry(), Hub()
    entry = registry.add(Path(ref)) if Path(ref).is_dir() else registry.find(ref)
    with tempfile.TemporaryDirectory() as work:
        folder = registry.checkout(entry)
        plan = make_plan(entry, folder, place.repo, hub, registry, Path(work), delta, license)
        sizes = {name: plan.size(name) for name in sorted(plan.files)}
        output.files(screen, sizes)
        output.fields(screen, _costs(plan))
        output.notes(_notes(plan), screen)
        facts: dict[str, Any] = {"ref": entry.ref, "repo": place.repo, "files": sizes, "costs": dict(plan.costs)}
        if dry_run:
            card = plan.files["README.md"]
            assert isinstance(card, bytes)
            output.snippet(screen, "The card:", card.decode())
            output.outcome(screen, "Nothing was sent.", None)
            if json:
                output.facts({**facts, "unsent": list(plan.unsent), "card": card.decode()})
            return
        _ask(entry, yes)
        done = send(entry, plan, place.repo, hub, registry, public=public, create_pr=create_pr, tag=tag, force=yes)
    seen = "only you and your organisation see it" if done.private else "everybody sees it"
    what = (
        f"Published at {done.url}, fetched again and found equal"
        if done.changed
        else f"Nothing was sent: {done.url} has all of it"
    )
    output.outcome(screen, f"{what}; {seen}.", None)
    output.fields(screen, {"place": [done.place], **({"tag": [done.tag]} if done.tag else {})})
    again = shlex.quote(f"{place.repo}@{done.tag}" if done.tag else done.place.removeprefix("hub:"))
    output.next_steps(
        screen,
        {
            f"tlhub pull {again}": "fetch it elsewhere",
            f"tlhub predict {shlex.quote(done.place)} INPUT…": "ask it, wherever you are logged in",
        },
    )
    if json:
        output.facts(
            {
                **facts,
                "place": done.place,
                "url": done.url,
                "tag": done.tag,
                "sent": done.changed,
                "private": done.private,
            }
        )


def _costs(plan: Plan) -> dict[str, list[str]]:
    """What each form costs, where there are several."""
    if len(plan.costs) < 2:
        return {}
    told = {
        form: "not known: the base is not in the cache" if cost is None else f"{cost:,} bytes"
        for form, cost in plan.costs.items()
    }
    return {"whole": [told["whole"]], "--delta": [told["delta"]]}


def _notes(plan: Plan) -> list[str]:
    unsent = [f"not sent, for it is no part of the model: {', '.join(plan.unsent)}"] if plan.unsent else []
    return [*plan.notes, *unsent]


def _ask(entry: Entry, yes: bool) -> None:
    """Make sure that a model which adaptation made worse is meant. Raises UserError where nobody can be asked."""
    comparison = (entry.record.get("result") or {}).get("comparison")
    if yes or not comparison or comparison["outcome"] != "hurt":
        return
    if not sys.stdin.isatty():
        raise UserError(f"`{entry.ref}`: {entry.record['result']['sentence']}", "say --yes to publish it all the same")
    if not typer.confirm(f"{entry.record['result']['sentence']} Publish it all the same?", err=True):
        raise typer.Exit(1)
