"""Folders of images: what is found, in which order, and what is said where something is wrong."""

from __future__ import annotations

import pickle
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tlhub.data import Domain, Role, open_domain
from tlhub.errors import DataError
from tlhub.parts import DomainPart
from tlhub.testing import DatasetContract
from tlhub_data.imagefolder import ImageFolder


def image(file: Path, shade: int = 0, mode: str = "RGB") -> Path:
    """A file of 3 × 2 pixels; equal shades give equal files."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (3, 2), shade).convert(mode).save(file)
    return file


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """30 images, 10 of each class, every one different."""
    for number, name in enumerate(("dog", "cat", "emu")):
        for index in range(10):
            image(tmp_path / "animals" / name / f"{name}_{index}.png", shade=number * 10 + index)
    return tmp_path / "animals"


def shades(inputs: Sequence[Any]) -> list[int]:
    return [each.convert("L").getpixel((0, 0)) for each in inputs]


def domain(path: Path, role: Role = "source", **part: Any) -> Domain:
    return open_domain(ImageFolder(str(path)), DomainPart(use="imagefolder", **part), role, role)


class TestContract(DatasetContract):
    component = ImageFolder

    @pytest.fixture(autouse=True)
    def _folder(self, animals: Path) -> None:
        self.settings = {"path": str(animals)}  # type: ignore[misc]


class TestWhatIsFound:
    def test_folders_are_the_classes_sorted_by_name(self, animals: Path) -> None:
        examples = ImageFolder(str(animals)).open(None, labels=True)
        assert examples.classes == ("cat", "dog", "emu") == ImageFolder(str(animals)).class_names()
        assert examples.labels is not None
        for index, label in enumerate(examples.labels):
            assert Path(examples.where(index)).parent.name == examples.classes[label]
            assert shades([examples.inputs[index]])[0] // 10 == ("dog", "cat", "emu").index(examples.classes[label])

    def test_folders_named_after_splits_are_the_splits(self, tmp_path: Path) -> None:
        for split in ("test", "train"):
            for name in ("a", "b"):
                image(tmp_path / split / name / "1.png")
        data = ImageFolder(str(tmp_path))
        assert data.splits() == ["train", "test"]
        assert len(data.open("test", labels=True).inputs) == 2
        assert data.open("test", labels=True).classes == ("a", "b")

    def test_other_folders_are_no_splits(self, animals: Path) -> None:
        assert ImageFolder(str(animals)).splits() == []

    def test_splits_count_through_the_same_classes_even_if_one_lacks_some(self, tmp_path: Path) -> None:
        for place in ("train/a", "train/b", "test/b"):
            image(tmp_path / place / "1.png")
        examples = ImageFolder(str(tmp_path)).open("test", labels=True)
        assert (examples.classes, examples.labels) == (("a", "b"), [1])

    def test_what_is_no_image_is_passed_over(self, animals: Path) -> None:
        (animals / "cat" / "notes.txt").write_text("no image")
        (animals / "cat" / "._cat_1.png").write_bytes(b"left behind by a file manager")
        (animals / ".cache").mkdir()
        (animals / "README.md").write_text("# Animals")
        assert len(ImageFolder(str(animals)).open(None, labels=True).inputs) == 30

    def test_images_may_lie_deeper_within_their_class(self, animals: Path) -> None:
        image(animals / "cat" / "siamese" / "deep.png")
        examples = ImageFolder(str(animals)).open(None, labels=True)
        assert examples.labels is not None
        assert examples.labels.count(0) == 11


class TestOrder:
    def test_is_the_same_each_time_and_at_another_place(self, animals: Path, tmp_path: Path) -> None:
        shutil.copytree(animals, tmp_path / "copy")
        here, there = (ImageFolder(str(path)).open(None, True) for path in (animals, tmp_path / "copy"))
        assert shades(here.inputs) == shades(there.inputs)
        assert here.labels == there.labels
        assert here.fingerprint == there.fingerprint

    def test_is_the_same_with_and_without_labels(self, animals: Path) -> None:
        shown, hidden = (ImageFolder(str(animals)).open(None, labels) for labels in (True, False))
        assert shades(shown.inputs) == shades(hidden.inputs)

    def test_mixes_the_classes_so_that_a_slice_is_a_fair_sample(self, animals: Path) -> None:
        first = domain(animals, split="all[:50%]")
        assert first.labels is not None
        assert first.labels.bincount(minlength=3).min() >= 2

    def test_slices_and_made_up_splits_do_not_overlap_whether_labels_are_hidden_or_not(self, animals: Path) -> None:
        for trained, scored in (("all[:40%]", "all[40%:]"), ("train", "test")):
            target = domain(animals, "target", split=trained, labels="none")
            evaluate = domain(animals, "evaluate", split=scored)
            files = [{each.where(index) for index in range(len(each))} for each in (target, evaluate)]
            assert not files[0] & files[1]
            assert len(files[0] | files[1]) == 30


class TestFirewall:
    def test_hidden_labels_are_not_there(self, animals: Path) -> None:
        examples = ImageFolder(str(animals)).open(None, labels=False)
        assert examples.labels is None
        assert examples.classes is None

    def test_images_thrown_into_any_class_folder_look_the_same(self, animals: Path) -> None:
        before = ImageFolder(str(animals)).open(None, labels=False)
        seen = shades(before.inputs)
        dice = random.Random(0)
        for file in sorted(animals.glob("*/*.png")):
            place = animals / dice.choice(["cat", "dog", "emu", "somewhere else"])
            place.mkdir(exist_ok=True)
            file.rename(place / file.name)
        after = ImageFolder(str(animals)).open(None, labels=False)
        assert shades(after.inputs) == seen
        assert after.fingerprint == before.fingerprint
        assert ImageFolder(str(animals)).open(None, labels=True).fingerprint != before.fingerprint

    def test_a_flat_folder_will_do_where_labels_are_hidden(self, animals: Path) -> None:
        before = ImageFolder(str(animals)).open(None, labels=False)
        for file in sorted(animals.glob("*/*.png")):
            file.rename(animals / file.name)
        after = ImageFolder(str(animals)).open(None, labels=False)
        assert ImageFolder(str(animals)).splits() == []
        assert after.fingerprint == before.fingerprint


class TestFingerprint:
    def test_changes_with_a_pixel(self, animals: Path) -> None:
        before = ImageFolder(str(animals)).open(None, labels=True).fingerprint
        image(animals / "cat" / "cat_3.png", shade=200)
        assert ImageFolder(str(animals)).open(None, labels=True).fingerprint != before

    def test_changes_with_a_class(self, animals: Path) -> None:
        before = ImageFolder(str(animals)).open(None, labels=True).fingerprint
        (animals / "cat" / "cat_3.png").rename(animals / "dog" / "cat_3.png")
        assert ImageFolder(str(animals)).open(None, labels=True).fingerprint != before


class TestDecoding:
    def test_exif_orientation_is_honoured(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # turned by a quarter
        Image.new("RGB", (30, 20)).save(tmp_path / "phone.jpg", exif=exif)
        assert ImageFolder(str(tmp_path)).open(None, labels=False).inputs[0].size == (20, 30)

    @pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
    def test_modes_are_handed_on(self, tmp_path: Path, mode: str) -> None:
        image(tmp_path / "one.png", mode=mode)
        assert ImageFolder(str(tmp_path)).open(None, labels=False).inputs[0].mode == mode

    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "gif", "tiff", "ppm"])
    def test_formats(self, tmp_path: Path, ending: str) -> None:
        image(tmp_path / f"one.{ending}", shade=90)
        [picture] = ImageFolder(str(tmp_path)).open(None, labels=False).inputs
        assert abs(shades([picture])[0] - 90) < 5

    def test_an_ending_that_lies_about_the_format_does_no_harm(self, tmp_path: Path) -> None:
        image(tmp_path / "one.png").rename(tmp_path / "one.jpg")
        assert ImageFolder(str(tmp_path)).open(None, labels=False).inputs[0].size == (3, 2)

    def test_inputs_travel_to_other_processes(self, animals: Path) -> None:
        examples = ImageFolder(str(animals)).open(None, labels=True)
        again = pickle.loads(pickle.dumps(examples))
        assert shades(again.inputs) == shades(examples.inputs)
        assert again.where(3) == examples.where(3)


class TestWhatIsSaid:
    @pytest.mark.parametrize("labels", [True, False])
    def test_missing_folder(self, animals: Path, labels: bool) -> None:
        data = ImageFolder(str(animals.parent / "animal"))
        with pytest.raises(DataError, match=r"no file or folder .*animal\n.*holds animals"):
            data.splits()
        with pytest.raises(DataError, match=r"no file or folder .*animal\n.*holds animals"):
            data.open(None, labels)

    def test_a_file_is_no_folder(self, animals: Path) -> None:
        with pytest.raises(DataError, match=r"cat_1.png is a file, expected a folder"):
            ImageFolder(str(animals / "cat" / "cat_1.png")).splits()

    @pytest.mark.parametrize("labels", [True, False])
    def test_no_images(self, tmp_path: Path, labels: bool) -> None:
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "photo.heic").touch()
        with pytest.raises(DataError, match=r"holds no images\nhelp: an image's name ends in .*jpg"):
            ImageFolder(str(tmp_path)).open(None, labels)

    def test_an_empty_class_is_named(self, animals: Path) -> None:
        (animals / "yak").mkdir()
        with pytest.raises(DataError, match=r"class folder .*yak holds no images"):
            ImageFolder(str(animals)).open(None, labels=True)

    def test_images_outside_of_class_folders(self, animals: Path) -> None:
        image(animals / "stray.png")
        with pytest.raises(
            DataError, match=r"1 images that lie in no class folder, such as stray.png\nhelp: .*labels: none"
        ):
            ImageFolder(str(animals)).open(None, labels=True)
        assert len(ImageFolder(str(animals)).open(None, labels=False).inputs) == 31

    def test_a_folder_one_level_too_high(self, animals: Path) -> None:
        image(animals.parent / "plants" / "oak" / "1.png")
        with pytest.raises(DataError, match=r"lie deeper, such as .*\nhelp: .*path: .*(animals|plants)`"):
            ImageFolder(str(animals.parent)).open(None, labels=True)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [(b"", "it is empty"), (b"<html>not found</html>", "no known image format"), (None, "truncated|Truncated")],
    )
    def test_a_corrupt_image_is_named_when_it_is_decoded(
        self, animals: Path, content: bytes | None, reason: str
    ) -> None:
        bad = animals / "cat" / "bad.jpg"
        Image.effect_noise((64, 64), 50).save(bad)
        bad.write_bytes(bad.read_bytes()[:400] if content is None else content)
        examples = ImageFolder(str(animals)).open(None, labels=True)
        row = next(row for row in range(31) if examples.where(row) == str(bad))
        with pytest.raises(DataError, match=f"bad.jpg cannot be read as an image: .*({reason})"):
            examples.inputs[row]

    def test_a_link_that_leads_nowhere_is_named(self, animals: Path) -> None:
        (animals / "cat" / "lost.png").symlink_to(animals / "nowhere.png")
        with pytest.raises(DataError, match=r"lost.png cannot be read: No such file"):
            ImageFolder(str(animals)).open(None, labels=True)
