"""Where tlhub keeps what outlives a run."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """The folder in `TLHUB_HOME`, or `tlhub` in the platform's place for user data."""
    from platformdirs import user_data_path

    given = os.environ.get("TLHUB_HOME")
    return Path(given).expanduser() if given else user_data_path("tlhub", appauthor=False)
