"""How a command ends: its exit code, and what the user reads where it did not do its work."""

from __future__ import annotations

import errno
import functools
import inspect
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.text import Text

from tlhub import __version__
from tlhub.diagnostics import escaped, render
from tlhub.errors import ManifestError, UserError
from tlhub_cli import output

BUG = 1
USER = 2

_Debug = Annotated[
    bool, typer.Option("--debug", envvar="TLHUB_DEBUG", show_envvar=False, help="Show the traceback of an error.")
]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """The function as a command: it also has `--debug`, and however it ends, the user gets a message and an exit code.

    0: done. 1: a bug of ours. 2: something the user can mend. 130 and 143: interrupted by SIGINT or SIGTERM.
    """
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    def run(debug: bool, **arguments: Any) -> None:
        try:
            function(**arguments)
            sys.stdout.flush()
        except (typer.Exit, SystemExit):
            raise
        except BaseException as error:
            code = _explain(error, resumable="resume" in arguments)
            if debug and code != 128 + signal.SIGINT:
                sys.stderr.write(_without_token("".join(traceback.format_exception(error))))
            raise typer.Exit(code) from None

    debug = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Debug)
    parameters = [*signature.parameters.values(), debug]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def _explain(error: BaseException, resumable: bool) -> int:
    """Tell the user what happened; gives the exit code."""
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    signum = signal.SIGINT if isinstance(error, KeyboardInterrupt) else getattr(error, "signum", None)
    if signum is not None:
        again = shlex.join(["tlhub", *sys.argv[1:]]) + ("" if "--resume" in sys.argv else " --resume")
        _print(f"interrupted; continue with: {escaped(again)}" if resumable else "interrupted")
        return 128 + int(signum)
    if isinstance(error, ManifestError):
        found = error.problems
        _print(render(found) + (f"\n\n{len(found)} problems" if len(found) > 1 else ""))
    elif isinstance(error, UserError):
        _print_mendable(_without_token(error.message), error.hint)
    elif isinstance(error, OSError) and error.errno in _REFUSED:
        _print_mendable(f"{error.filename or 'the disk'}: {error.strerror}")
    elif type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported here
        _print_mendable("the device has not enough memory", "lower `batch` under `train`, or set `accumulate`")
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = _without_token("".join(traceback.format_exception_only(error)).strip())
        _print(
            f"error: this is a bug in tlhub or in a plugin: {output.indented(what)}\n"
            f"  raised in {escaped(f'{where.filename}, line {where.lineno}')}\n"
            f"  help: please report it with the command, tlhub's version ({__version__}), and what it says with --debug"
        )
        return BUG
    return USER


def _print_mendable(message: str, hint: str | None = None) -> None:
    _print("error: " + output.indented(message) + ("" if hint is None else f"\n  help: {output.indented(hint)}"))


def _print(message: str) -> None:
    text = Text(message)
    text.highlight_regex(r"\berror:", "bold red")
    text.highlight_regex(r"(?m)^ *=? *help:", "bold cyan")
    text.highlight_regex(r"(?m)^ *\| *\^+$", "bold red")
    output.ERR.print(text, soft_wrap=True)


def _without_token(text: str) -> str:
    """What an error says, without the user's token for the Hub, which only its client reads."""
    if "huggingface_hub" not in sys.modules:
        return text
    from tlhub_registry.hub import redacted

    return redacted(text)


_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR}
