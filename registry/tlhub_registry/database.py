"""The facts of the registry: an SQLite file that many processes read and write at once."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tlhub.errors import ArtifactError, UserError

PATIENCE = 60.0
"""Seconds that a process waits for the others."""

_MIGRATIONS = [
    """
    CREATE TABLE names (name TEXT PRIMARY KEY, latest INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
        source TEXT NOT NULL, created TEXT NOT NULL, record TEXT NOT NULL, record_sha256 TEXT NOT NULL, run TEXT,
        UNIQUE (name, version), UNIQUE (record_sha256, source, name)
    );
    CREATE INDEX entries_by_digest ON entries (digest);
    CREATE TABLE files (
        entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
        name TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (entry, name)
    ) WITHOUT ROWID;
    CREATE INDEX files_by_sha256 ON files (sha256);
    CREATE TABLE parts (
        file TEXT NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, blob TEXT NOT NULL,
        PRIMARY KEY (file, offset)
    ) WITHOUT ROWID;
    CREATE INDEX parts_by_blob ON parts (blob);
    CREATE TABLE tags (
        name TEXT NOT NULL, tag TEXT NOT NULL, entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE,
        PRIMARY KEY (name, tag)
    ) WITHOUT ROWID;
    CREATE INDEX tags_by_entry ON tags (entry);
    CREATE TABLE published (
        entry INTEGER NOT NULL REFERENCES entries ON DELETE CASCADE, place TEXT NOT NULL, PRIMARY KEY (entry, place)
    ) WITHOUT ROWID;
    """,
]
"""What leads from each version of the schema to the next; the file's `user_version` counts how many were done."""


class Database:
    """The SQLite file at `path`, made when it is first written to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the facts; no entries where there is no file."""
        with self._explained(), closing(self._open() if self.path.exists() else _empty()) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection of the one process that may write now; all it wrote counts at the end, or nothing."""
        with self.opened() as connection, transaction(connection):
            yield connection

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """A connection for several transactions; makes the file where there is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._explained(), closing(self._open()) as connection:
            yield connection

    def check(self, connection: sqlite3.Connection) -> None:
        """Read the whole file. Raises ArtifactError where it is damaged."""
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise self._damaged("; ".join(found[:3]))

    def _damaged(self, how: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path} is damaged: {how}",
            f"put a copy of it from a backup there; without one, rename {self.path.parent} and add your runs anew with "
            "`tlhub registry add FOLDER`",
        )

    def _open(self) -> sqlite3.Connection:
        """A connection to the file, with the newest schema."""
        connection = sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)
        connection.text_factory = lambda text: text.decode(errors="replace")  # damaged text is text, and is noticed
        try:
            _patiently(connection, "PRAGMA journal_mode = WAL")  # does not wait for its turn, whatever the timeout says
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        version = _version(connection)
        if version == len(_MIGRATIONS):
            return
        if version > len(_MIGRATIONS):
            raise UserError(f"{self.path} was written by a newer tlhub", "upgrade tlhub")
        with transaction(connection):
            for migration in _MIGRATIONS[_version(connection) :]:  # another process may have been quicker
                for statement in migration.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words that help."""
        try:
            yield
        except sqlite3.Error as error:
            code = _primary(error)
            if code in _BUSY:
                raise UserError(
                    f"{self.path} is being written by another process, for {PATIENCE:.0f} seconds now", "try again"
                ) from None
            if code in _DAMAGED:
                raise self._damaged(str(error)) from None
            if code in _REFUSED:
                raise UserError(
                    f"{self.path} cannot be used: {error}", "make room on its disk, and see that you may write there"
                ) from None
            raise


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """The one process that may write now; all it wrote counts at the end, or nothing."""
    connection.execute("PRAGMA busy_timeout = 0")
    _patiently(connection, "BEGIN IMMEDIATE")  # SQLite itself would look every tenth of a second
    connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE:.0f}")
    with connection:
        yield


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Execute a statement, again and again while others are in the way."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute(statement)
        except sqlite3.OperationalError as error:
            if _primary(error) not in _BUSY or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.001, 0.004))
        else:
            return


def _empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for migration in _MIGRATIONS:
        connection.executescript(migration)
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _primary(error: BaseException) -> int | None:
    """SQLite's code without the part that tells apart cases of one error."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_REFUSED = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
