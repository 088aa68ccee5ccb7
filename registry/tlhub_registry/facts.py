"""What the registry knows of its entries, in SQL. Every function works within the caller's transaction."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping
from typing import Any

from tlhub.diagnostics import closest, listed, quoted
from tlhub.errors import ArtifactError, UserError
from tlhub_registry.entry import Entry, File
from tlhub_registry.parts import Content, Part


def insert(db: sqlite3.Connection, facts: Mapping[str, Any], contents: Mapping[str, Content]) -> Entry:
    """The entry with these facts: the one there is, or a new one with the next version of its name."""
    same = "SELECT id FROM entries WHERE record_sha256 = :record_sha256 AND source = :source AND name = :name"
    found = db.execute(same, facts).fetchone()
    if found is not None:
        db.execute("UPDATE entries SET run = ? WHERE id = ?", (facts["run"], found[0]))  # the folder may have moved
        return _entry(db, found[0])
    count = "INSERT INTO names VALUES (:name, 1) ON CONFLICT DO UPDATE SET latest = latest + 1 RETURNING latest"
    [version] = db.execute(count, facts).fetchone()
    number = db.execute(
        "INSERT INTO entries (name, version, digest, source, created, record, record_sha256, run)"
        " VALUES (:name, :version, :digest, :source, :created, :record, :record_sha256, :run)",
        {**facts, "version": version},
    ).lastrowid
    for name, held in contents.items():
        db.execute("INSERT INTO files VALUES (?, ?, ?, ?)", (number, name, held.sha256, held.size))
        rows = ((held.sha256, part.offset, part.size, part.sha256) for part in held.parts)
        db.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?, ?, ?)", rows)
    return _entry(db, number)


def delete(db: sqlite3.Connection, entry: Entry) -> None:
    """Forget an entry, and how the files that no other entry has are cut."""
    db.execute("DELETE FROM entries WHERE id = ?", (number_of(db, entry),))
    db.execute("DELETE FROM parts WHERE file NOT IN (SELECT sha256 FROM files)")


def find(db: sqlite3.Connection, ref: str) -> Entry:
    """The entry of a name, with or without version or tag, or of a digest. Raises UserError where there is none."""
    return _by_digest(db, ref) if ref.startswith("sha256:") else _by_name(db, ref)


def entries(db: sqlite3.Connection, where: str = "", values: tuple[object, ...] = ()) -> list[Entry]:
    """The entries that fulfil a condition, the newest first. Raises ArtifactError where a record is damaged."""
    rows = db.execute(f"SELECT * FROM entries {where} ORDER BY id DESC", values)
    rows.row_factory = sqlite3.Row
    return [_made(db, row) for row in rows.fetchall()]


def number_of(db: sqlite3.Connection, entry: Entry) -> int:
    """The number of an entry, which the other tables name it by. Raises UserError where it has been removed."""
    row = db.execute("SELECT id FROM entries WHERE name = ? AND version = ?", (entry.name, entry.version)).fetchone()
    if row is None:
        raise UserError(f"{entry.ref} was removed from the registry")
    return int(row[0])


def record_of(db: sqlite3.Connection, entry: Entry) -> str:
    """The text of an entry's `tlhub.json`. Raises UserError where the entry has been removed."""
    [text] = db.execute("SELECT record FROM entries WHERE id = ?", (number_of(db, entry),)).fetchone()
    return str(text)


def parts_of(db: sqlite3.Connection, file: str) -> tuple[Part, ...]:
    """The parts of the file with this sha256, in order."""
    rows = db.execute("SELECT offset, size, blob FROM parts WHERE file = ? ORDER BY offset", (file,))
    return tuple(Part(*row) for row in rows)


def is_whole(record: str, sha256: str) -> bool:
    """Whether a record is as it was added."""
    return hashlib.sha256(record.encode()).hexdigest() == sha256


def _entry(db: sqlite3.Connection, number: int | None) -> Entry:
    [entry] = entries(db, "WHERE id = ?", (number,))
    return entry


def _by_name(db: sqlite3.Connection, ref: str) -> Entry:
    name, _, which = ref.partition(":")
    tagged = "WHERE id = (SELECT entry FROM tags WHERE name = ? AND tag = ?)"
    if not which:
        found = entries(db, "WHERE id = (SELECT max(id) FROM entries WHERE name = ?)", (name,))
    elif which.isdecimal():
        found = entries(db, "WHERE name = ? AND version = ?", (name, int(which)))
    else:
        found = entries(db, tagged, (name, which))
    if found:
        return found[0]
    versions = [row[0] for row in db.execute("SELECT version FROM entries WHERE name = ? ORDER BY version", (name,))]
    tags = [row[0] for row in db.execute("SELECT tag FROM tags WHERE name = ? ORDER BY tag", (name,))]
    if versions:
        hint = f"of {quoted(name)} there is {listed([*map(str, versions), *tags])}"
        raise UserError(f"there is no {quoted(ref)} in the registry", hint)
    near = closest(name, [row[0] for row in db.execute("SELECT DISTINCT name FROM entries")])
    hint = f"did you mean {quoted(near)}?" if near else "`tlhub registry list` shows what there is"
    raise UserError(f"there is no {quoted(ref)} in the registry", hint)


def _by_digest(db: sqlite3.Connection, ref: str) -> Entry:
    if not re.fullmatch("sha256:[0-9a-f]{8,64}", ref):
        raise UserError(f"{quoted(ref)} names no model", "give at least 8 digits of its sha256, in lower case")
    found = entries(db, "WHERE digest BETWEEN ? AND ?", (ref, ref + "g"))
    if not found:
        raise UserError(f"there is no model {quoted(ref)} in the registry", "`tlhub registry list` shows what there is")
    if len({entry.digest for entry in found}) > 1:
        raise UserError(f"the digests of several models begin with {quoted(ref)}", "give more digits")
    return found[0]


def _made(db: sqlite3.Connection, row: sqlite3.Row) -> Entry:
    if not is_whole(row["record"], row["record_sha256"]):
        raise ArtifactError(
            f"the record of {row['name']}:{row['version']} is damaged in the registry",
            "`tlhub registry fsck --repair` looks for another copy",
        )
    files = db.execute("SELECT name, sha256, size FROM files WHERE entry = ? ORDER BY name", (row["id"],))
    tags = db.execute("SELECT tag FROM tags WHERE entry = ? ORDER BY tag", (row["id"],))
    published = db.execute("SELECT place FROM published WHERE entry = ? ORDER BY place", (row["id"],))
    return Entry(
        **{key: row[key] for key in ("name", "version", "digest", "created", "source", "run")},
        record=json.loads(row["record"]),
        files={name: File(sha256, size) for name, sha256, size in files},
        tags=tuple(tag for (tag,) in tags),
        published=tuple(place for (place,) in published),
    )
