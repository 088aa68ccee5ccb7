"""The registry: every finished run and every pulled model on this disk, as an entry that never changes."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from tlhub.diagnostics import quoted
from tlhub.errors import ArtifactError, UserError
from tlhub.home import home
from tlhub_registry import facts
from tlhub_registry.blobs import Blobs
from tlhub_registry.checkouts import RECORD, Checkouts
from tlhub_registry.database import Database, transaction
from tlhub_registry.entry import Entry
from tlhub_registry.parts import Content, Part, content


class Registry:
    """The registry in a folder; nothing is created there before the first write.

    Any number of processes may use it at once. Whatever a method wrote is on the disk when it returns, and a process
    that is killed before that leaves the entries as they were, and blobs that garbage collection removes.

    Every method raises UserError where the registry cannot be read or written, say because the disk is full.

    Args:
        root: the folder; by default `registry` in the folder of `tlhub.home`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = home() / "registry" if root is None else root
        self.database = Database(self.root / "registry.sqlite")
        self.blobs = Blobs(self.root / "blobs")
        self.checkouts = Checkouts(self.root / "checkouts", self.blobs)

    def add(self, folder: Path, *, name: str | None = None, source: str = "run") -> Entry:
        """Add the model in a folder as the next version of its name; the same model is not added twice.

        Two are the same if record (and so every file), name and source are.

        Args:
            name: by default the name in its record. Characters that a reference cannot have become dashes.
            source: where it came from: `run`, or a place such as `hub:you/model@<commit>`.

        Raises ArtifactError where the folder holds no adapted model, or one that is not as it was written.
        """
        from tlhub.artifact import digest, read_record

        read_record(folder)
        text = (folder / RECORD).read_bytes().decode()
        record = json.loads(text)
        contents = _contents(folder, record)
        known = {
            "name": re.sub(r"[^\w./+-]", "-", name or record["name"]),
            "digest": digest(record),
            "source": source,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "record": text,
            "record_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "run": str(folder.resolve()).encode(errors="replace").decode() if source == "run" else None,
        }
        parts = {part: folder / file for file, held in contents.items() for part in held.parts}
        with _disk(self.root), self.database.opened() as db:  # there, so that blobs never lie beside no database
            self._write(db, parts)
            with transaction(db):
                for part, path in parts.items():
                    if not self.blobs.holds(part):  # a garbage collection came between; none can now
                        self.blobs.write(path, part)
                        self.blobs.sync([part])
                return facts.insert(db, known, contents)

    def find(self, ref: str) -> Entry:
        """The entry of a name and version or tag, such as `digits-dann:3`, or the newest of `digits-dann`.

        The digest that identifies a model will do too, and so will its beginning, such as `sha256:0b51c8de`.

        Raises UserError where there is none, with the nearest name.
        """
        with self.database.reading() as db:
            return facts.find(db, ref)

    def entries(self, name: str | None = None) -> list[Entry]:
        """All entries, or those of a name, the newest first."""
        with self.database.reading() as db:
            return facts.entries(db) if name is None else facts.entries(db, "WHERE name = ?", (name,))

    def by_digest(self, digest: str) -> list[Entry]:
        """The entries that hold a model, the newest first: one for each name, source and record of it."""
        with self.database.reading() as db:
            return facts.entries(db, "WHERE digest = ?", (digest,))

    def dependents(self, entry: Entry) -> list[Entry]:
        """The entries of other models that were made from the model of this one, the newest first."""
        return [each for each in self.entries() if any(origin.revision == entry.digest for origin in each.origins)]

    def tag(self, entry: Entry, tag: str) -> None:
        """Let `name:tag` mean this entry, whichever it meant before. Raises UserError where that is no tag."""
        if not re.fullmatch(r"(?!\d+$)[\w.+-]{1,64}", tag):
            raise UserError(f"{quoted(tag)} is no tag", "up to 64 letters, digits and `.+-_`, not digits alone")
        with self.database.writing() as db:
            number = facts.number_of(db, entry)
            db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?, ?)", (entry.name, tag, number))

    def untag(self, name: str, tag: str) -> None:
        """Remove a tag. Raises UserError where there is none."""
        with self.database.writing() as db:
            if not db.execute("DELETE FROM tags WHERE name = ? AND tag = ?", (name, tag)).rowcount:
                raise UserError(f"there is no tag {quoted(f'{name}:{tag}')}", "`tlhub registry list` shows them")

    def note_published(self, entry: Entry, place: str) -> None:
        """Remember that this entry was published at a place, such as `hub:you/model@<commit>`."""
        with self.database.writing() as db:
            db.execute("INSERT OR IGNORE INTO published VALUES (?, ?)", (facts.number_of(db, entry), place))

    def remove(self, entry: Entry) -> None:
        """Remove an entry and its tags; garbage collection then removes the blobs that no other entry has."""
        with self.database.writing() as db:
            facts.delete(db, entry)

    def checkout(self, entry: Entry) -> Path:
        """A folder with the entry's files and its `tlhub.json` as they were added, for reading only.

        It is made once and checked at every call; garbage collection removes it when nobody asked for it in an hour.

        Raises ArtifactError naming the file that is not as it was added.
        """
        with self.database.reading() as db:
            record = facts.record_of(db, entry)
            layout = {name: facts.parts_of(db, file.sha256) for name, file in entry.files.items()}
        with _disk(self.root):
            return self.checkouts.get(entry, record, layout)

    def _write(self, db: sqlite3.Connection, parts: Mapping[Part, Path]) -> None:
        """Write the blobs that no entry has yet, so that they are on the disk."""
        query = "SELECT 1 FROM parts WHERE blob = ?"
        new = [part for part in parts if db.execute(query, (part.sha256,)).fetchone() is None]
        for part in new:
            if not self.blobs.holds(part):
                self.blobs.write(parts[part], part)
        self.blobs.sync(new)


@contextmanager
def _disk(root: Path) -> Iterator[None]:
    """A disk that refuses, in words that help."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"the registry in {root} cannot be written: {error.strerror or error}", "make room there, then do it again"
        ) from None


def _contents(folder: Path, record: Mapping[str, Any]) -> dict[str, Content]:
    """The files that a record names, read. Raises ArtifactError where one is not as it was written."""
    found = {}
    for name, sha256 in record["files"].items():
        plain = name == PurePosixPath(name).name == PureWindowsPath(name).name and name.isprintable()
        if not plain or name in (RECORD, ".."):
            raise ArtifactError(f"{folder / RECORD} names {quoted(name)}, which is no file of a model")
        try:
            found[name] = content(folder / name)
        except OSError as error:
            raise ArtifactError(f"{folder / name}: {error.strerror}", "copy the folder anew, or adapt again") from None
        if found[name].sha256 != sha256:
            raise ArtifactError(f"{folder / name} is not as it was written: its sha256 differs", "copy the folder anew")
    return found
