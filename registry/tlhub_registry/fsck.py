"""Checking that the registry is as it was written, and mending it from other copies."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tlhub.errors import UserError
from tlhub_registry import facts
from tlhub_registry.blobs import sha256_of
from tlhub_registry.checkouts import RECORD
from tlhub_registry.garbage import orphans
from tlhub_registry.parts import Part
from tlhub_registry.registry import Registry

Fetch = Callable[[str, str], Path | None]
"""From a place, such as `hub:you/model@<commit>`, and the name of a file to that file; None where it cannot be had."""


@dataclass(frozen=True)
class Damage:
    """A file of an entry that is not as it was added.

    Attributes:
        entry: its name and version.
        file: the file's name.
        what: `altered`, `truncated` or `missing`.
        mended: where the copy was found that it was mended from; None where none was.
    """

    entry: str
    file: str
    what: str
    mended: str | None


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        entries: how many there are.
        blobs: how many they name.
        size: of those, in bytes.
        damages: what is not as it was added, mended or not.
        orphans: files that no entry names: garbage, or of an entry that is being added.
    """

    entries: int
    blobs: int
    size: int
    damages: tuple[Damage, ...]
    orphans: tuple[Path, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged, or all of it was mended."""
        return all(damage.mended is not None for damage in self.damages)


def check(registry: Registry, *, repair: bool = False, fetch: Fetch | None = None) -> Report:
    """Read every record and every blob, and compare them with what was written.

    Args:
        repair: mend what is damaged from the run's folder, from a checkout, or from where the entry was pulled from or
            published to, whichever has a copy.
        fetch: how a file is had from such a place; without it, none is asked.

    Raises ArtifactError where the database itself is damaged.
    """
    with registry.database.reading() as db:
        registry.database.check(db)
        models = _models(db)
        loose = orphans(registry, db)
    parts = {part.sha256: part for model in models for file in model.files.values() for part in file}
    wrong = {sha256: what for sha256, part in parts.items() if (what := _fault(registry, part))}
    mended: dict[str, str] = {}
    damages = []
    for model in models:
        for name, file in model.files.items():
            bad = [part for part in file if part.sha256 in wrong]
            if not bad:
                continue
            if repair:
                _mend(registry, model, name, [part for part in bad if part.sha256 not in mended], mended, fetch)
            sources = [mended.get(part.sha256) for part in bad]
            damages.append(Damage(model.ref, name, wrong[bad[0].sha256], None if None in sources else sources[0]))
        if not facts.is_whole(model.record, model.sha256):
            damages.append(Damage(model.ref, RECORD, "altered", _mend_record(registry, model) if repair else None))
    size = sum(part.size for part in parts.values())
    return Report(len(models), len(parts), size, tuple(damages), tuple(loose))


@contextmanager
def from_hub(tell: Callable[[str], None]) -> Iterator[Fetch]:
    """What fetches from the Hub, with all the checks of a pull; `tell` hears of a place that cannot be had, and why.

    What is fetched is gone when the context ends.
    """
    with TemporaryDirectory() as folder:
        fetched = Registry(Path(folder))
        missing: set[str] = set()

        def fetch(place: str, file: str) -> Path | None:
            from tlhub_registry.pull import pull
            from tlhub_registry.refs import parse_repo

            if place in missing:
                return None
            try:
                return fetched.checkout(pull(parse_repo(place), fetched)) / file
            except UserError as error:
                missing.add(place)
                tell(f"{place} cannot be had: {error.message}")
                return None

        yield fetch


@dataclass(frozen=True)
class _Model:
    """An entry, whose record may be damaged."""

    number: int
    ref: str
    record: str
    sha256: str
    run: str | None
    places: tuple[str, ...]
    files: Mapping[str, tuple[Part, ...]]


def _models(db: sqlite3.Connection) -> list[_Model]:
    query = "SELECT id, name, version, record, record_sha256, run, source FROM entries ORDER BY id"
    models = []
    for number, name, version, record, sha256, run, source in db.execute(query).fetchall():
        files = db.execute("SELECT name, sha256 FROM files WHERE entry = ?", (number,)).fetchall()
        parts = {file: facts.parts_of(db, digest) for file, digest in files}
        published = [place for (place,) in db.execute("SELECT place FROM published WHERE entry = ?", (number,))]
        places = (*published, source) if run is None else tuple(published)
        models.append(_Model(number, f"{name}:{version}", record, sha256, run, places, parts))
    return models


def _fault(registry: Registry, part: Part) -> str | None:
    """What is wrong with a blob; None where it is as it was written."""
    path = registry.blobs.path(part.sha256)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return "missing"
    if size < part.size:
        return "truncated"
    return "altered" if size > part.size or sha256_of(path, Part(0, size, "")) != part.sha256 else None


def _mend(
    registry: Registry, model: _Model, name: str, bad: list[Part], mended: dict[str, str], fetch: Fetch | None
) -> None:
    """Write damaged blobs of a file anew from a copy of it; `mended` tells which were, and from where."""
    for where, path in _copies(registry, model, name, fetch) if bad else ():
        for part in bad:
            if sha256_of(path, part) == part.sha256:
                registry.blobs.write(path, part)
                registry.blobs.sync([part])
                mended[part.sha256] = where
        bad = [part for part in bad if part.sha256 not in mended]
        if not bad:
            return


def _mend_record(registry: Registry, model: _Model) -> str | None:
    """Write a damaged record anew from a copy; says from where, or None where there is none."""
    for where, path in _copies(registry, model, RECORD, None):
        text = path.read_bytes().decode(errors="replace")
        if facts.is_whole(text, model.sha256):
            with registry.database.writing() as db:
                db.execute("UPDATE entries SET record = ? WHERE id = ?", (text, model.number))
            return where
    return None


def _copies(registry: Registry, model: _Model, name: str, fetch: Fetch | None) -> Iterator[tuple[str, Path]]:
    """Files that may be the same as one of an entry, each with where it is."""
    folders = [registry.checkouts.path(model.sha256), *([Path(model.run)] if model.run else [])]
    yield from ((str(folder), folder / name) for folder in folders if (folder / name).is_file())
    if fetch is not None:
        fetched = ((place, fetch(place, name)) for place in model.places)
        yield from ((place, path) for place, path in fetched if path is not None)
