"""What says where something lies on the user's disk, taken out of what is sent to others."""

from __future__ import annotations

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tlhub_registry.hub import redacted

NAMES = {"classes", "label_names", "id2label", "label2id"}
"""Keys under which class names are: whatever those look like, they are what the model answers."""

_WHOLE = re.compile(r"(?:/|~[/\\]|\.\.[/\\]|[A-Za-z]:[\\/]|\\\\\w|file:/).*", re.DOTALL)
_INSIDE = re.compile(r"(?<![\w./~…])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+~-]+){2,}")


def scrubbed(value: Any) -> Any:
    """JSON-ready facts without absolute paths, of which the last part is left, and without the user's tokens.

    A path becomes `…/photos`: enough to know which it was, and to name another in its place.
    """
    if isinstance(value, dict):
        return {key: child if key in NAMES else scrubbed(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(child) for child in value]
    return _plain(value) if isinstance(value, str) else value


def scrubbed_file(content: bytes) -> bytes:
    """The same for a file of JSON; one without such a thing stays as it is, byte by byte."""
    value = json.loads(content)
    plain = scrubbed(value)
    return content if plain == value else json.dumps(plain, indent=2, ensure_ascii=False).encode() + b"\n"


def _plain(text: str) -> str:
    text = redacted(text)
    if _WHOLE.fullmatch(text):
        return _shortened(text)
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~")  # whose name may have a space in it
    return _INSIDE.sub(lambda found: _shortened(found[0]), text)


def _shortened(path: str) -> str:
    last = PurePosixPath(PureWindowsPath(path).as_posix()).name
    return f"…/{last}" if last and last != Path.home().name else "…"
