"""What transformers loads by name: quietly, and with errors that say what was tried."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlhub.checkpoint import sha256
from tlhub.errors import SettingError

OFFLINE = "name a local folder, or check the name and the connection"


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' reports on what it loads; downloads still show their progress."""
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging as untyped

    logging: Any = untyped
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if bars:
        enable_progress_bars()  # which transformers silences too
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def fetched(setting: str, place: str, what: str = "", hint: str = OFFLINE) -> Iterator[None]:
    """Tells failures to load `what` of a model on the Hub, or of a folder, as a SettingError of that setting."""
    if not Path(place).is_dir() and (place.startswith((".", "~")) or Path(place).is_absolute() or place.count("/") > 1):
        raise SettingError(setting, f"there is no folder `{place}`", f"a relative path starts in {Path.cwd()}")
    try:
        yield
    except SettingError:
        raise
    except Exception as error:  # transformers' and the Hub's errors have no common base
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SettingError(setting, f"could not load {what}`{place}`: {reason}", hint) from error


def commit(place: str, revision: str | None) -> str | None:
    """The commit at which a model on the Hub was found; None for a folder."""
    from huggingface_hub import try_to_load_from_cache

    if Path(place).is_dir():
        return None
    file = try_to_load_from_cache(place, "config.json", revision=revision or "main")
    return Path(file).parent.name if isinstance(file, str) else None


def digest(folder: Path) -> str:
    """`sha256:` and the digest of a folder's weights; of their files' digests, where there are several."""
    files = sorted(folder.glob("*.safetensors"))
    digests = [sha256(file) for file in files]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return f"sha256:{whole}"
