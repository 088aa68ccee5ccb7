"""The Hugging Face Hub through its own client: one place that makes it, waits for it, and says what went wrong."""

from __future__ import annotations

import errno
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tlhub.errors import UserError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds between attempts, where the Hub does not say how long to wait."""

LONGEST_WAIT = 60.0
"""Nobody waits longer for one answer, whatever the Hub asks for."""

PASSING = {408, 409, 412, 425, 429, 500, 502, 503, 504}
"""Statuses that another attempt may mend: too busy, somebody else was there, broken for the moment."""

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What a disk says that has no room."""

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write; https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit.

    Attributes:
        sha256: of its content; None for small text files, of which the Hub knows `git_oid` alone.
        git_oid: git's name of it; of a file in LFS, of the pointer to it.
    """

    size: int
    sha256: str | None
    git_oid: str

    def holds(self, content: bytes | Path) -> bool:
        """Whether the file on the Hub has this content."""
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        if size != self.size:
            return False
        if self.sha256 is not None:
            return _digest("sha256", content) == self.sha256
        return _digest("sha1", content, b"blob %d\0" % size) == self.git_oid


def _digest(kind: str, content: bytes | Path, begin: bytes = b"") -> str:
    digest = hashlib.new(kind, begin)
    if isinstance(content, bytes):
        digest.update(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


class Hub:
    """The Hub that the client's own environment names, and who the user is there.

    Whatever goes wrong is raised as UserError, in words. Readings are repeated where that may help.

    Args:
        token: who asks; by default HF_TOKEN, or the user's login.
    """

    def __init__(self, token: str | None = None) -> None:
        self._token = token

    @cached_property
    def api(self) -> HfApi:
        """The client."""
        from huggingface_hub import HfApi

        return HfApi(token=self._token)

    def resolve(self, repo: str, revision: str | None = None) -> str:
        """The commit of a branch, a tag or a shortened commit; of `main` where none is named."""
        return self.read(repo, lambda: str(self.api.model_info(repo, revision=revision).sha))

    def find(self, repo: str) -> tuple[str, bool] | None:
        """The newest commit of a repository, and whether it is private; None where there is none to be seen."""

        def look() -> tuple[str, bool] | None:
            try:
                info = self.api.model_info(repo)
            except Exception as error:
                if status(error) == 404:
                    return None
                raise
            return str(info.sha), bool(info.private)

        return self.read(repo, look)

    def files(self, repo: str, commit: str) -> dict[str, RemoteFile]:
        """All files of a commit, by path."""
        return self.read(repo, lambda: dict(self._files(repo, commit)))

    def _files(self, repo: str, commit: str) -> Iterator[tuple[str, RemoteFile]]:
        from huggingface_hub.hf_api import RepoFile

        for each in self.api.list_repo_tree(repo, recursive=True, revision=commit):
            if isinstance(each, RepoFile):
                yield each.path, RemoteFile(each.size, each.lfs.sha256 if each.lfs else None, each.blob_id)

    def download(self, repo: str, commit: str, path: str, into: Path | None = None) -> Path:
        """A file of a commit, fetched through a cache in the folder `into`; the client does not check its content.

        By default the user's own cache.
        """
        from huggingface_hub import hf_hub_download

        def fetch() -> str:
            return hf_hub_download(
                repo,
                path,
                revision=commit,
                cache_dir=into,
                endpoint=self.api.endpoint,
                token=self.api.token,
            )

        return Path(self.read(repo, fetch))

    def cached(self, repo: str, commit: str, path: str) -> Path | None:
        """A file of a commit in the user's own cache; None where it is not there."""
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(repo, path, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def read(self, repo: str, ask: Callable[[], T]) -> T:
        """What `ask` gives, asked again where that may help. Raises UserError where it does not."""
        waits = iter(WAITS)
        while True:
            try:
                return ask()
            except Exception as error:
                if not passing(error) or not wait(error, waits):
                    raise explained(error, repo) from error


def certain(repo: str, done: Callable[[], T | None], do: Callable[[], object]) -> T:
    """What `done` finds, after `do` was done where it found nothing.

    A failure of `do` counts only if `done` then still finds nothing: an answer that was lost is none. What another
    attempt may mend is tried again. Raises UserError for the rest.
    """
    waits = iter(WAITS)
    failure: Exception | None = None
    again = True
    while (found := done()) is None:
        if failure is not None and not again:
            raise explained(failure, repo) from failure
        try:
            do()
        except Exception as error:
            failure, again = error, passing(error) and wait(error, waits)
        else:
            if (found := done()) is not None:
                return found
            failure = UserError(
                f"the Hub did what it was asked with `{repo}`, and does not show it",
                "the name may be taken by a repository that you may not see; else repeat the command later",
            )
            again = wait(failure, waits)
    return found


def passing(error: BaseException) -> bool:
    """Whether another attempt may do better."""
    if isinstance(error, UserError):
        return False
    code = status(error)
    return code in PASSING if code is not None else _unconnected(error) and not _offline(error)


def wait(error: BaseException, waits: Iterator[float]) -> bool:
    """Wait before another attempt, as long as the Hub asks; False where there were enough."""
    seconds = next(waits, None)
    if seconds is None:
        return False
    time.sleep(min(_asked(error) or seconds, LONGEST_WAIT))
    return True


def status(error: BaseException) -> int | None:
    """The HTTP status of a failure, where the Hub answered at all."""
    answers = (getattr(each, "response", None) for each in _chain(error))
    return next((answer.status_code for answer in answers if answer is not None), None)


def explained(error: Exception, repo: str) -> Exception:
    """A failure of the client in words; a mistake of ours as it is."""
    if isinstance(error, UserError):
        return error
    if _offline(error):
        return UserError("the Hub was not asked: HF_HUB_OFFLINE is set", "unset it, and try again")
    code, chain = status(error), {cls.__name__ for each in _chain(error) for cls in type(each).__mro__}
    said = next((text for each in _chain(error) if (text := getattr(each, "server_message", None))), None)
    because = f": {redacted(' '.join(str(said).split()))[:300]}" if said else ""
    if code == 401:
        return UserError(f"the Hub does not let you see `{repo}`, or there is none, or it knows no such token", LOGIN)
    if "GatedRepoError" in chain:
        return UserError(f"`{repo}` is gated", f"ask for access at https://huggingface.co/{repo}")
    if code == 403:
        return UserError(f"your token may not do that with `{repo}`{because}", LOGIN)
    if "RevisionNotFoundError" in chain:
        return UserError(f"`{repo}` has no such revision", "name a branch, a tag or a commit of it")
    if "EntryNotFoundError" in chain and code == 404:
        return UserError(f"`{repo}` has no such file{because}")
    if code == 404:
        return UserError(f"there is no `{repo}` on the Hub, or it is private", f"check the name, or {LOGIN}")
    if code == 429:
        return UserError("the Hub asks to wait: too many requests", "repeat the command later; it goes on from there")
    if code is not None and code in PASSING:
        return UserError(f"the Hub failed with status {code}{because}", "repeat the command; it goes on from there")
    if code is not None:
        return UserError(f"the Hub refused with status {code}{because}", "is the client, huggingface_hub, up to date?")
    if _unconnected(error):
        return UserError("the Hub cannot be reached", "check the connection, and repeat the command")
    if isinstance(error, OSError) and error.errno in FULL:
        return UserError(f"the disk refuses what the Hub sends: {error.strerror}", "make room, and repeat the command")
    if not isinstance(error, OSError | ValueError | RuntimeError):
        return error
    told = redacted((str(error).strip() or type(error).__name__).splitlines()[0])
    return UserError(f"the Hub's client failed with `{repo}`: {told}")


def redacted(text: str) -> str:
    """The text without the user's tokens for the Hub."""
    from huggingface_hub import get_token

    token = get_token()
    plain = text.replace(token, "…") if token else text
    return re.sub(r"\bhf_\w{8,}", "hf_…", plain)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The failure and what it comes from."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _unconnected(error: BaseException) -> bool:
    """Whether the connection failed; the classes are known by name, for the client has changed its HTTP library."""
    names = {cls.__name__ for each in _chain(error) for cls in type(each).__mro__}
    return bool(names & {"TransportError", "ConnectionError", "TimeoutError"})


def _offline(error: BaseException) -> bool:
    return any(type(each).__name__ == "OfflineModeIsEnabled" for each in _chain(error))


def _asked(error: BaseException) -> float | None:
    """How many seconds the Hub asks to wait."""
    for each in _chain(error):
        headers: Any = getattr(getattr(each, "response", None), "headers", {})
        text = headers.get("Retry-After") or next(iter(re.findall(r";\s*t=(\d+)", headers.get("RateLimit", ""))), "")
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return float(text)
    return None
