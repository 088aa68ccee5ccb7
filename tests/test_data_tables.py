"""Tables in CSV, JSON Lines and Parquet files: columns, splits, classes, the label firewall, and what is said."""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from tlhub.data import open_domain
from tlhub.errors import DataError, SettingError
from tlhub.parts import DomainPart
from tlhub.testing import DatasetContract
from tlhub_data.csv import Csv
from tlhub_data.jsonl import JsonLines
from tlhub_data.parquet import Parquet
from tlhub_data.table import FileTable

Values = dict[str, list[Any]]
REVIEWS: Values = {
    "text": ["fine", "bad, really", 'so "so"', "zwei\nZeilen", "ärgerlich"],
    "label": ["positive", "negative", "neutral", "positive", "negative"],
    "stars": [5, 1, 3, 4, 2],
}


def write_csv(file: Path, values: Values) -> None:
    with file.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows([list(values), *zip(*values.values(), strict=True)])


def write_jsonl(file: Path, values: Values) -> None:
    rows = (dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True))
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def write_parquet(file: Path, values: Values) -> None:
    pq.write_table(pa.table(values), file)


Write = Callable[[Path, Values], None]
FORMATS: dict[str, tuple[type[FileTable], Write]] = {
    "csv": (Csv, write_csv),
    "jsonl": (JsonLines, write_jsonl),
    "parquet": (Parquet, write_parquet),
}


class Format:
    """One of the formats: its data set, and how to write a file of it."""

    def __init__(self, ending: str, folder: Path) -> None:
        self.ending, self.folder = ending, folder
        self.component, self._write = FORMATS[ending]

    def write(self, name: str, values: Values) -> Path:
        file = self.folder / f"{name}.{self.ending}"
        self._write(file, values)
        return file

    def make(self, path: Path | str, **settings: Any) -> FileTable:
        return self.component(str(path), **settings)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The `datasets` library keeps its copies out of the user's home."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(params=list(FORMATS))
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Format:
    return Format(request.param, tmp_path)


class TestWhatIsRead:
    def test_texts_and_classes(self, form: Format) -> None:
        examples = form.make(form.write("reviews", REVIEWS)).open(None, labels=True)
        assert list(examples.inputs) == REVIEWS["text"]
        assert examples.classes == ("negative", "neutral", "positive")
        assert examples.labels is not None
        assert [examples.classes[label] for label in examples.labels] == REVIEWS["label"]
        assert examples.where(1).endswith(f"reviews.{form.ending}, row 2")

    def test_any_column_can_be_the_label_and_whole_numbers_are_sorted_as_numbers(self, form: Format) -> None:
        file = form.write("reviews", {"text": list("abcd"), "stars": [10, 9, -1, 10]})
        examples = form.make(file, label="stars").open(None, labels=True)
        assert examples.classes == ("-1", "9", "10")
        assert examples.labels == [2, 1, 0, 2]

    def test_vectors(self, form: Format) -> None:
        vectors: list[Any] = [[0.5, 1.0], [-2.0, 3.25]]
        file = form.write(
            "points", {"at": ["0.5 1", "[-2, 3.25]"] if form.ending == "csv" else vectors, "label": [0, 1]}
        )
        examples = form.make(file, vector="at").open(None, labels=True)
        assert torch.stack(list(examples.inputs)).equal(torch.tensor(vectors))

    def test_images_by_path_count_from_the_file(self, form: Format) -> None:
        (form.folder / "photos").mkdir()
        Image.new("RGB", (3, 2), "red").save(form.folder / "photos" / "a.png")
        file = form.write("list", {"file": ["photos/a.png"], "label": ["red"]})
        [picture] = form.make(file, image="file").open(None, labels=True).inputs
        assert picture.size == (3, 2)

    @pytest.mark.parametrize("kind", ["image", "text", "vector"])
    def test_the_input_is_found_by_its_name(self, form: Format, kind: str) -> None:
        data = form.make(form.write("some", {"id": [1], kind: [[1.0]] if kind == "vector" else ["x"], "label": [1]}))
        assert data.modality == kind

    def test_the_modality_follows_from_the_settings_without_any_file(self, form: Format) -> None:
        assert form.make("nowhere", text="review").modality == "text"
        assert form.make("nowhere", vector="point").modality == "vector"

    def test_inputs_travel_to_other_processes(self, form: Format) -> None:
        examples = form.make(form.write("reviews", REVIEWS)).open(None, labels=True)
        again = pickle.loads(pickle.dumps(examples))
        assert list(again.inputs) == REVIEWS["text"]
        assert again.where(4) == examples.where(4)

    def test_values_of_a_csv_are_what_is_written(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_text("text\tlabel\n007\tNA\nnull\t1e3\n", encoding="utf-8-sig")
        examples = Csv(str(tmp_path / "a.tsv"), delimiter="\t").open(None, labels=True)
        assert list(examples.inputs) == ["007", "null"]
        assert examples.classes == ("1e3", "NA")


def _size(batch: list[Any]) -> Any:
    return batch[0].size


class TestContract(DatasetContract):
    @pytest.fixture(autouse=True)
    def _table(self, form: Format) -> None:
        self.component = form.component  # type: ignore[misc]
        self.settings = {"path": str(form.write("reviews", REVIEWS))}  # type: ignore[misc]


class TestParquetWithFeatures:
    @pytest.fixture
    def digits(self, tmp_path: Path) -> Path:
        """Three encoded images with Hugging Face's metadata, which names classes that no row has."""
        contents = []
        for shade in (10, 20, 30):
            buffer = io.BytesIO()
            Image.new("L", (4, 4), shade).save(buffer, "webp", lossless=True)
            contents.append({"bytes": buffer.getvalue(), "path": None})
        features = {"pixels": {"_type": "Image"}, "label": {"names": ["zero", "one", "two"], "_type": "ClassLabel"}}
        encoded = pa.struct({"bytes": pa.binary(), "path": pa.string()})
        table = pa.table({"pixels": pa.array(contents, encoded), "label": pa.array([2, 0, 2], pa.int64())})
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "train-00000-of-00001.parquet")
        return tmp_path

    def test_images_and_class_names_come_from_the_metadata(self, digits: Path) -> None:
        data = Parquet(str(digits))
        assert (data.modality, data.splits()) == ("image", ["train"])
        examples = data.open("train", labels=True)
        assert examples.classes == ("zero", "one", "two") == data.class_names()
        assert examples.labels == [2, 0, 2]
        assert [picture.convert("L").getpixel((0, 0)) for picture in examples.inputs] == [10, 20, 30]
        assert pickle.loads(pickle.dumps(examples)).inputs[2].size == (4, 4)

    def test_worker_processes_decode(self, digits: Path) -> None:
        inputs = Parquet(str(digits)).open("train", labels=False).inputs
        inputs[0]  # read here first, so that what the workers inherit is in use
        loader: DataLoader[Any] = DataLoader(inputs, batch_size=1, num_workers=2, collate_fn=_size)  # type: ignore[arg-type]
        assert list(loader) == [(4, 4)] * 3

    def test_a_corrupt_image_is_named_by_its_row(self, digits: Path) -> None:
        file = digits / "train-00000-of-00001.parquet"
        table = pq.read_table(file)
        contents = table["pixels"].to_pylist()
        contents[1]["bytes"] = contents[1]["bytes"][:20]
        pq.write_table(
            table.set_column(0, table.schema.field("pixels"), pa.array(contents, table["pixels"].type)), file
        )
        with pytest.raises(DataError, match="row 2 cannot be read as an image"):
            Parquet(str(digits)).open("train", labels=False).inputs[1]

    def test_a_label_of_minus_one_is_no_label(self, digits: Path) -> None:
        file = digits / "train-00000-of-00001.parquet"
        table = pq.read_table(file)
        pq.write_table(table.set_column(1, table.schema.field("label"), [[0, 1, -1]]), file)
        with pytest.raises(DataError, match="row 3: `label` is -1"):
            Parquet(str(digits)).open("train", labels=True)

    def test_a_file_changed_within_the_same_instant_is_read_anew(self, tmp_path: Path) -> None:
        file = tmp_path / "a.parquet"
        for text in ("old", "new"):
            write_parquet(file, {"text": [text]})
            os.utime(file, (1, 1))
            assert list(Parquet(str(file)).open(None, labels=False).inputs) == [text]


class TestSplits:
    def test_one_file_has_none(self, form: Format) -> None:
        assert form.make(form.write("train", REVIEWS)).splits() == []

    def test_files_of_a_folder_named_after_splits(self, form: Format) -> None:
        for name in ("test", "train", "notes"):
            form.write(name, {"text": [name], "label": ["x"]})
        data = form.make(form.folder)
        assert data.splits() == ["train", "test"]
        assert list(data.open("test", labels=True).inputs) == ["test"]

    def test_a_pattern_joins_files_and_rows_are_named_by_theirs(self, form: Format) -> None:
        for name in ("books", "dvd"):
            form.write(name, {"text": [f"{name} one", f"{name} two"], "label": ["x", "y"]})
        data = form.make(form.folder / "*")
        assert data.splits() == []
        examples = data.open(None, labels=True)
        assert list(examples.inputs) == ["books one", "books two", "dvd one", "dvd two"]
        assert examples.where(2).endswith(f"dvd.{form.ending}, row 1")

    def test_a_pattern_never_mixes_splits(self, form: Format) -> None:
        for name in ("train", "test"):
            form.write(name, REVIEWS)
        assert form.make(form.folder / f"*.{form.ending}").splits() == ["train", "test"]

    def test_files_of_a_folder_that_are_no_splits_are_not_mixed_unasked(self, form: Format) -> None:
        for name in ("books", "dvd"):
            form.write(name, REVIEWS)
        with pytest.raises(DataError, match=r"2 files that are not named after splits: books.*dvd.*\nhelp: .*\*\."):
            form.make(form.folder).splits()

    def test_slices_and_made_up_splits(self, form: Format) -> None:
        file = form.write("many", {"text": [str(n) for n in range(10)], "label": ["a", "b"] * 5})

        def texts(**part: Any) -> list[str]:
            domain = open_domain(form.make(file), DomainPart(use=form.ending, **part), "source", "source")
            return [domain.raw(index) for index in range(len(domain))]

        assert texts(split="all[:20%]") == ["0", "1"]
        assert texts(split="all[8:]", labels="none") == ["8", "9"]
        assert sorted(texts(split="train", test_ratio=0.3) + texts(split="test", test_ratio=0.3, labels="none")) == (
            texts(split="all")
        )

    def test_splits_of_a_folder_can_be_joined(self, form: Format) -> None:
        for name in ("train", "validation"):
            form.write(name, {"text": [f"{name} one", f"{name} two"], "label": ["a", "b"]})
        part = DomainPart(use=form.ending, split="train+validation")
        domain = open_domain(form.make(form.folder), part, "source", "source")
        assert [domain.raw(index) for index in range(4)][2:] == ["validation one", "validation two"]
        assert pickle.loads(pickle.dumps(domain.examples)).where(3).endswith("row 2")


class TestFirewall:
    """By force: what the label column holds cannot be told from what is opened without labels."""

    def opened(self, form: Format, values: Values) -> tuple[list[Any], str]:
        examples = form.make(form.write("reviews", values)).open(None, labels=False)
        assert examples.labels is None
        assert examples.classes is None
        return list(examples.inputs), examples.fingerprint

    def test_other_labels_garbage_and_none_at_all_look_the_same(self, form: Format) -> None:
        clean = self.opened(form, REVIEWS)
        assert self.opened(form, REVIEWS | {"label": REVIEWS["label"][::-1]}) == clean
        assert self.opened(form, REVIEWS | {"label": ['\x00,"\n{', "", "Ω", "[", "nan"]}) == clean
        assert self.opened(form, {"text": REVIEWS["text"]}) == clean

    def test_the_table_that_is_kept_has_no_label_column(self, form: Format) -> None:
        examples = form.make(form.write("reviews", REVIEWS)).open(None, labels=False)
        assert examples.inputs.rows.column_names == ["text"]  # type: ignore[attr-defined]

    def test_no_label_is_on_the_disk_cache_either(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", {"text": ["seen"], "label": ["a secret never to be cached"]})
        examples = Parquet(str(tmp_path / "a.parquet")).open(None, labels=False)
        [kept] = examples.inputs.rows.cache_files  # type: ignore[attr-defined]
        content = Path(kept["filename"]).read_bytes()
        assert b"seen" in content
        assert b"secret" not in content


class TestFingerprint:
    def test_is_about_content_not_place_or_format(self, tmp_path: Path) -> None:
        found = set()
        for ending in FORMATS:
            for place in ("here", "there"):
                (tmp_path / place).mkdir(exist_ok=True)
                form = Format(ending, tmp_path / place)
                found.add(form.make(form.write("a", REVIEWS)).open(None, labels=True).fingerprint)
        assert len(found) == 1

    def test_changes_with_a_text_a_label_and_the_order(self, form: Format) -> None:
        def known(values: Values) -> str:
            return form.make(form.write("a", values)).open(None, labels=True).fingerprint

        changed = REVIEWS | {"text": [*REVIEWS["text"][:4], "other"]}
        relabelled = REVIEWS | {"label": [*REVIEWS["label"][:4], "positive"]}
        turned = {name: column[::-1] for name, column in REVIEWS.items()}
        assert len({known(values) for values in (REVIEWS, changed, relabelled, turned)}) == 4

    def test_files_too_large_to_read_twice_are_known_by_size_and_time(
        self, form: Format, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("files", "table"):
            monkeypatch.setattr(f"tlhub_data.{module}.CONTENT_LIMIT", 10)
        file = form.write("a", REVIEWS)
        os.utime(file, (1, 1))
        before = form.make(file).open(None, labels=True).fingerprint
        assert form.make(file).open(None, labels=True).fingerprint == before
        os.utime(file, (2, 2))
        assert form.make(file).open(None, labels=True).fingerprint != before


class TestWhatIsSaid:
    def test_missing_file(self, form: Format) -> None:
        form.write("train", REVIEWS)
        with pytest.raises(DataError, match=r"no file or folder .*trian\.\w+\nhelp: .*holds train"):
            form.make(form.folder / f"trian.{form.ending}").splits()

    def test_folder_without_files_of_the_format(self, form: Format) -> None:
        with pytest.raises(DataError, match=rf"holds no file that ends in \.{form.ending}"):
            form.make(form.folder).splits()

    def test_missing_label_column(self, form: Format) -> None:
        file = form.write("a", {"text": ["x"], "class": ["y"]})
        with pytest.raises(DataError, match=r"no column `label`; it has `text`, `class`\nhelp: .*label:.*labels: none"):
            form.make(file).open(None, labels=True)

    def test_missing_input_column(self, form: Format) -> None:
        file = form.write("a", {"text": ["x"], "label": ["y"]})
        with pytest.raises(DataError, match="no column `review`; it has `text`, `label`"):
            form.make(file, text="review").open(None, labels=False)

    def test_no_column_to_guess(self, form: Format) -> None:
        file = form.write("a", {"review": ["x"], "label": ["y"]})
        with pytest.raises(
            DataError, match=r"no column named `image`, `text` or `vector`; it has `review`\nhelp: .*text: review"
        ):
            _ = form.make(file).modality

    def test_two_inputs_and_the_label_as_input(self, form: Format) -> None:
        with pytest.raises(SettingError, match="only one of `image`, `text` can be the input"):
            form.make("a", image="a", text="b")
        with pytest.raises(SettingError, match="`label` cannot be both"):
            form.make("a", text="label")

    @pytest.mark.parametrize("column", ["text", "label"])
    def test_a_missing_value_is_named_by_its_row(self, form: Format, column: str) -> None:
        values = REVIEWS | {column: [*REVIEWS[column][:2], None, None, None]}
        with pytest.raises(
            DataError,
            match=rf"a\.\w+, row 3 has no `{column}`, nor has .*a\.\w+, row 4 \(and 1 more\)\nhelp: fill it in",
        ):
            form.make(form.write("a", values)).open(None, labels=True)

    def test_no_rows(self, form: Format) -> None:
        empty: Any = pa.array([], pa.string()) if form.ending == "parquet" else []
        with pytest.raises(DataError, match=r"a\.\w+`? has no (rows|columns)"):
            form.make(form.write("a", {"text": empty, "label": empty})).open(None, labels=True)

    def test_files_with_different_columns(self, form: Format) -> None:
        form.write("one", REVIEWS)
        form.write("two", {"text": ["x"], "rating": [1]})
        with pytest.raises(DataError, match=r"two\.\w+ has no column `label`; it has `text`, `rating`"):
            form.make(form.folder / "*").open(None, labels=True)

    def test_files_with_different_types(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "one.parquet", {"text": ["x"], "label": [1]})
        write_parquet(tmp_path / "two.parquet", {"text": ["x"], "label": ["one"]})
        with pytest.raises(
            DataError, match=r"`label` differs: in .*one\.parquet it is .*int64.* in .*two\.parquet it is .*string"
        ):
            Parquet(str(tmp_path / "*.parquet")).open(None, labels=True)

    @pytest.mark.parametrize("form", ["jsonl", "parquet"], indirect=True)
    def test_labels_that_are_no_labels(self, form: Format) -> None:
        with pytest.raises(
            DataError, match=r"row 1: the label is \{'a': 0\}, expected the name of a class or a number"
        ):
            form.make(form.write("a", {"text": ["x", "y"], "label": [{"a": 0}, {"a": 1}]})).open(None, labels=True)

    def test_vectors_of_different_lengths(self, form: Format) -> None:
        vectors = ["1 2", "1 2 3"] if form.ending == "csv" else [[1.0, 2.0], [1.0, 2.0, 3.0]]
        with pytest.raises(DataError, match="row 2: `vector` has 3 numbers, the first row has 2"):
            form.make(form.write("a", {"vector": vectors})).open(None, labels=False)

    def test_vectors_that_are_not_finite(self, form: Format) -> None:
        vectors = ["1 2", "1 nan"] if form.ending == "csv" else [[1.0, 2.0], [1.0, float("nan")]]
        with pytest.raises(DataError, match="row 2: `vector` holds a number that is missing or not finite"):
            form.make(form.write("a", {"vector": vectors})).open(None, labels=False)

    def test_a_column_of_another_kind(self, form: Format) -> None:
        file = form.write("a", {"text": ["one"], "vector": ["two"], "image": [3]})
        with pytest.raises(DataError, match=r"`vector`.* (holds|is) .*expected .*of numbers|like `0\.5 1 -2`"):
            form.make(file, vector="vector").open(None, labels=False)
        with pytest.raises(DataError, match=r"`image` (holds|is) .*expected .*path|no file .*/3"):
            form.make(file, image="image").open(None, labels=False)

    def test_an_image_that_is_not_there(self, form: Format) -> None:
        file = form.write("a", {"image": ["lost.png"]})
        with pytest.raises(DataError, match=r"row 1: there is no file .*lost\.png\nhelp: paths count from the folder"):
            form.make(file).open(None, labels=False)


class TestBrokenFiles:
    @pytest.mark.parametrize("component", [Csv, JsonLines])
    def test_another_encoding_names_file_and_line(self, tmp_path: Path, component: type[FileTable]) -> None:
        file = tmp_path / "a.txt"
        text = "text,label\nfine,x\nschön,y\n" if component is Csv else '{"text": "fine"}\n\n{"text": "schön"}\n'
        file.write_text(text, encoding="latin-1")
        with pytest.raises(DataError, match=r"a\.txt is not UTF-8: line 3 holds the byte 0xf6"):
            component(str(file)).open(None, labels=False)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("text,label\na,b,c\n", "row 1 has 3 values for 2 columns: `text`, `label`"),
            ('text,label\na,b\n"c,d\n', "is no CSV: line 3: unexpected end of data\nhelp: look for an unclosed quote"),
            ("text,text\na,b\n", "has 2 columns named `text`"),
            ("", "has no columns"),
        ],
    )
    def test_csv(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "a.csv").write_text(content)
        with pytest.raises(DataError, match=message):
            Csv(str(tmp_path / "a.csv")).open(None, labels=True)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"text": "a"}\n{"text": \n', "line 2 is no JSON: Expecting value"),
            ('{"text": "a"}\n["b"]\n', "line 2 is no JSON object\nhelp: write one JSON object on each line"),
            ('{"text": "a"}\n{"text": 7}\n', "row 2: `text` is 7, expected a text"),
            ('{"text": "a"}\n{"txt": "b"}\n', "row 2 has no `text`"),
            ('{"text": "\\ud800"}\n', "row 1 holds what is no Unicode: "),
        ],
    )
    def test_jsonl(self, tmp_path: Path, content: str, message: str) -> None:
        (tmp_path / "a.jsonl").write_text(content)
        with pytest.raises(DataError, match=message):
            JsonLines(str(tmp_path / "a.jsonl")).open(None, labels=False)

    @pytest.mark.parametrize("damage", ["text", "cut"])
    def test_parquet(self, tmp_path: Path, damage: str) -> None:
        file = tmp_path / "a.parquet"
        write_parquet(file, REVIEWS)
        content = file.read_bytes()
        file.write_bytes(b"text,label" if damage == "text" else content[: len(content) // 2])
        with pytest.raises(DataError, match=r"a\.parquet cannot be read as Parquet: "):
            Parquet(str(file)).open(None, labels=True)
