"""Data that cannot be used: named, before training where that can be known, and nothing is lost.

Most commands run in the test's own process, a few in one of their own: starting Python takes most of a command's time.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from PIL import Image

from tlhub.artifact import load, read_record
from tlhub.checkpoint import Checkpoints, State
from tlhub.errors import TrainingError
from tlhub_cli.main import main

from .conftest import Command
from .tables import write_images

CLASSES = ("cat", "dog")


class Done(NamedTuple):
    """A command that has ended, and all that it printed."""

    status: object
    said: str

    @property
    def trained(self) -> bool:
        """Whether the screen told of a step."""
        return "step 2 of 2" in self.said


@dataclass
class User:
    """Somebody with photographs of cats and dogs in three folders, and a manifest that adapts a small network."""

    folder: Path
    store: Path
    types: Callable[..., Done]
    manifest: dict[str, Any] = field(default_factory=dict)

    def images(self, name: str, classes: tuple[str, ...] = CLASSES, each: int = 5) -> Path:
        return write_images(self.folder / name, classes, each)

    def writes(self, **changes: Any) -> None:
        """A manifest; `train` and `backbone` are merged with what is there, other parts replaced."""
        for key, value in changes.items():
            merged = isinstance(value, Mapping) and key in ("train", "backbone")
            self.manifest[key] = {**self.manifest[key], **value} if merged else value
        written = {key: value for key, value in self.manifest.items() if value is not None}
        (self.folder / "manifest.yaml").write_text(json.dumps(written))

    def adapts(self, *arguments: str, **changes: Any) -> Done:
        self.writes(**changes)
        done = self.types("adapt", "manifest.yaml", "--out", "out", *arguments)
        assert "Traceback" not in done.said
        return done

    def is_refused(self, *words: str, **changes: Any) -> str:
        """Before training, with all of these words, and with nothing left behind."""
        done = self.adapts(**changes)
        assert done.status == 2, done.said
        assert [word for word in words if word not in done.said] == [], done.said
        assert not done.trained
        assert not (self.folder / "out").exists()
        assert list(self.store.glob("*")) == [], "no baseline was trained in vain"
        return done.said

    def is_told_after_training(self, *words: str, **changes: Any) -> str:
        """With all of these words and how to go on; the model is there, though nothing is said of how good it is."""
        done = self.adapts(**changes)
        assert done.status == 2, done.said
        assert done.trained
        assert [word for word in (*words, "the model is saved", "tlhub evaluate out") if word not in done.said] == []
        assert "result" not in read_record(self.folder / "out")
        assert load(self.folder / "out", "cpu").classes == CLASSES
        return done.said


@pytest.fixture
def user(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> User:
    monkeypatch.chdir(tmp_path)

    def types(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["tlhub", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Done(ended.value.code, printed.out + printed.err)

    user = User(tmp_path, store, types)
    user.manifest = {"backbone": {"use": "lenet", "fc": False}, "adapters": ["mmd"]}
    for role in ("source", "target", "evaluate"):
        user.images(role)
        user.manifest[role] = folder(role)
    user.manifest["train"] = {"epochs": 1, "steps_per_epoch": 2, "batch": 4, "workers": 0}
    return user


def folder(path: str, **settings: Any) -> dict[str, Any]:
    return {"use": "imagefolder", "path": path, **settings}


def table(path: str, **settings: Any) -> dict[str, Any]:
    return {"use": "csv", "path": path, "image": "file", **settings}


def broken(file: Path, damage: str) -> Path:
    """An image file, damaged."""
    if damage == "text":
        file = file.with_suffix(".jpg")
        file.write_text("this is no image")
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        whole = Image.effect_noise((64, 64), 50).convert("RGB")
        file = file.with_suffix(f".{damage}")
        whole.save(file)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return file


class TestFolders:
    """A folder that is not what its part of the manifest says."""

    @pytest.mark.parametrize("role", ["source", "target", "evaluate"])
    def test_missing(self, user: User, role: str) -> None:
        user.is_refused("there is no file or folder photos", "source, target", **{role: folder("photos")})

    def test_one_level_too_high(self, user: User) -> None:
        user.is_refused("its images lie deeper", "path: ", source=folder("."))

    @pytest.mark.parametrize("role", ["source", "evaluate"])
    def test_one_level_too_low(self, user: User, role: str) -> None:
        if role == "source":
            user.is_refused("source/cat holds 5 images that lie in no class folder", source=folder("source/cat"))
        else:
            user.is_told_after_training("images that lie in no class folder", evaluate=folder("evaluate/cat"))

    def test_an_empty_class(self, user: User) -> None:
        (user.folder / "source/bird").mkdir()
        user.is_refused("the class folder source/bird holds no images")

    def test_no_images_at_all(self, user: User) -> None:
        (user.folder / "nothing").mkdir()
        user.is_refused("nothing holds no images", target=folder("nothing"))

    def test_overlapping_source_and_evaluate_are_the_users_choice(self, user: User) -> None:
        assert user.adapts(evaluate=folder("source")).status == 0


class TestDamagedImages:
    """A file that is no image, or only half of one, is named."""

    @pytest.mark.parametrize("damage", ["jpg", "png", "text", "empty"])
    @pytest.mark.parametrize("role", ["source", "target"])
    def test_in_training_data(self, user: User, role: str, damage: str) -> None:
        file = broken(user.folder / role / "dog/3.png", damage)
        user.is_refused(f"{role}/dog/{file.name} cannot be read as an image", "replace it, or remove it")

    @pytest.mark.parametrize("role", ["source", "target"])
    def test_in_data_that_streams_before_its_turn_comes(self, user: User, role: str) -> None:
        for name in ("source", "target"):
            user.images(name, each=60)
        file = broken(user.folder / role / "dog/59.png", "jpg")
        user.is_refused(f"{role}/dog/{file.name} cannot be read as an image", backbone={"shift": 2})

    @pytest.mark.parametrize("freeze", [False, True])
    def test_in_the_part_held_out_for_selection(self, user: User, freeze: bool) -> None:
        user.images("source", each=20)
        for file in (user.folder / "source").rglob("1?.png"):
            broken(file, "empty")
        adapters: list[Any] = [{"use": "partial_freeze", "stages": "all"}] if freeze else []
        user.is_refused("cannot be read as an image", adapters=[*adapters, "mmd"], select="source_score")

    def test_in_what_a_frozen_network_will_see(self, user: User) -> None:
        broken(user.folder / "target/cat/0.png", "png")
        user.is_refused("target/cat/0.png cannot be read", adapters=[{"use": "partial_freeze", "stages": "all"}, "mmd"])

    def test_found_by_worker_processes(self, user: User, tlhub: Command) -> None:
        user.images("target", each=600)
        broken(user.folder / "target/dog/599.png", "png")
        user.writes(backbone={"shift": 2}, train={"workers": 2})
        done = tlhub("adapt", "manifest.yaml", "--out", "out")
        assert done.returncode == 2
        assert "error: target/dog/599.png cannot be read as an image" in done.stderr
        assert "Traceback" not in done.stderr
        assert "step" not in done.stdout.partition("on cpu")[2]

    def test_in_evaluate_after_training_and_mended_without_training_again(self, user: User, tlhub: Command) -> None:
        file = broken(user.folder / "evaluate/dog/3.png", "png")
        user.writes()
        done = tlhub("adapt", "manifest.yaml", "--out", "out")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for word in (f"evaluate/dog/{file.name} cannot be read", "the model is saved", "`tlhub evaluate out`"):
            assert word in done.stderr
        file.unlink()
        mended = user.types("evaluate", "out")
        assert mended.status == 0, mended.said
        assert "accuracy" in mended.said


class TestClasses:
    """Lists of classes are matched by name, and both are printed where they differ."""

    def test_of_two_sources(self, user: User) -> None:
        user.images("more", ("cat", "wolf"))
        said = user.is_refused("source.1", "classes: {wolf: dog}", source=[folder("source"), folder("more")])
        assert "cat, dog" in said
        assert "cat, wolf" in said

    def test_of_a_labelled_target(self, user: User) -> None:
        user.images("target", ("cat", "dog", "wolf"))
        said = user.is_refused(
            "`target` has classes that are not among the run's", target=folder("target", labels="all")
        )
        assert "target`: cat, dog, wolf" in said
        assert "the run: cat, dog\n" in said

    def test_of_evaluate(self, user: User) -> None:
        user.images("hounds", ("cat", "hound"))
        said = user.is_refused(
            "`evaluate` has classes that are not among the run's", "classes: {hound: dog}", evaluate=folder("hounds")
        )
        assert "cat, hound" in said
        assert "cat, dog" in said

    def test_of_an_evaluate_whose_names_are_known_from_its_labels_alone(self, user: User) -> None:
        files = [f"evaluate/{name}/{number}.png" for name in CLASSES for number in range(5)]
        rows = [f"{file},{'hound' if 'dog' in file else 'cat'}" for file in files]
        (user.folder / "table.csv").write_text("\n".join(["file,label", *rows, ""]))
        user.is_told_after_training("cat, hound", "cat, dog", evaluate=table("table.csv"))
        data = "{use: csv, path: table.csv, image: file, classes: {hound: dog}}"
        assert user.types("evaluate", "out", "--data", data).status == 0

    def test_mapped_by_name(self, user: User) -> None:
        user.images("animals", ("cat", "hound", "bird"))
        mapping = {"hound": "dog", "bird": None}
        assert user.adapts(evaluate=folder("animals", classes=mapping)).status == 0

    @pytest.mark.parametrize("role", ["source", "evaluate"])
    def test_a_mapping_of_an_unknown_name(self, user: User, role: str) -> None:
        part = folder(role, classes={"wolf": "dog"})
        user.is_refused(f"`{role}.classes` names `wolf`", "it has cat, dog", **{role: part})

    def test_one_class_only(self, user: User) -> None:
        user.images("cats", ("cat",))
        user.is_refused("`source` has one class only, 'cat'", source=folder("cats"))

    def test_no_labelled_domain(self, user: User) -> None:
        user.is_refused("there are no labels to learn from", source=folder("source", labels="none"), adapters=[])


class TestSizes:
    """A batch is always full, and never of a size that cannot be normalised."""

    @pytest.mark.parametrize("role", ["source", "target"])
    def test_fewer_examples_than_a_batch(self, user: User, role: str) -> None:
        user.images("few", each=1)
        user.is_refused(
            f"`{role}` has 2 examples, fewer than one batch of 4", "set `batch: 2`", **{role: folder("few")}
        )

    def test_fewer_examples_than_a_batch_once_some_are_held_out(self, user: User) -> None:
        user.is_refused(
            "`source` has 9 examples besides the 1 held out for `select`, fewer than one batch of 10",
            select="source_score",
            train={"batch": 10},
        )

    @pytest.mark.parametrize("split", ["train[:0]", "all[3:3]"])
    def test_an_empty_slice(self, user: User, split: str) -> None:
        user.is_refused(f"`source` has no example in the split `{split}`", source=folder("source", split=split))

    def test_a_batch_of_one_is_refused_where_it_would_be_normalised(self, user: User) -> None:
        user.is_refused(
            "a batch of one cannot be normalised by `backbone.blocks.conv1.1`",
            "raise `batch`",
            backbone={"batch_norm": True},
            adapters=["dann"],
            train={"batch": 1},
        )

    def test_a_batch_of_one_is_fine_elsewhere(self, user: User) -> None:
        assert user.adapts(adapters=[{"use": "dann", "hidden": 8}], train={"batch": 1}).status == 0

    def test_a_last_batch_of_one_never_arises(self, user: User) -> None:
        user.images("evaluate", each=129)  # 258: two more than are scored at once
        done = user.adapts(
            backbone={"batch_norm": True},
            source=folder("source", split="all[:9]"),
            evaluate=folder("evaluate", split="all[:257]"),
            train={"epochs": 2, "steps_per_epoch": 5},
        )
        assert done.status == 0, done.said


class TestTables:
    """Tables whose columns or rows are not as they must be."""

    def rows(self, user: User, label: str = "cat") -> list[str]:
        """The source's files and labels as lines; the last has this label."""
        files = [f"source/{name}/{number}.png" for name in CLASSES for number in range(5)]
        return [f"{file},{file.split('/')[1]}" for file in files[:-1]] + [f"{files[-1]},{label}"]

    def test_no_label_column(self, user: User) -> None:
        (user.folder / "table.csv").write_text("\n".join(["file,kind", *self.rows(user), ""]))
        user.is_refused("has no column `label`; it has `file`, `kind`", source=table("table.csv"))

    def test_no_label_column_in_evaluate(self, user: User) -> None:
        (user.folder / "table.csv").write_text("\n".join(["file,kind", *self.rows(user), ""]))
        user.is_refused("has no column `label`; it has `file`, `kind`", evaluate=table("table.csv"))

    def test_a_row_without_a_label(self, user: User) -> None:
        (user.folder / "table.csv").write_text("\n".join(["file,label", *self.rows(user, label=""), ""]))
        user.is_refused("table.csv, row 10 has no `label`", source=table("table.csv"))

    def test_a_file_that_is_not_there(self, user: User) -> None:
        (user.folder / "table.csv").write_text("\n".join(["file,label", *self.rows(user), "gone.png,cat", ""]))
        user.is_refused("table.csv, row 11: there is no file", "gone.png", source=table("table.csv"))

    @pytest.mark.parametrize("role", ["source", "evaluate"])
    def test_a_split_that_is_not_there(self, user: User, role: str) -> None:
        for split in ("train", "test"):
            user.images(f"parted/{split}")
        part = folder("parted", split="validation")
        user.is_refused(f"`{role}` asks for the split `validation`", "train, test", **{role: part})

    def test_a_score_on_a_split_that_is_not_named(self, user: User) -> None:
        user.images("parted/train")
        user.is_refused("`evaluate` does not say which split to score on", evaluate=folder("parted"))

    @pytest.mark.parametrize("command", ["check", "adapt"])
    def test_texts_for_a_network_that_reads_images(self, user: User, command: str) -> None:
        (user.folder / "table.csv").write_text("text,label\nhello,cat\n")
        user.writes(source={"use": "csv", "path": "table.csv"})
        done = user.types(command, "manifest.yaml")
        assert done.status == 2
        assert "`csv` gives text, but the backbone `lenet` reads image" in done.said


class TestSettingsThatDoNotFit:
    """What only the composed model tells is told before even the baseline is trained."""

    @pytest.mark.parametrize(
        ("adapter", "words"),
        [
            ({"use": "mmd", "layers": ["nope"]}, ["has no layer `nope`", "features"]),
            ({"use": "partial_freeze", "stages": 9}, ["freeze 9 stages", "`lenet` has 2"]),
            ({"use": "partial_freeze", "names": ["nope.*"]}, ["no parameter is called `nope.*`"]),
        ],
    )
    def test_an_unknown_layer_or_stage(self, user: User, adapter: dict[str, Any], words: list[str]) -> None:
        user.is_refused(*words, adapters=[adapter, "mmd"])

    def test_accumulation_that_would_change_an_alignment(self, user: User) -> None:
        user.is_refused("`accumulate` would change what `mmd` computes", train={"accumulate": 2})

    def test_learning_rates_for_stages_that_are_not_there(self, user: User) -> None:
        user.is_refused(
            "`train.backbone_lr` lists 3 fractions; the backbone has 2 stages", train={"backbone_lr": [0.1, 0.1, 0.1]}
        )

    @pytest.mark.parametrize("device", ["cuda:99", "abacus", "meta"])
    def test_an_unknown_device(self, user: User, device: str) -> None:
        done = user.adapts("--device", device)
        assert done.status == 2
        assert f"the device `{device}` cannot be used" in done.said
        assert not (user.folder / "out").exists()


class TestPlacesToWrite:
    """Where nothing can be written, nothing is trained; what is there stays there."""

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_an_out_that_exists(self, user: User, what: str) -> None:
        kept = user.folder / ("out" if what == "file" else "out/thesis.txt")
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("years of work")
        done = user.adapts()
        assert (done.status, done.trained) == (2, False)
        assert "out is there already" in done.said
        assert kept.read_text() == "years of work"

    def test_an_artifact_is_not_overwritten(self, user: User) -> None:
        assert user.adapts("--no-baseline").status == 0
        before = {file.name: file.read_bytes() for file in (user.folder / "out").iterdir()}
        done = user.adapts("--no-baseline", train={"seed": 1})
        assert done.status == 2
        assert {file.name: file.read_bytes() for file in (user.folder / "out").iterdir()} == before

    def test_an_out_below_a_file(self, user: User) -> None:
        (user.folder / "notes").write_text("a file")
        done = user.adapts("--out", "notes/out")
        assert (done.status, done.trained) == (2, False)
        assert "notes/out cannot be written" in done.said

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
    def test_an_out_in_a_folder_of_somebody_else(self, user: User) -> None:
        (user.folder / "theirs").mkdir(mode=0o500)
        done = user.adapts("--out", "theirs/out")
        assert (done.status, done.trained) == (2, False)
        assert "theirs/out cannot be written" in done.said

    def test_a_store_that_cannot_be_written(self, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
        (user.folder / "notes").write_text("a file")
        monkeypatch.setenv("TLHUB_HOME", str(user.folder / "notes"))
        done = user.adapts()
        assert (done.status, done.trained) == (2, False)
        assert "cannot be written" in done.said

    def test_a_full_disk_at_the_end_and_going_on_when_there_is_room(self, user: User) -> None:
        with files_of_at_most(50_000):
            done = user.adapts("--no-baseline")
        assert (done.status, done.trained) == (2, True)
        assert "the model cannot be written to out" in done.said
        assert not (user.folder / "out/tlhub.json").exists()
        assert user.adapts("--no-baseline", "--resume").status == 0

    def test_a_full_disk_leaves_no_half_baseline(self, user: User) -> None:
        with files_of_at_most(50_000):
            assert user.adapts().status == 2
        assert list((user.store / "baselines").iterdir()) == []

    def test_a_full_disk_leaves_the_checkpoint_before(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(1, State({"weight": torch.ones(50_000)}, {"step": 1}))
        with files_of_at_most(50_000), pytest.raises(TrainingError, match="the one before it is kept"):
            checkpoints.save(2, State({"weight": torch.ones(50_000)}, {"step": 2}))
        state, damaged = checkpoints.latest()
        assert state is not None
        assert (state.facts["step"], damaged) == (1, [])
        assert [path.name for path in tmp_path.iterdir()] == ["0000000001"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write larger files, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
