"""Repositories as the Hub keeps them: content-addressed commits, branches, tags and pull requests."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

LARGE = ("arrow", "bin", "ckpt", "h5", "jpg", "npz", "onnx", "parquet", "pkl", "png", "pt", "safetensors", "zip")
ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in LARGE).encode()


class Refusal(Exception):  # noqa: N818
    """An answer that is an error, in the headers that the clients read."""

    def __init__(self, status: int, message: str, code: str | None = None, **extra: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


@dataclass(frozen=True)
class User:
    name: str
    orgs: tuple[str, ...]
    role: str


@dataclass(frozen=True)
class File:
    """A file of a commit. `oid` is git's: of the content, or of the LFS pointer that git keeps instead of it."""

    oid: str
    size: int
    sha256: str
    lfs: bool

    @property
    def key(self) -> str:
        """What clients compare to tell whether a file has changed."""
        return self.sha256 if self.lfs else self.oid


@dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    tree: Mapping[str, File]
    message: str
    author: str
    date: str


@dataclass
class Discussion:
    num: int
    title: str
    author: str
    base: str | None  # the commit a pull request began from; None: only talk
    status: str = "open"
    merged: str | None = None
    date: str = ""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether a file goes to LFS: by its suffix, its size, or because it is not text."""
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        if error.end < len(sample):  # not only a character that the end of the sample has cut
            return True
    return path.rsplit(".", 1)[-1] in LARGE or size > 10_000_000


class Blobs:
    """Contents of files on disk, by sha256."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, sha256: str) -> bool:
        return bool(re.fullmatch("[0-9a-f]{64}", sha256)) and (self.folder / sha256).is_file()

    def read(self, sha256: str) -> bytes:
        return (self.folder / sha256).read_bytes()

    def add(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / sha256).write_bytes(content)
        return sha256

    def file(self, path: str, content: bytes) -> File:
        """What a commit says of a file with this content, which is kept."""
        if is_large(path, len(content), content):
            return self.pointer(self.add(content))
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return File(oid, len(content), self.add(content), lfs=False)

    def pointer(self, sha256: str) -> File:
        """What a commit says of a large file that is here already."""
        size = (self.folder / sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return File(hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest(), size, sha256, lfs=True)


@dataclass
class Repo:
    """A repository. As on the Hub it begins with a commit of `.gitattributes` alone."""

    id: str
    kind: str
    blobs: Blobs
    private: bool = False
    gated: str | bool = False
    granted: set[str] = field(default_factory=set)  # users whom the gate lets in
    created: str = field(default_factory=now)
    refs: dict[str, str] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)
    history: dict[str, Commit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.apply("refs/heads/main", {".gitattributes": self.blobs.file("", ATTRIBUTES)}, "initial commit", self.owner)

    # What tests look at.

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    @property
    def commits(self) -> list[str]:
        """Commits of main, newest first; the last one is the Hub's own initial commit."""
        return [commit.oid for commit in self.log("main")]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """Contents by path; `.gitattributes`, which the Hub adds, is among them."""
        return {path: self.blobs.read(file.sha256) for path, file in self.at(revision).tree.items()}

    @property
    def branches(self) -> dict[str, str]:
        return self.named("refs/heads/")

    @property
    def tags(self) -> dict[str, str]:
        return self.named("refs/tags/")

    @property
    def pull_requests(self) -> list[Discussion]:
        return [discussion for discussion in self.discussions if discussion.base]

    def commit(self, files: Mapping[str, bytes | None], message: str = "somebody else was here") -> str:
        """A commit on main made by somebody else, of any paths whatever; None deletes. Returns its oid."""
        changes = {p: None if content is None else self.blobs.file(p, content) for p, content in files.items()}
        return self.apply("refs/heads/main", changes, message, "somebody")

    # What the endpoints use.

    def named(self, prefix: str) -> dict[str, str]:
        return {name.removeprefix(prefix): oid for name, oid in self.refs.items() if name.startswith(prefix)}

    def ref(self, revision: str) -> str:
        """The full name of a branch, tag or pull request."""
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return name
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def at(self, revision: str) -> Commit:
        return self.history[revision if revision in self.history else self.refs[self.ref(revision)]]

    def log(self, revision: str) -> Iterator[Commit]:
        oid: str | None = self.at(revision).oid
        while oid:
            yield self.history[oid]
            oid = self.history[oid].parent

    def apply(self, ref: str, changes: Mapping[str, File | None], message: str, author: str) -> str:
        """Move a reference to a commit with these changes, or leave it where they change nothing."""
        parent = self.refs.get(ref)
        before = self.history[parent].tree if parent else {}
        tree = {path: file for path, file in sorted({**before, **changes}.items()) if file}
        if parent and tree == before:
            return parent
        content = json.dumps([parent, message, author, [(path, file.key) for path, file in tree.items()]])
        oid = hashlib.sha1(content.encode()).hexdigest()
        self.history[oid] = Commit(oid, parent, tree, message, author, now())
        self.refs[ref] = oid
        return oid

    def open_discussion(self, title: str, author: str, base: str | None) -> Discussion:
        discussion = Discussion(len(self.discussions) + 1, title, author, base, date=now())
        self.discussions.append(discussion)
        if base:
            self.refs[f"refs/pr/{discussion.num}"] = base
        return discussion

    def merge(self, discussion: Discussion, author: str) -> None:
        """Put what a pull request changed onto main; refused where main has changed the same paths."""
        if not discussion.base or discussion.status != "open":
            raise Refusal(400, "This is not an open pull request")
        base, mine, main = (self.at(r).tree for r in (discussion.base, f"refs/pr/{discussion.num}", "main"))
        changes = {path: mine.get(path) for path in {**base, **mine} if mine.get(path) != base.get(path)}
        if any(main.get(path) not in (base.get(path), file) for path, file in changes.items()):
            raise Refusal(409, "This pull request has conflicts with main")
        discussion.merged = self.apply("refs/heads/main", changes, f"{discussion.title} (#{discussion.num})", author)
        discussion.status = "merged"

    def card(self, revision: str = "main") -> dict[str, Any]:
        """The metadata at the top of README.md; empty where it cannot be read."""
        readme = self.at(revision).tree.get("README.md")
        try:
            return parse_card(self.blobs.read(readme.sha256).decode()) if readme else {}
        except (yaml.YAMLError, ValueError):
            return {}


def parse_card(text: str) -> dict[str, Any]:
    """The metadata of a card; raises what the YAML parser does, and a ValueError where it is no mapping."""
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    card = yaml.safe_load(found.group(1)) if found else {}
    if card is not None and not isinstance(card, dict):
        raise ValueError("the metadata is not a mapping")
    return card or {}
