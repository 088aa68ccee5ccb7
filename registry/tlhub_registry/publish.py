"""Publishing a model on the Hub: one commit with all of it, or none, however often it is begun and wherever it breaks.

Nothing is remembered on this disk: what there is to do is read from the Hub before every step, so that a publication
that was interrupted goes on when the same command is given again, and one that is complete does nothing.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlhub.artifact import RECORD, digest
from tlhub.errors import ArtifactError, UserError
from tlhub_registry.base import README
from tlhub_registry.entry import Entry
from tlhub_registry.hub import Hub, RemoteFile, certain
from tlhub_registry.plan import OURS, Plan, allowed
from tlhub_registry.probe import differences
from tlhub_registry.pull import pull
from tlhub_registry.refs import HubRef
from tlhub_registry.registry import Registry

_TAG = re.compile(r"[\w][\w.-]*", re.ASCII)
_NUMBERED = re.compile(r"v(\d+)")


@dataclass(frozen=True)
class Published:
    """Where a model is on the Hub.

    Attributes:
        place: such as `hub:you/model@<commit>`.
        url: where people look at it.
        tag: of the commit; None in a pull request.
        changed: whether there was anything to send.
        private: whether only you, or your organisation, can see it.
    """

    place: str
    url: str
    tag: str | None
    changed: bool
    private: bool


def publish(
    entry: Entry,
    plan: Plan,
    repo: str,
    hub: Hub,
    registry: Registry,
    *,
    public: bool = False,
    create_pr: bool = False,
    tag: str | None = None,
    force: bool = False,
) -> Published:
    """Bring a repository to what is planned, tag it, fetch it again and compare, and note where it is.

    Args:
        public: whether everybody may see it; a repository that is there stays as visible as it is.
        create_pr: propose the change in a pull request.
        tag: name of the version; by default the next free one of `v1`, `v2`, ….
        force: also into a repository that holds what tlhub did not put there.

    Raises UserError where that is refused or fails. Until the commit nothing has changed but that there may be a new
    empty repository; the same command goes on from wherever it broke.
    """
    _check_tag(tag, create_pr)
    target = _Repository(repo, plan, hub)
    private = target.open(public, create_pr)
    target.refuse_foreign(force or create_pr)
    if tag is not None:
        target.refuse_taken(tag)
    before = target.head
    commit, request = target.propose() if create_pr else (target.commit(), None)
    changed = commit != before
    if request is None:
        tag = target.tag(commit, tag)
    place = str(HubRef(repo, commit))
    if place not in entry.published:
        _verify(registry.checkout(entry), plan, target, commit)
        registry.note_published(entry, place)
    url = f"{hub.api.endpoint}/{repo}"
    return Published(place, f"{url}/discussions/{request}" if request else url, tag, changed, private)


class _Repository:
    """A repository, and what it is to hold."""

    def __init__(self, repo: str, plan: Plan, hub: Hub) -> None:
        self.repo, self.plan, self.hub = repo, plan, hub
        self.head = ""
        self.there: Mapping[str, RemoteFile] = {}
        self.message = f"Publish {plan.record['name']}"

    def open(self, public: bool, create_pr: bool) -> bool:
        """See what is there, and create the repository where there is none; whether it is private."""
        found = self.hub.find(self.repo)
        if found is None and create_pr:
            raise UserError(f"there is no `{self.repo}` to propose a change to", "publish it without --create-pr")
        if found is not None and not found[1] and not (public or create_pr):
            raise UserError(
                f"`{self.repo}` is public, and everybody would see the model",
                "say --public if that is meant, or name another repository",
            )
        head, private = certain(
            self.repo,
            lambda: self.hub.find(self.repo),
            lambda: self.hub.api.create_repo(self.repo, private=not public, exist_ok=True),
        )
        self._look(head)
        return private

    def refuse_foreign(self, force: bool) -> None:
        """Raise UserError where the repository holds what tlhub did not put there."""
        foreign = sorted(self.there.keys() - {".gitattributes", README, "LICENSE"})
        if foreign and RECORD not in self.there and not force:
            raise UserError(
                f"`{self.repo}` holds {', '.join(f'`{name}`' for name in foreign[:5])}, and no model of tlhub",
                "name another repository, propose the change with --create-pr, or say --yes to add the model to it",
            )

    def refuse_taken(self, tag: str) -> None:
        """Raise UserError where a tag is there already, of something else."""
        known = self._tags().get(tag)
        if known is not None and not self._is_whole(known):
            raise UserError(f"`{self.repo}` has a tag `{tag}` already, of another version", "choose another --tag")

    def commit(self) -> str:
        """Make the one commit, unless `main` is as it is to be; its hash."""

        def done() -> str | None:
            self._look(self.hub.resolve(self.repo, "main"))
            return self.head if self._is_whole(self.head) else None

        return certain(self.repo, done, self._send)

    def propose(self) -> tuple[str, int | None]:
        """Open the one pull request, unless there is one already, or nothing to change; its commit and number."""

        def done() -> tuple[str, int | None] | None:
            if self._is_whole(self.head):
                return self.head, None
            found = self.hub.read(self.repo, lambda: list(self.hub.api.get_repo_discussions(self.repo)))
            for each in found:
                if each.is_pull_request and each.status == "open" and each.title == self.message:
                    commit = self.hub.resolve(self.repo, each.git_reference)
                    if self._is_whole(commit):
                        return commit, each.num
            return None

        return certain(self.repo, done, lambda: self._send(create_pr=True))

    def tag(self, commit: str, tag: str | None) -> str:
        """Tag a commit, unless it is tagged; the tag."""

        def name() -> str:
            numbers = [int(found[1]) for each in self._tags() if (found := _NUMBERED.fullmatch(each))]
            return tag or f"v{max(numbers, default=0) + 1}"

        def done() -> str | None:
            tags = self._tags()
            if tag is not None:
                return tag if tag in tags else None
            return next((each for each, at in tags.items() if at == commit and _NUMBERED.fullmatch(each)), None)

        return certain(self.repo, done, lambda: self.hub.api.create_tag(self.repo, tag=name(), revision=commit))

    def damaged(self, commit: str) -> list[str]:
        """Names of files that a commit does not hold as planned."""
        there = self.hub.files(self.repo, commit)
        return [
            name for name, content in self.plan.files.items() if name not in there or not there[name].holds(content)
        ]

    def _look(self, head: str) -> None:
        self.head, self.there = head, self.hub.files(self.repo, head)

    def _is_whole(self, commit: str) -> bool:
        """Whether a commit holds everything planned."""
        return not self.damaged(commit)

    def _tags(self) -> dict[str, str]:
        refs = self.hub.read(self.repo, lambda: self.hub.api.list_repo_refs(self.repo))
        return {tag.name: tag.target_commit for tag in refs.tags}

    def _send(self, create_pr: bool = False) -> None:
        """Commit all files on top of `head`, without those of an older version."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        operations: list[Any] = [  # new ones, for the client uses each once
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in self.plan.files.items()
        ]
        operations += [CommitOperationDelete(name) for name in self._stale()]
        self.hub.api.create_commit(
            self.repo, operations, commit_message=self.message, parent_commit=self.head, create_pr=create_pr
        )

    def _stale(self) -> list[str]:
        """Files of the version that is there now, which are none of the new one."""
        if RECORD not in self.there:
            return []
        with tempfile.TemporaryDirectory() as cache:
            try:
                record = json.loads(self.hub.download(self.repo, self.head, RECORD, Path(cache)).read_bytes())
                named = {name for name in record["files"] if allowed(name)} | OURS
            except (ValueError, KeyError, TypeError):  # whatever that is, it names no file of ours
                return []
        return sorted((self.there.keys() & named) - self.plan.files.keys())


def _check_tag(tag: str | None, create_pr: bool) -> None:
    if tag is not None and create_pr:
        raise UserError("a pull request cannot be tagged", "leave out --tag; tag the commit when it is merged")
    if tag is not None and (not _TAG.fullmatch(tag) or ".." in tag or tag.endswith(".lock")):
        raise UserError(f"`{tag}` cannot be a tag", "letters, digits, dots, dashes and underscores make one: `v1.2`")


def _verify(local: Path, plan: Plan, target: _Repository, commit: str) -> None:
    """Fetch the model as others will, into an empty registry, and raise ArtifactError where it is another."""
    ref = HubRef(target.repo, commit)
    wrong = target.damaged(commit)
    if not wrong:
        with tempfile.TemporaryDirectory() as folder:
            registry = Registry(Path(folder))
            found = pull(ref, registry)
            same = digest(found.record) == digest(plan.record)
            wrong = differences(local, registry.checkout(found)) if same else [RECORD]
    if wrong:
        raise ArtifactError(
            f"`{ref}` is not the model that was sent: {', '.join(wrong)} differ",
            "somebody may have changed it meanwhile; publish it again",
        )
