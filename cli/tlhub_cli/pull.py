"""`tlhub pull`"""

from __future__ import annotations

from typing import Annotated

import typer

from tlhub_cli import output
from tlhub_cli.options import Json


def pull(
    repo: Annotated[
        str,
        typer.Argument(
            metavar="REPO",
            help="A model on the Hugging Face Hub, OWNER/NAME or OWNER/NAME@REVISION.",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> None:
    """Fetch an adapted model from the Hugging Face Hub, and keep it on this disk.

    The commit is pinned and every file is checked. Only safetensors and texts are fetched: nothing in them can run.
    """
    from tlhub_registry.pull import pull as fetch
    from tlhub_registry.refs import parse_repo
    from tlhub_registry.registry import Registry

    entry = fetch(parse_repo(repo), Registry())
    screen = output.screen(json)
    output.fields(
        screen, {"kept as": [entry.ref], "from": [entry.source], "bytes": [f"{entry.size:,}"], "model": [entry.digest]}
    )
    output.next_steps(
        screen,
        {
            f"tlhub show {entry.ref}": "what it is, and how to load it in Python",
            f"tlhub predict {entry.ref} INPUT…": "ask it about files or texts of yours",
            f"backbone: {{use: artifact, ref: '{entry.ref}'}}": "in a manifest: go on from it with data of yours",
        },
    )
    if json:
        output.facts({"ref": entry.ref, "source": entry.source, "digest": entry.digest, "bytes": entry.size})
