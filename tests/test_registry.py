"""The registry on this disk: what it keeps, how it is found, and that damage is noticed and mended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlhub.errors import ArtifactError, UserError
from tlhub.lineage import Origin
from tlhub_registry.checkouts import IDLE
from tlhub_registry.fsck import Damage, check, from_hub
from tlhub_registry.garbage import collect
from tlhub_registry.parts import LARGE, content
from tlhub_registry.registry import Registry

from .models import write_model

Write = Callable[..., Path]


def tensor(seed: int, size: int = 100) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=size).astype(np.float32)


BASE = tensor(0, LARGE)  # four times as many bytes


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "registry")


@pytest.fixture
def model(tmp_path: Path) -> Write:
    """Writes a model with a large tensor that all share, and a head of its own."""

    def write(seed: int = 1, name: str = "digits", **settings: Any) -> Path:
        folder = tmp_path / "runs" / f"{name}-{seed}"
        return write_model(folder, {"base": BASE, "head": tensor(seed)}, name=name, **settings)

    return write


def blob_bytes(registry: Registry) -> int:
    return sum(path.stat().st_size for path in registry.blobs.found())


def flip(path: Path, at: int = -1) -> None:
    """Flip a bit of a file, as a failing disk does."""
    damaged = bytearray(path.read_bytes())
    damaged[at] ^= 1
    path.chmod(0o644)
    path.write_bytes(damaged)


def header(offsets: Mapping[str, Sequence[int]]) -> bytes:
    """The beginning of a safetensors file with bytes at these places."""
    told = {name: {"dtype": "U8", "shape": [b - a], "data_offsets": [a, b]} for name, (a, b) in offsets.items()}
    text = json.dumps(told).encode()
    return len(text).to_bytes(8, "little") + text


def remove_folder(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


class TestEntries:
    def test_nothing_is_created_before_the_first_write(self, registry: Registry) -> None:
        assert registry.entries() == []
        assert check(registry).sound
        assert collect(registry).size == 0
        with pytest.raises(UserError, match="there is no `digits` in the registry"):
            registry.find("digits")
        assert not registry.root.exists()

    def test_a_name_counts_its_versions(self, registry: Registry, model: Write) -> None:
        refs = [registry.add(model(seed, name)).ref for seed, name in ((1, "digits"), (2, "digits"), (1, "texts"))]
        assert refs == ["digits:1", "digits:2", "texts:1"]
        assert [entry.ref for entry in registry.entries()] == refs[::-1]
        assert [entry.ref for entry in registry.entries("digits")] == ["digits:2", "digits:1"]

    def test_an_entry_knows_what_was_added(self, registry: Registry, model: Write) -> None:
        folder = model()
        entry = registry.add(folder)
        assert entry.record == json.loads((folder / "tlhub.json").read_text())
        assert {name: file.size for name, file in entry.files.items()} == {
            name: (folder / name).stat().st_size for name in ("config.json", "model.safetensors")
        }
        assert (entry.source, entry.run, entry.score) == ("run", str(folder), "accuracy 91.3 %")
        assert registry.find("digits:1") == entry

    def test_the_same_model_is_not_added_twice(self, registry: Registry, model: Write) -> None:
        folder = model()
        first = registry.add(folder)
        assert registry.add(folder) == first
        pulled = registry.add(folder, source="hub:you/model@" + "c" * 40)
        assert (pulled.ref, pulled.digest, pulled.run) == ("digits:2", first.digest, None)
        assert [entry.ref for entry in registry.by_digest(first.digest)] == ["digits:2", "digits:1"]

    def test_a_number_is_not_given_twice(self, registry: Registry, model: Write) -> None:
        registry.add(model(1))
        registry.remove(registry.add(model(2)))
        assert registry.add(model(3)).ref == "digits:3"

    def test_names_become_ones_that_a_reference_can_have(self, registry: Registry, model: Write) -> None:
        entry = registry.add(model(), name="über [red]:2 @home")
        assert registry.find(entry.ref) == entry
        assert entry.ref == "über--red--2--home:1"

    def test_what_is_not_as_it_was_written_is_not_added(self, registry: Registry, model: Write) -> None:
        folder = model()
        flip(folder / "model.safetensors")
        with pytest.raises(ArtifactError, match=r"model\.safetensors is not as it was written"):
            registry.add(folder)
        (folder / "model.safetensors").unlink()
        with pytest.raises(ArtifactError, match=r"model\.safetensors"):
            registry.add(folder)
        (folder / "tlhub.json").unlink()
        with pytest.raises(ArtifactError, match="is no adapted model"):
            registry.add(folder)
        assert registry.entries() == []

    @pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", "a\\b", "C:x", "..", "tlhub.json", "a\nb"])
    def test_a_file_outside_the_model_is_refused(self, registry: Registry, model: Write, name: str) -> None:
        folder = model()
        record = json.loads((folder / "tlhub.json").read_text())
        (folder / "tlhub.json").write_text(json.dumps({**record, "files": {name: "0" * 64}}))
        with pytest.raises(ArtifactError, match="no file of a model"):
            registry.add(folder)

    def test_only_files_that_the_record_names_are_taken(self, registry: Registry, model: Write) -> None:
        folder = model()
        (folder / ".env").write_text("TOKEN=secret")
        assert set(registry.add(folder).files) == {"config.json", "model.safetensors"}


class TestNames:
    def test_versions_tags_and_digests_find_an_entry(self, registry: Registry, model: Write) -> None:
        first, second = registry.add(model(1)), registry.add(model(2))
        registry.tag(first, "best")
        tagged = registry.find("digits:best")
        assert (tagged.ref, tagged.tags) == (first.ref, ("best",))
        assert registry.find("digits") == second
        assert registry.find(second.digest) == second
        assert registry.find(second.digest[:15]) == second

    def test_a_tag_moves_and_goes(self, registry: Registry, model: Write) -> None:
        first, second = registry.add(model(1)), registry.add(model(2))
        registry.tag(first, "best")
        registry.tag(second, "best")
        assert registry.find("digits:best").ref == second.ref
        assert registry.find("digits:1").tags == ()
        registry.untag("digits", "best")
        with pytest.raises(UserError, match="there is no `digits:best`"):
            registry.find("digits:best")
        with pytest.raises(UserError, match="there is no tag `digits:best`"):
            registry.untag("digits", "best")

    @pytest.mark.parametrize("tag", ["3", "", "a b", "a:b", "x" * 65])
    def test_what_could_be_mistaken_is_no_tag(self, registry: Registry, model: Write, tag: str) -> None:
        with pytest.raises(UserError, match="is no tag"):
            registry.tag(registry.add(model()), tag)

    def test_a_wrong_name_leads_to_the_right_one(self, registry: Registry, model: Write) -> None:
        registry.tag(registry.add(model()), "best")
        with pytest.raises(UserError, match="did you mean `digits`"):
            registry.find("digist")
        with pytest.raises(UserError, match="of `digits` there is `1` and `best`"):
            registry.find("digits:7")
        with pytest.raises(UserError, match="at least 8 digits"):
            registry.find("sha256:12")

    def test_filters_look_at_all_that_a_model_was_made_with(self, registry: Registry, model: Write) -> None:
        teacher = Origin("teacher", "you/teacher", "a" * 40, (Origin("backbone", "timm/resnet50", "b" * 40),))
        entry = registry.add(model(lineage=[teacher]))
        assert entry.matches(task="Class", base="resnet50", data="photos", adapter="dann")
        assert entry.matches(base="you/teacher")
        assert not entry.matches(task="class", adapter="mmd")
        assert not entry.matches(tag="best")
        assert not entry.matches(data="train"), "a split is no data set"

    def test_where_it_was_published_is_remembered(self, registry: Registry, model: Write) -> None:
        entry = registry.add(model())
        for _ in range(2):
            registry.note_published(entry, "hub:you/model@" + "c" * 40)
        assert registry.find(entry.ref).published == ("hub:you/model@" + "c" * 40,)

    def test_what_was_made_from_a_model_is_known(self, registry: Registry, model: Write) -> None:
        teacher = registry.add(model(1, "teacher"))
        student = registry.add(model(2, "student", lineage=[Origin("teacher", "teacher", teacher.digest)]))
        assert [entry.ref for entry in registry.dependents(teacher)] == [student.ref]
        assert registry.dependents(student) == []

    def test_a_removed_entry_is_gone(self, registry: Registry, model: Write) -> None:
        entry = registry.add(model())
        registry.remove(entry)
        assert registry.entries() == []
        for action in (registry.remove, registry.checkout, lambda entry: registry.tag(entry, "best")):
            with pytest.raises(UserError, match="digits:1 was removed"):
                action(entry)


class TestStorage:
    def test_a_frozen_base_is_stored_once(self, registry: Registry, model: Write) -> None:
        registry.add(model(0))
        alone = blob_bytes(registry)
        for seed in range(1, 6):
            registry.add(model(seed))
        assert alone > BASE.nbytes
        assert blob_bytes(registry) - alone < 5 * 2000  # five heads, and headers

    def test_a_base_is_found_in_a_file_of_another_layout(self, registry: Registry, tmp_path: Path) -> None:
        registry.add(write_model(tmp_path / "one", {"encoder.weight": BASE, "head": tensor(1)}))
        before = blob_bytes(registry)
        big = tensor(2, LARGE)
        registry.add(write_model(tmp_path / "two", {"a.first": big, "z.base.encoder.weight": BASE, "m": tensor(3)}))
        assert blob_bytes(registry) - before < big.nbytes + 2000

    def test_files_come_back_byte_for_byte(self, registry: Registry, model: Write) -> None:
        folder = model()
        found = registry.checkout(registry.add(folder))
        assert {path.name: path.read_bytes() for path in found.iterdir()} == {
            path.name: path.read_bytes() for path in folder.iterdir()
        }
        assert all(path.stat().st_mode & 0o222 == 0 for path in found.iterdir())

    @pytest.mark.parametrize(
        "bytes_of_file",
        [
            b"",
            b"short",
            (2**62).to_bytes(8, "little") + b"{}",
            (2).to_bytes(8, "little") + b"[]" + bytes(LARGE),
            (200_000).to_bytes(8, "little") + b"[" * 200_000 + bytes(LARGE),
            header({"a": [0, 99_999_999]}) + bytes(LARGE),
            header({"a": [-5, 70_000]}) + bytes(2 * LARGE),
            header({"a": [0, 70_000], "b": [10, 70_010]}) + bytes(2 * LARGE),
        ],
        ids=["empty", "short", "endless header", "no mapping", "nested", "outside", "before", "overlapping"],
    )
    def test_what_is_no_safetensors_file_is_stored_whole(self, tmp_path: Path, bytes_of_file: bytes) -> None:
        path = tmp_path / "odd.safetensors"
        path.write_bytes(bytes_of_file)
        assert [(part.offset, part.size) for part in content(path).parts] == [(0, len(bytes_of_file))]

    def test_garbage_is_what_no_entry_needs(self, registry: Registry, model: Write) -> None:
        kept = registry.add(model(1))
        before = set(registry.blobs.found())
        registry.remove(registry.add(model(2)))
        found = collect(registry, dry_run=True)
        assert set(found.blobs) == set(registry.blobs.found()) - before
        assert found.size == sum(path.stat().st_size for path in found.blobs)
        assert collect(registry) == found
        assert set(registry.blobs.found()) == before
        assert check(registry).sound
        registry.checkout(kept)

    def test_a_checkout_in_use_stays_and_an_idle_one_goes(self, registry: Registry, model: Write) -> None:
        entry = registry.add(model())
        folder = registry.checkout(entry)
        collect(registry)
        assert folder.exists()
        os.utime(folder, (0, time.time() - IDLE - 60))
        assert registry.checkout(entry).stat().st_mtime > time.time() - 60
        os.utime(folder, (0, time.time() - IDLE - 60))
        assert collect(registry).checkouts == (folder,)
        assert not folder.exists()
        assert registry.checkout(entry) == folder

    def test_blobs_without_their_database_are_not_garbage(self, registry: Registry, model: Write) -> None:
        registry.add(model())
        registry.database.path.unlink()
        with pytest.raises(ArtifactError, match=r"registry\.sqlite is gone"):
            collect(registry)


class TestDamage:
    """Nothing that is damaged is loaded, it is found, and mended from another copy if there is one."""

    @pytest.fixture
    def folder(self, model: Write) -> Path:
        return model()

    def blob(self, registry: Registry, folder: Path) -> Path:
        """Of the large tensor."""
        [part] = [part for part in content(folder / "model.safetensors").parts if part.size == BASE.nbytes]
        return registry.blobs.path(part.sha256)

    def damage(self, path: Path, how: str) -> None:
        path.chmod(0o644)
        if how == "altered":
            flip(path, 1000)
        elif how == "truncated":
            path.write_bytes(path.read_bytes()[:-10])
        else:
            path.unlink()

    @pytest.mark.parametrize("how", ["altered", "truncated", "missing"])
    def test_a_damaged_file_is_refused_found_and_mended_from_the_run(
        self, registry: Registry, folder: Path, how: str
    ) -> None:
        entry = registry.add(folder)
        self.damage(self.blob(registry, folder), how)
        with pytest.raises(ArtifactError, match=r"`model\.safetensors` of digits:1 is damaged"):
            registry.checkout(entry)
        assert check(registry).damages == (Damage("digits:1", "model.safetensors", how, None),)
        mended = check(registry, repair=True)
        assert mended.damages == (Damage("digits:1", "model.safetensors", how, str(folder)),)
        assert mended.sound
        assert check(registry).damages == ()
        registry.checkout(entry)

    def test_damage_to_what_models_share_is_told_of_each_and_mended_from_any(
        self, registry: Registry, model: Write
    ) -> None:
        first, second = model(1), model(2)
        registry.add(first)
        registry.checkout(registry.add(second))
        remove_folder(first)
        remove_folder(second)
        self.damage(next(path for path in registry.blobs.found() if path.stat().st_size == BASE.nbytes), "altered")
        assert [damage.entry for damage in check(registry).damages] == ["digits:1", "digits:2"]
        assert check(registry, repair=True).damages[1].mended == str(registry.checkout(registry.find("digits:2")))
        assert check(registry).damages == ()

    def test_a_copy_that_is_damaged_itself_mends_nothing(self, registry: Registry, folder: Path) -> None:
        registry.add(folder)
        self.damage(self.blob(registry, folder), "missing")
        flip(folder / "model.safetensors", -BASE.nbytes // 2)
        report = check(registry, repair=True)
        assert not report.sound
        assert report.damages == (Damage("digits:1", "model.safetensors", "missing", None),)

    def test_it_is_fetched_from_where_it_was_pulled_or_published(
        self, registry: Registry, folder: Path, model: Write
    ) -> None:
        place = "hub:you/model@" + "c" * 40
        other = registry.add(model(2))
        registry.note_published(other, place)
        pulled = registry.add(folder, source=place)
        self.damage(self.blob(registry, folder), "altered")
        remove_folder(Path(str(other.run)))
        asked = []

        def fetch(place: str, file: str) -> Path | None:
            asked.append((place, file))
            return folder / file

        assert check(registry, repair=True, fetch=fetch).sound
        assert asked == [(place, "model.safetensors")]
        registry.checkout(pulled)

    def test_a_hub_that_cannot_be_asked_is_told_of_once(self, registry: Registry, model: Write) -> None:
        place = "hub:you/model@" + "c" * 40
        folder = model()
        registry.add(folder, source=place)
        for path in registry.blobs.found():
            self.damage(path, "missing")
        remove_folder(folder)
        told: list[str] = []
        with from_hub(told.append) as fetch:
            report = check(registry, repair=True, fetch=fetch)
        assert [damage.file for damage in report.damages] == ["config.json", "model.safetensors"]
        assert not report.sound
        assert [each.partition(" cannot be had: ")[0] for each in told] == [place]

    def test_adding_the_model_again_mends_what_is_missing(self, registry: Registry, folder: Path) -> None:
        entry = registry.add(folder)
        self.damage(self.blob(registry, folder), "missing")
        assert registry.add(folder) == entry
        registry.checkout(entry)

    def test_a_damaged_checkout_is_made_anew(self, registry: Registry, folder: Path) -> None:
        entry = registry.add(folder)
        flip(registry.checkout(entry) / "model.safetensors")
        again = registry.checkout(entry)
        assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()

    def test_a_record_that_changed_in_the_database_is_refused_and_mended(
        self, registry: Registry, folder: Path
    ) -> None:
        entry = registry.add(folder)
        with registry.database.writing() as db:
            db.execute("UPDATE entries SET record = CAST(replace(record, '0.913', x'FF') AS TEXT)")
        for action in (registry.entries, lambda: registry.find("digits")):
            with pytest.raises(ArtifactError, match="the record of digits:1 is damaged"):
                action()
        assert check(registry).damages == (Damage("digits:1", "tlhub.json", "altered", None),)
        assert check(registry, repair=True).sound
        assert registry.find("digits") == entry

    @pytest.mark.parametrize("damage", [b"not a database " * 500, None], ids=["overwritten", "torn"])
    def test_a_damaged_database_is_named(self, registry: Registry, model: Write, damage: bytes | None) -> None:
        for seed in range(12):
            registry.add(model(seed))
        path = registry.database.path
        path.write_bytes(damage or path.read_bytes()[:4096] + os.urandom(path.stat().st_size - 4096))
        for action in (registry.entries, lambda: check(registry)):
            with pytest.raises(ArtifactError, match=r"registry\.sqlite is damaged"):
                action()

    def test_the_database_of_a_newer_version_is_left_alone(self, registry: Registry, folder: Path) -> None:
        registry.add(folder)
        with registry.database.writing() as db:
            db.execute("PRAGMA user_version = 99")
        with pytest.raises(UserError, match="newer tlhub"):
            registry.entries()
