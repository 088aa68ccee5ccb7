"""The commands, wired together."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Annotated

import typer

from tlhub import __version__
from tlhub_cli.adapt import adapt
from tlhub_cli.bench import bench
from tlhub_cli.check import check
from tlhub_cli.compare import compare
from tlhub_cli.describe import describe
from tlhub_cli.doctor import doctor
from tlhub_cli.errors import command
from tlhub_cli.evaluate import evaluate
from tlhub_cli.init import init
from tlhub_cli.plugins import plugins
from tlhub_cli.predict import predict
from tlhub_cli.publish import publish
from tlhub_cli.pull import pull
from tlhub_cli.rank import rank
from tlhub_cli.recommend import recommend
from tlhub_cli.registry import registry
from tlhub_cli.report import report
from tlhub_cli.reproduce import reproduce
from tlhub_cli.schema import schema
from tlhub_cli.search import search
from tlhub_cli.show import show

app = typer.Typer(
    name="tlhub",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, list[Callable[..., None]]] = {
    "Adapt": [init, check, adapt, bench],
    "Choose before you train": [rank, recommend],
    "Use what an adaptation left": [show, predict, evaluate, compare, doctor, report],
    "Share": [publish, search, pull, reproduce],
    "Find components": [plugins, describe, schema],
}
for panel, functions in _PANELS.items():
    for function in functions:
        app.command(function.__name__, rich_help_panel=panel)(command(function))
app.add_typer(registry, name="registry", rich_help_panel="Share")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tlhub {__version__}")
        raise typer.Exit


@app.callback()
def tlhub(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Adapt pretrained models to your own data, and see whether it helped.

    `tlhub init` writes a manifest to start from, `tlhub adapt manifest.yaml` does the work.
    """


def main() -> None:
    """The script `tlhub`."""
    # before torch is loaded: threads that wait by spinning take the processor from those they wait for, and where it is
    # busy with something else too, training takes several times as long
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    app(prog_name="tlhub")
