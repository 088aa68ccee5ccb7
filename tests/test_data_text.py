"""Texts as data: folders of them, pairs, words with tags; what labels can be; and what is said of texts."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tlhub.data import Domain, Role, open_domain
from tlhub.errors import DataError, SettingError, UserError
from tlhub.parts import DomainPart
from tlhub.settings import create
from tlhub.testing import DatasetContract
from tlhub_data.conll import Conll
from tlhub_data.csv import Csv
from tlhub_data.hub import Hub
from tlhub_data.jsonl import JsonLines
from tlhub_data.parquet import Parquet
from tlhub_data.textfolder import TextFolder

from .test_data_tables import FORMATS, Format, Values, write_csv, write_jsonl, write_parquet

PAIRS: Values = {
    "premise": ["A man sleeps.", "A dog runs.", "It rains."],
    "hypothesis": ["He is awake.", "An animal moves.", "It is Tuesday."],
    "label": ["contradiction", "entailment", "neutral"],
}
SENTENCES: Values = {
    "tokens": [["Ada", "wrote"], ["In", "London", "it", "rained"], ["Yes"]],
    "tags": [["B-PER", "O"], ["O", "B-LOC", "O", "O"], ["O"]],
}
CONLL = """\
-DOCSTART- -X- O

Ada NNP B-PER
wrote VBD O

In IN O
London NNP B-LOC
it PRP O
rained VBD O

Yes UH O
"""
TAGS = torch.tensor([[2, 0, -100, -100], [0, 1, 0, 0], [0, -100, -100, -100]])
"""Of `SENTENCES` and `CONLL`, counted through `O`, `B-LOC`, `B-PER`."""

FLAGS: Values = {"text": ["a", "b", "c"], "toxic": [1, 0, 1], "rude": [True, False, False]}
FEATURES: dict[str, Any] = {
    "text": {"dtype": "string", "_type": "Value"},
    "tokens": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
    "tags": {"feature": {"names": ["B-LOC", "B-PER", "I-PER", "O"], "_type": "ClassLabel"}, "_type": "List"},
    "topics": {"feature": {"names": ["arts", "war", "law"], "_type": "ClassLabel"}, "_type": "Sequence"},
    "score": {"dtype": "float32", "_type": "Value"},
}
DECLARED: Values = {
    "text": ["a", "b", "c"],
    "tokens": SENTENCES["tokens"],
    "tags": [[1, 3], [3, 0, 3, 3], [3]],
    "topics": [[0, 2], [], [2]],
    "score": [1.0, 2.0, 3.0],
}
"""Rows for which `FEATURES`, Hugging Face's metadata, declares types and class names."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The `datasets` library keeps its copies out of the user's home, and asks no network."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(params=list(FORMATS))
def form(request: pytest.FixtureRequest, tmp_path: Path) -> Format:
    return Format(request.param, tmp_path)


with_lists = pytest.mark.parametrize("form", ["jsonl", "parquet"], indirect=True)
"""The formats that can hold a list in a column."""


def text_file(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """20 text files, 10 of each class, every one different."""
    for name in ("positive", "negative"):
        for number in range(10):
            text_file(tmp_path / "reviews" / name / f"{name}_{number}.txt", f"{name} words, number {number}\n")
    return tmp_path / "reviews"


def domain(path: Path, role: Role = "source", **part: Any) -> Domain:
    return open_domain(TextFolder(str(path)), DomainPart(use="textfolder", **part), role, role)


class TestFolderContract(DatasetContract):
    component = TextFolder

    @pytest.fixture(autouse=True)
    def _folder(self, reviews: Path) -> None:
        self.settings = {"path": str(reviews)}  # type: ignore[misc]


class TestFolders:
    def test_a_file_is_a_text_and_its_folder_the_class(self, reviews: Path) -> None:
        examples = TextFolder(str(reviews)).open(None, labels=True)
        assert examples.classes == ("negative", "positive") == TextFolder(str(reviews)).class_names()
        assert examples.labels is not None
        for index, label in enumerate(examples.labels):
            file = Path(examples.where(index))
            assert file.parent.name == examples.classes[int(label)]
            assert examples.inputs[index] == file.read_text()

    def test_folders_named_after_splits_are_the_splits(self, tmp_path: Path) -> None:
        for place in ("test/good", "train/good", "train/bad"):
            text_file(tmp_path / place / "1.txt", place)
        data = TextFolder(str(tmp_path))
        assert data.splits() == ["train", "test"]
        examples = data.open("test", labels=True)
        assert (list(examples.inputs), examples.labels, examples.classes) == (["test/good"], [1], ("bad", "good"))

    def test_the_order_mixes_the_classes_and_is_the_same_without_labels(self, reviews: Path) -> None:
        shown, hidden = (TextFolder(str(reviews)).open(None, labels) for labels in (True, False))
        assert list(shown.inputs) == list(hidden.inputs)
        first = domain(reviews, split="all[:50%]")
        assert first.labels is not None
        assert first.labels.bincount(minlength=2).min() >= 2

    def test_with_hidden_labels_a_flat_folder_and_any_other_look_the_same(self, reviews: Path) -> None:
        before = TextFolder(str(reviews)).open(None, labels=False)
        assert (before.labels, before.classes) == (None, None)
        for file in sorted(reviews.glob("*/*.txt")):
            file.rename(reviews / file.name)
        after = TextFolder(str(reviews)).open(None, labels=False)
        assert list(after.inputs) == list(before.inputs)
        assert after.fingerprint == before.fingerprint

    def test_the_fingerprint_changes_with_a_letter_and_a_class(self, reviews: Path) -> None:
        def known() -> str:
            return TextFolder(str(reviews)).open(None, labels=True).fingerprint

        file = reviews / "positive/positive_3.txt"
        seen = [known()]
        text_file(file, "other")
        seen.append(known())
        file.rename(reviews / "negative" / file.name)
        assert len({*seen, known()}) == 3

    def test_other_files_are_passed_over_and_a_mark_of_the_encoding_is_no_text(self, tmp_path: Path) -> None:
        text_file(tmp_path / "good/1.txt", b"\xef\xbb\xbffine")
        text_file(tmp_path / "good/notes.md", "# Notes")
        text_file(tmp_path / "good/.2.txt", "left behind")
        assert list(TextFolder(str(tmp_path)).open(None, labels=True).inputs) == ["fine"]

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", r"bad\.txt has no text\nhelp: fill it in, or remove it"),
            (b" \n\t\n", r"bad\.txt has no text"),
            ("fine\nschön\n".encode("latin-1"), r"bad\.txt is not UTF-8: line 2 holds the byte 0xf6"),
            (b"word " * 2_000_000, r"bad\.txt: text has 10,000,000 characters, more than 1,000,000"),
        ],
    )
    def test_a_file_that_is_no_text_is_named(self, reviews: Path, content: bytes, message: str) -> None:
        text_file(reviews / "positive/bad.txt", content)
        for labels in (True, False):
            with pytest.raises(DataError, match=message):
                TextFolder(str(reviews)).open(None, labels)

    def test_a_link_that_leads_nowhere_is_named(self, reviews: Path) -> None:
        (reviews / "positive/lost.txt").symlink_to(reviews / "nowhere.txt")
        with pytest.raises(DataError, match=r"lost\.txt cannot be read: No such file"):
            TextFolder(str(reviews)).open(None, labels=True)

    def test_files_outside_of_class_folders_and_a_folder_of_none(self, reviews: Path) -> None:
        text_file(reviews / "readme.txt", "read me")
        with pytest.raises(DataError, match=r"1 text files that lie in no class folder, such as readme\.txt"):
            TextFolder(str(reviews)).open(None, labels=True)
        text_file(reviews.parent / "empty/notes.md", "# Notes")
        with pytest.raises(DataError, match=r"holds no text files\nhelp: a text file's name ends in \.txt"):
            TextFolder(str(reviews.parent / "empty")).open(None, labels=False)


class TestPairs:
    def make(self, form: Format, values: Values = PAIRS) -> Any:
        return form.make(form.write("nli", values), text="premise", text_pair="hypothesis")

    def test_an_example_is_two_texts(self, form: Format) -> None:
        data = self.make(form)
        assert data.modality == "text"
        examples = data.open(None, labels=True)
        assert list(examples.inputs) == list(zip(PAIRS["premise"], PAIRS["hypothesis"], strict=True))
        assert examples.classes == ("contradiction", "entailment", "neutral")
        assert examples.labels == [0, 1, 2]
        assert list(pickle.loads(pickle.dumps(examples)).inputs) == list(examples.inputs)

    def test_the_fingerprint_tells_which_text_is_which(self, form: Format) -> None:
        turned = {"premise": PAIRS["hypothesis"], "hypothesis": PAIRS["premise"], "label": PAIRS["label"]}
        known = {self.make(form, values).open(None, labels=True).fingerprint for values in (PAIRS, turned, PAIRS)}
        assert len(known) == 2

    def test_pairs_that_share_one_text_are_no_repetition(self, form: Format) -> None:
        values = {"premise": ["It rains."] * 3, "hypothesis": ["It is wet.", "It is dry.", "It is dry."]}
        [note] = self.make(form, values).open(None, labels=False).notes
        assert note.startswith("repeated texts: 1, ")

    def test_a_pair_that_lacks_a_text_is_named(self, form: Format) -> None:
        values = PAIRS | {"hypothesis": ["He is awake.", "  ", "It is Tuesday."]}
        with pytest.raises(DataError, match=r"nli\.\w+, row 2 has no `hypothesis`"):
            self.make(form, values).open(None, labels=True)

    def test_a_second_text_needs_another_first_one(self) -> None:
        for text in (None, "hypothesis"):
            with pytest.raises(SettingError, match="a pair needs a first text too") as error:
                Csv("nli.csv", text=text, text_pair="hypothesis")
            assert error.value.setting == "text_pair"
        with pytest.raises(SettingError, match="the column `label` cannot be both the input and the label"):
            Csv("nli.csv", text="premise", text_pair="label")


@with_lists
class TestWords:
    def make(self, form: Format, values: Values = SENTENCES) -> Any:
        return form.make(form.write("names", values), words="tokens", label="tags")

    def test_every_word_has_a_class_and_o_is_the_first(self, form: Format) -> None:
        data = self.make(form)
        assert data.modality == "text"
        examples = data.open(None, labels=True)
        assert list(examples.inputs) == SENTENCES["tokens"]
        assert (examples.task, examples.classes) == ("token_classification", ("O", "B-LOC", "B-PER"))
        assert torch.equal(examples.labels, TAGS)
        assert pickle.loads(pickle.dumps(examples)).inputs[1] == SENTENCES["tokens"][1]

    def test_words_without_tags(self, form: Format) -> None:
        examples = form.make(form.write("names", {"tokens": SENTENCES["tokens"]}), words="tokens").open(None, False)
        assert list(examples.inputs) == SENTENCES["tokens"]
        assert examples.labels is None

    def test_the_fingerprint_tells_where_a_word_ends(self, form: Format) -> None:
        known = [
            form.make(form.write("names", {"tokens": tokens}), words="tokens").open(None, labels=False).fingerprint
            for tokens in ([["a b"]], [["a", "b"]], [["a"], ["b"]])
        ]
        assert len(set(known)) == 3

    def test_too_few_tags_are_named_by_their_row(self, form: Format) -> None:
        values = SENTENCES | {"tags": [["B-PER", "O"], ["O", "B-LOC", "O"], ["O"]]}
        with pytest.raises(DataError, match=r"row 2: 4 words, but 3 tags in `tags`\nhelp: give every word one tag"):
            self.make(form, values).open(None, labels=True)

    def test_a_class_of_the_whole_sentence_is_no_tag(self, form: Format) -> None:
        with pytest.raises(DataError, match="row 1: `tags` is 'x', expected a list with a tag for every word"):
            self.make(form, SENTENCES | {"tags": ["x", "y", "z"]}).open(None, labels=True)

    def test_texts_are_no_words(self, form: Format) -> None:
        with pytest.raises(DataError, match=r"`tokens` (is|holds) .*, expected (a list|lists) of words"):
            self.make(form, {"tokens": ["Ada wrote"], "tags": [["O"]]}).open(None, labels=True)

    @pytest.mark.parametrize("sentence", [[], ["", " "]])
    def test_a_sentence_without_words_is_named(self, form: Format, sentence: list[str]) -> None:
        values = {"tokens": [["Yes"], sentence], "tags": [["O"], ["O"] * len(sentence)]}
        with pytest.raises(DataError, match=r"row 2 has no `tokens`"):
            self.make(form, values).open(None, labels=True)


class TestConllContract(DatasetContract):
    component = Conll

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.settings = {"path": str(text_file(tmp_path / "names.conll", CONLL))}  # type: ignore[misc]


class TestConll:
    def opened(self, folder: Path, content: str, labels: bool = True, **settings: Any) -> Any:
        return Conll(str(text_file(folder / "names.conll", content)), **settings).open(None, labels)

    def test_sentences_end_at_empty_lines(self, tmp_path: Path) -> None:
        examples = self.opened(tmp_path, CONLL)
        assert list(examples.inputs) == SENTENCES["tokens"]
        assert (examples.task, examples.classes) == ("token_classification", ("O", "B-LOC", "B-PER"))
        assert torch.equal(examples.labels, TAGS)
        assert examples.where(1).endswith("names.conll, sentence 2")

    def test_tabs_many_empty_lines_and_other_ends_of_lines_say_the_same(self, tmp_path: Path) -> None:
        written = CONLL.replace(" ", "\t").replace("\n\n", "\r\n\r\n \r\n")
        other, plain = self.opened(tmp_path, written), self.opened(tmp_path, CONLL)
        assert (list(other.inputs), other.fingerprint) == (list(plain.inputs), plain.fingerprint)

    def test_a_line_with_tabs_may_have_words_with_spaces(self, tmp_path: Path) -> None:
        assert list(self.opened(tmp_path, "New York\tB-LOC\nis\tO\n").inputs) == [["New York", "is"]]

    def test_any_columns_can_be_words_and_tags(self, tmp_path: Path) -> None:
        examples = self.opened(tmp_path, "1 Ada B-PER NNP\n2 wrote O VBD\n", word=1, tag=-2)
        assert (list(examples.inputs), examples.classes) == ([["Ada", "wrote"]], ("O", "B-PER"))

    def test_a_comment_comes_before_a_sentence_but_a_hash_within_one_is_a_word(self, tmp_path: Path) -> None:
        assert list(self.opened(tmp_path, "# text = We are # 1\nWe O\nare O\n# O\n1 O\n").inputs) == [
            ["We", "are", "#", "1"]
        ]

    def test_files_named_after_splits_are_the_splits(self, tmp_path: Path) -> None:
        for name in ("test", "train", "valid"):
            text_file(tmp_path / f"{name}.txt", f"{name} O\n")
        data = Conll(str(tmp_path))
        assert data.splits() == ["train", "valid", "test"]
        assert list(data.open("valid", labels=True).inputs) == [["valid"]]

    def test_splits_that_are_joined_keep_their_tags(self, tmp_path: Path) -> None:
        text_file(tmp_path / "train.conll", "a O\nb B-X\n")
        text_file(tmp_path / "valid.conll", "c O\nd B-X\ne O\n")
        joined = open_domain(Conll(str(tmp_path)), DomainPart(use="conll", split="train+valid"), "source", "source")
        assert joined.labels is not None
        assert joined.labels.tolist() == [[0, 1, -100], [0, 1, 0]]

    def test_other_tags_garbage_and_none_at_all_look_the_same_where_labels_are_hidden(self, tmp_path: Path) -> None:
        seen = [
            (list(examples.inputs), examples.fingerprint, examples.labels, examples.classes)
            for content in ("Ada B-PER\nwrote O\n", "Ada O\nwrote {\n", "Ada\nwrote\n")
            for examples in [self.opened(tmp_path, content, labels=False)]
        ]
        assert seen == [([["Ada", "wrote"]], seen[0][1], None, None)] * 3

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("Ada B-PER\nwrote\n", r"names\.conll, line 2 has no tag in column -1: 'wrote'\nhelp: .*labels: none"),
            ("Ada B-PER\n\tO\n", r"names\.conll, line 2 has no word in column 0: "),
            ("Ada\tB-PER\nwrote\t\n", r"names\.conll, line 2 has no tag in column -1: "),
            ("\n\n", r"names\.conll has no rows"),
        ],
    )
    def test_a_line_that_lacks_something_is_named(self, tmp_path: Path, content: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            self.opened(tmp_path, content)

    def test_another_encoding_is_named_by_its_line(self, tmp_path: Path) -> None:
        (tmp_path / "names.conll").write_text("Ada O\nMüller O\n", encoding="latin-1")
        with pytest.raises(DataError, match=r"names\.conll is not UTF-8: line 2 holds the byte 0xfc"):
            Conll(str(tmp_path / "names.conll")).open(None, labels=True)

    def test_words_and_tags_in_one_column(self) -> None:
        with pytest.raises(SettingError, match="cannot be in the same column"):
            Conll("names.conll", word=1, tag=1)


class TestNumbers:
    """Labels to be predicted as numbers, not told apart as classes."""

    def test_where_one_is_not_whole_all_are_numbers(self, form: Format) -> None:
        values: Values = {"text": ["a", "b", "c"], "label": [3.5, 0.25, -2.0]}
        examples = form.make(form.write("similar", values)).open(None, labels=True)
        assert (examples.task, examples.classes) == ("regression", None)
        assert examples.labels.tolist() == [3.5, 0.25, -2.0]  # type: ignore[union-attr]

    def test_whole_numbers_are_classes(self, form: Format) -> None:
        examples = form.make(form.write("stars", {"text": ["a", "b"], "label": [5, 1]})).open(None, labels=True)
        assert (examples.task, examples.classes, examples.labels) == ("classification", ("1", "5"), [1, 0])

    def test_numbers_among_names_are_names(self, tmp_path: Path) -> None:
        write_csv(tmp_path / "a.csv", {"text": ["a", "b"], "label": ["3.5", "good"]})
        examples = Csv(str(tmp_path / "a.csv")).open(None, labels=True)
        assert (examples.task, examples.classes) == ("classification", ("3.5", "good"))

    @pytest.mark.parametrize("form", ["csv", "jsonl"], indirect=True)
    def test_files_of_whole_and_of_other_numbers_are_joined(self, form: Format) -> None:
        form.write("one", {"text": ["a"], "label": [1]})
        form.write("two", {"text": ["b"], "label": [2.5]})
        examples = form.make(form.folder / "*").open(None, labels=True)
        assert (examples.task, examples.labels.tolist()) == ("regression", [1.0, 2.5])  # type: ignore[union-attr]

    def test_a_type_that_says_so_is_enough(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", {"text": ["a", "b"], "label": [1.0, 2.0]})
        assert Parquet(str(tmp_path / "a.parquet")).open(None, labels=True).task == "regression"

    def test_the_fingerprint_changes_with_a_number_and_not_with_the_format(self, tmp_path: Path) -> None:
        known = set()
        for ending in FORMATS:
            form = Format(ending, tmp_path)
            for last in (2.5, 2.25):
                file = form.write("a", {"text": ["a", "b"], "label": [1.5, last]})
                known.add(form.make(file).open(None, labels=True).fingerprint)
        assert len(known) == 2

    def test_a_number_that_is_not_finite_is_named(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", {"text": ["a", "b"], "label": [1.5, float("nan")]})
        with pytest.raises(DataError, match="row 2: `label` is nan, expected a finite number"):
            Parquet(str(tmp_path / "a.parquet")).open(None, labels=True)
        write_jsonl(tmp_path / "a.jsonl", {"text": ["a", "b"], "label": [1.5, float("inf")]})
        with pytest.raises(DataError, match="row 2: the label is inf"):
            JsonLines(str(tmp_path / "a.jsonl")).open(None, labels=True)


class TestSeveralClassesAtOnce:
    def test_columns_of_nought_and_one(self, form: Format) -> None:
        data = form.make(form.write("comments", FLAGS), label=["toxic", "rude"])
        assert data.class_names() == ("toxic", "rude")
        examples = data.open(None, labels=True)
        assert (examples.task, examples.classes) == ("multilabel", ("toxic", "rude"))
        assert examples.labels.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]  # type: ignore[union-attr]

    def test_one_column_in_a_list_is_one_class_that_may_be_absent(self, form: Format) -> None:
        examples = form.make(form.write("comments", FLAGS), label=["toxic"]).open(None, labels=True)
        assert (examples.task, examples.labels.tolist()) == ("multilabel", [[1.0], [0.0], [1.0]])  # type: ignore[union-attr]

    @with_lists
    def test_a_column_of_lists_of_names(self, form: Format) -> None:
        values: Values = {"text": ["a", "b", "c"], "label": [["rude", "toxic"], [], ["mild"]]}
        examples = form.make(form.write("comments", values)).open(None, labels=True)
        assert (examples.task, examples.classes) == ("multilabel", ("mild", "rude", "toxic"))
        assert examples.labels.tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]  # type: ignore[union-attr]

    def test_what_is_neither_nought_nor_one_is_named(self, form: Format) -> None:
        values = FLAGS | {"rude": ["yes", "no", "maybe"]}
        with pytest.raises(DataError, match="row 1: `rude` is 'yes', expected 0 or 1, or true or false"):
            form.make(form.write("comments", values), label=["toxic", "rude"]).open(None, labels=True)

    def test_a_missing_column_and_a_missing_value_are_named(self, form: Format) -> None:
        file = form.write("comments", FLAGS | {"rude": [True, None, False]})
        with pytest.raises(DataError, match="no column `mean`; it has `text`, `toxic`, `rude`"):
            form.make(file, label=["toxic", "mean"]).open(None, labels=True)
        with pytest.raises(DataError, match="row 2 has no `rude`"):
            form.make(file, label=["toxic", "rude"]).open(None, labels=True)

    def test_a_list_among_names_is_named(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "a.jsonl", {"text": ["a", "b"], "label": [["x"], "y"]})
        with pytest.raises(DataError, match="row 2: the label is 'y', but a list in other rows"):
            JsonLines(str(tmp_path / "a.jsonl")).open(None, labels=True)

    @with_lists
    def test_lists_that_are_all_empty(self, form: Format) -> None:
        empty: Any = pa.array([[], []], pa.list_(pa.string())) if form.ending == "parquet" else [[], []]
        with pytest.raises(DataError, match="row 1: `label` is empty, and so it is in all other rows"):
            form.make(form.write("a", {"text": ["a", "b"], "label": empty})).open(None, labels=True)

    def test_settings_that_make_no_sense(self) -> None:
        with pytest.raises(SettingError, match="the column `toxic` is named twice"):
            Csv("a.csv", label=["toxic", "toxic"])
        with pytest.raises(UserError, match=r"`label`.*at least 1 item"):
            create(Csv, {"path": "a.csv", "label": []})


class TestDeclaredClasses:
    """Hugging Face's metadata names classes, in Parquet files and on the Hub."""

    @pytest.fixture(params=["parquet", "hub"])
    def repo(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        """The same rows in a Parquet file, or as a data set of the Hub; called with settings."""
        table = pa.table(DECLARED)
        table = table.set_column(4, "score", table["score"].cast(pa.float32()))
        metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
        file = tmp_path / "data" / "train.parquet"
        file.parent.mkdir()
        pq.write_table(table.replace_schema_metadata(metadata), file)
        if request.param == "parquet":
            return lambda **settings: Parquet(str(file.parent), **settings)
        return lambda **settings: Hub(str(file.parent), **settings)

    def test_tags(self, repo: Any) -> None:
        data = repo(words="tokens", label="tags")
        assert (data.modality, data.class_names()) == ("text", ("O", "B-LOC", "B-PER", "I-PER"))
        examples = data.open("train", labels=True)
        assert (examples.task, examples.classes) == ("token_classification", data.class_names())
        assert torch.equal(examples.labels, TAGS)
        assert list(examples.inputs) == SENTENCES["tokens"]

    def test_several_classes_at_once(self, repo: Any) -> None:
        data = repo(label="topics")
        assert data.class_names() == ("arts", "war", "law")
        examples = data.open("train", labels=True)
        assert (examples.task, examples.classes) == ("multilabel", ("arts", "war", "law"))
        assert examples.labels.tolist() == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]

    def test_numbers(self, repo: Any) -> None:
        examples = repo(label="score").open("train", labels=True)
        assert (examples.task, examples.classes, examples.labels.tolist()) == ("regression", None, [1.0, 2.0, 3.0])

    def test_pairs(self, repo: Any, tmp_path: Path) -> None:
        pq.write_table(pa.table(PAIRS), tmp_path / "data" / "train.parquet")
        examples = repo(text="premise", text_pair="hypothesis").open("train", labels=True)
        assert examples.inputs[1] == ("A dog runs.", "An animal moves.")

    def test_hidden_labels_are_dropped_from_the_table(self, repo: Any) -> None:
        examples = repo(words="tokens", label="tags").open("train", labels=False)
        assert (examples.labels, examples.classes) == (None, None)
        assert examples.inputs.rows.column_names == ["tokens"]

    def test_a_tag_that_is_not_declared(self, tmp_path: Path, repo: Any) -> None:
        file = tmp_path / "data" / "train.parquet"
        table = pq.read_table(file)
        broken = pa.array([[1, 3], [3, 7, 3, 3], [3]])
        pq.write_table(table.set_column(2, table.schema.field("tags"), broken), file)
        with pytest.raises(DataError, match="row 2: `tags` is 7, which counts through 4 classes"):
            repo(words="tokens", label="tags").open("train", labels=True)


class TestFirewall:
    """By force: what label columns hold cannot be told from what is opened without labels."""

    @pytest.mark.parametrize("label", [[3.5, 0.5], ["nan", "["], [1, 0]])
    def test_no_form_of_label_is_looked_at(self, form: Format, label: list[Any]) -> None:
        without = form.make(form.write("plain", {"text": ["a", "a"]})).open(None, labels=False)
        for asked in ("label", ["label", "gone"]):
            data = form.make(form.write("plain", {"text": ["a", "a"], "label": label}), label=asked)
            examples = data.open(None, labels=False)
            assert examples.inputs.rows.column_names == ["text"]  # type: ignore[attr-defined]
            assert (examples.labels, examples.classes) == (None, None)
            assert (examples.fingerprint, examples.notes) == (without.fingerprint, without.notes)

    @with_lists
    def test_tags_are_not_looked_at(self, form: Format) -> None:
        for tags in (SENTENCES["tags"], [["?"]] * 3, [None] * 3):
            file = form.write("names", SENTENCES | {"tags": tags})
            examples = form.make(file, words="tokens", label="tags").open(None, labels=False)
            assert list(examples.inputs) == SENTENCES["tokens"]
            assert examples.inputs.rows.column_names == ["tokens"]  # type: ignore[attr-defined]


class TestWhatIsSaidOfTexts:
    def test_repeated_texts_and_other_labels_of_theirs(self, form: Format) -> None:
        values: Values = {"text": ["a", "b", "a", "c", "b", "a"], "label": list("xyxyxy")}
        same, other = form.make(form.write("r", values)).open(None, labels=True).notes
        file = form.folder / f"r.{form.ending}"
        assert same == f"repeated texts: 3, such as {file}, row 1 and {file}, row 3"
        assert other == f"repeated texts with another label: 2, such as {file}, row 2 and {file}, row 5"

    def test_of_hidden_labels_nothing_is_said(self, form: Format) -> None:
        [note] = form.make(form.write("r", {"text": ["a", "a"], "label": ["x", "y"]})).open(None, labels=False).notes
        assert note.startswith("repeated texts: 1, ")

    def test_texts_that_are_all_different_need_no_note(self, form: Format) -> None:
        assert form.make(form.write("r", {"text": ["a", "A"], "label": ["x", "y"]})).open(None, labels=True).notes == ()

    def test_of_files_too(self, tmp_path: Path) -> None:
        for name in ("good", "bad"):
            text_file(tmp_path / name / "1.txt", "the same")
        same, other = TextFolder(str(tmp_path)).open(None, labels=True).notes
        assert same.startswith("repeated texts: 1, such as ")
        assert all(str(tmp_path / name / "1.txt") in other for name in ("good", "bad"))

    def test_of_sentences_with_other_tags(self, tmp_path: Path) -> None:
        examples = Conll(str(text_file(tmp_path / "a.conll", "a O\n\na B-X\n\na O\n"))).open(None, labels=True)
        assert [note.partition(",")[0] for note in examples.notes] == [
            "repeated texts: 2",
            "repeated texts with another label: 1",
        ]

    def test_blank_texts_are_named_and_counted(self, form: Format) -> None:
        file = form.write("a", {"text": ["fine", " ", "\t\n", "\u00a0", "good"], "label": list("abcde")})
        for labels in (True, False):
            with pytest.raises(
                DataError,
                match=r"a\.\w+, row 2 has no `text`, nor has .*, row 3 \(and 1 more\)\nhelp: fill it in, or remo",
            ):
                form.make(file).open(None, labels)

    def test_a_whole_file_in_one_row_is_named(self, form: Format) -> None:
        file = form.write("a", {"text": ["fine", "word " * 2_000_000], "label": ["x", "y"]})
        with pytest.raises(DataError, match=r"row 2: `text` has 10,000,000 characters, more than 1,000,000\nhelp: are"):
            form.make(file).open(None, labels=True)

    def test_a_long_text_is_no_mistake(self, form: Format) -> None:
        text = "w" * 1_000_000
        assert form.make(form.write("a", {"text": [text]})).open(None, labels=False).inputs[0] == text

    def test_a_parquet_file_whose_text_is_not_utf8_is_named_by_its_row(self, tmp_path: Path) -> None:
        contents = pa.array([b"fine"] * 300 + [b"sch\xf6n"], pa.binary())
        broken = pa.Array.from_buffers(pa.string(), len(contents), contents.buffers())
        pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
        with pytest.raises(DataError, match=r"a\.parquet, row 301: `text` is not UTF-8\nhelp: save it as UTF-8"):
            Parquet(str(tmp_path / "a.parquet")).open(None, labels=False)

    def test_a_class_that_the_run_lacks_is_named_with_those_it_has(self, form: Format) -> None:
        file = form.write("a", {"text": ["a", "b", "c"], "label": ["good", "bad", "ugly"]})
        evaluate = open_domain(form.make(file), DomainPart(use=form.ending), "evaluate", "evaluate")
        with pytest.raises(DataError, match=r"(?s)not among the run's: ugly.*the run: bad, good.*classes: \{ugly: "):
            evaluate.matched(("bad", "good"))
