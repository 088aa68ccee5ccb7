"""What a manifest may say, and what it means."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from tests.manifests import plugin
from tlhub import manifest
from tlhub.catalog import Catalog
from tlhub.checking import check
from tlhub.errors import ManifestError
from tlhub.manifest import Manifest, Train
from tlhub.parts import DomainPart, EvaluatePart, Part, TargetPart
from tlhub.schema import json_schema
from tlhub.splits import Piece, parse_split, select_rows
from tlhub.yaml_tree import dump, read_text, scalar

GOOD = sorted((Path(__file__).parent / "manifests").glob("*.yaml"))
SMALLEST = "backbone: net\nsource: {use: folder, path: photos}\n"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog({"fake": plugin})


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_manifest_survives_being_written_down(path: Path, catalog: Catalog) -> None:
    read = manifest.load(path, catalog=catalog)
    assert check(read, catalog) == []
    assert manifest.loads(read.as_yaml(), catalog=catalog) == read
    assert manifest.loads(json.dumps(read.as_dict())) == read
    assert manifest.from_dict(read.as_dict()) == read
    assert manifest.from_dict(read.as_dict()).as_dict() == read.as_dict()
    assert read.file == str(path)


def test_what_is_left_out() -> None:
    read = manifest.loads(SMALLEST)
    assert read.backbone == Part(use="net")
    assert (read.target, read.evaluate, read.adapters, read.task, read.select) == ([], [], [], None, None)
    assert read.train == Train()
    (source,) = read.source
    assert (source.use, source.settings) == ("folder", {"path": "photos"})
    assert (source.labels, source.split, source.classes, source.test_ratio, source.split_seed) == (
        "all",
        None,
        None,
        0.2,
        0,
    )


def test_labels_are_shown_unless_they_are_the_target_s() -> None:
    read = manifest.loads(
        "backbone: net\nsource: digits\ntarget: [photos, {use: signs, labels: all}]\nevaluate: photos\n"
    )
    assert [part.labels for part in (*read.source, *read.target, *read.evaluate)] == ["all", "none", "all", "all"]


def test_a_bare_name_is_a_part_and_one_part_is_a_list() -> None:
    short = manifest.loads("backbone: net\nsource: digits\nadapters: align\nselect: entropy\ntask: classes\n")
    long = manifest.loads(
        "backbone: {use: net}\nsource: [{use: digits}]\nadapters: [{use: align}]\n"
        "select: {use: entropy}\ntask: {use: classes}\n"
    )
    assert short == long


def test_keys_without_a_value_are_as_if_they_were_not_there() -> None:
    assert manifest.loads(f"{SMALLEST}target:\nadapters:\ntrain:\nselect: null\n") == manifest.loads(SMALLEST)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5E-5", 5e-5),
        ("+.5", 0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("0o17", 15),
        ("0xff", 255),
        ("017", 17),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("yes", "yes"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2024-01-31", "2024-01-31"),
        ("0b1", "0b1"),
        ("e3", "e3"),
        (".", "."),
    ],
)
def test_scalars_mean_what_yaml_1_2_says(text: str, value: Any) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


def test_quoted_is_text() -> None:
    assert read_text("""[ "1", '2', "true", "~", "\\ud83d\\ude00" ]""", "x").plain() == ["1", "2", "true", "~", "😀"]


def test_every_key_and_value_has_its_place() -> None:
    tree = read_text("\ufeffa: 1\nbé:\n  - x\n  - {c: 'y z'}\n", "x")
    (first, second) = tree.value["bé"].value
    assert (tree.keys["bé"].line, tree.keys["bé"].column, tree.keys["bé"].width) == (2, 1, 2)
    assert (first.position.line, first.position.column) == (3, 5)
    assert (second.value["c"].position.column, second.value["c"].position.width) == (9, 5)
    assert second.value["c"].position.source_line == "  - {c: 'y z'}"


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.lr=1e-4", ("train", "lr"), 1e-4),
        ("name=two words", ("name",), "two words"),
        ("name=", ("name",), None),
        ("adapters.0.strength=2", ("adapters", 0, "strength"), 2),
        ("adapters.0=freeze", ("adapters", 0, "use"), "freeze"),
        ("adapters=[]", ("adapters",), None),
        ("backbone.depth=50", ("backbone", "depth"), 50),
        ("target.use=table", ("target", 0, "use"), "table"),
        ("source.split=train[:10%]", ("source", 0, "split"), "train[:10%]"),
    ],
)
def test_overrides(override: str, path: tuple[str | int, ...], value: Any) -> None:
    found: Any = manifest.loads(f"{SMALLEST}name: x\nadapters: [align]\n", overrides=[override]).as_dict()
    for step in path:
        found = found.get(step) if isinstance(step, str) else found[step]
    assert found == value


def test_the_last_override_wins() -> None:
    assert manifest.loads(SMALLEST, overrides=["train.lr=1", "train.lr=2"]).train.lr == 2


def test_a_program_writes_paths_and_tuples() -> None:
    written = manifest.from_dict({"backbone": "net", "source": ({"use": "folder", "path": Path("photos")},)})
    assert written == manifest.loads(SMALLEST)


# -- JSON Schema -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def validator(catalog: Catalog) -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(json_schema(catalog)))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_the_schema_accepts_good_manifests(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(read_text(path.read_text(), str(path)).plain())
    validator.validate(manifest.load(path).as_dict())


@pytest.mark.parametrize(
    "text",
    [
        "source: table\n",
        "backbone: net\n",
        "backbone: net\nsource: folder\n",
        "backbone: net\nsource: table\nsorce: table\n",
        "backbone: nett\nsource: table\n",
        "backbone: {use: net, dept: 3}\nsource: table\n",
        "backbone: {use: net, depth: 0}\nsource: table\n",
        "backbone: net\nsource: {use: table, lables: all}\n",
        "backbone: net\nsource: table\nadapters: [freeze]\n",
        "backbone: net\nsource: table\nadapters: [{use: fake/align, hiden: 3}]\n",
        "backbone: net\nsource: table\nadapters: [{use: align, mode: third}]\n",
        "backbone: net\nsource: table\ntrain: {lrr: 3}\n",
        "backbone: net\nsource: table\nevaluate: {use: table, labels: none}\n",
    ],
)
def test_the_schema_refuses_what_the_check_refuses(
    text: str, validator: jsonschema.Draft202012Validator, catalog: Catalog
) -> None:
    assert not validator.is_valid(read_text(text, "x").plain())
    with pytest.raises(ManifestError):
        manifest.loads(text, catalog=catalog)


def test_a_schema_of_no_plugins_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(Catalog({})))


def test_every_field_of_the_core_is_described() -> None:
    for model in (Manifest, Train, DomainPart, TargetPart, EvaluatePart):
        assert all(field.description for field in model.model_fields.values())


# -- whatever the text -------------------------------------------------------------------------------------------------

WORDS = [
    "backbone",
    "source",
    "target",
    "adapters",
    "train",
    "use",
    "net",
    "lr",
    "align",
    "1e-3",
    "null",
    "yes",
    "'",
    '"',
]
MARKS = [
    "\n",
    "  ",
    ": ",
    "- ",
    ",",
    "[",
    "]",
    "{",
    "}",
    "&a",
    "*a",
    "!!",
    "#",
    "|",
    ">",
    "%",
    "@",
    "\t",
    "\\",
    "? ",
    "---",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.text(), st.lists(st.sampled_from(WORDS + MARKS)).map("".join)))
def test_no_text_raises_anything_else(catalog: Catalog, text: str) -> None:
    with contextlib.suppress(ManifestError):
        manifest.loads(text, catalog=catalog)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(list(Manifest.model_fields)), VALUES, max_size=6))
def test_no_mapping_raises_anything_else(catalog: Catalog, data: dict[str, Any]) -> None:
    try:
        read = manifest.from_dict(data, catalog=catalog)
    except ManifestError:
        return
    assert manifest.from_dict(read.as_dict()) == read


PRINTABLE = st.text(st.characters(exclude_categories=["C"]), max_size=20)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PRINTABLE.filter(bool), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(PLAIN)
def test_what_is_dumped_reads_the_same(value: Any) -> None:
    assert read_text(dump(value), "x").plain() == value


# -- splits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("train", [Piece("train", None, None, "")]),
        ("test[:100]", [Piece("test", None, 100, "")]),
        ("train[10%:20%]", [Piece("train", 10, 20, "%")]),
        ("train[-5:]", [Piece("train", -5, None, "")]),
        ("train[:]", [Piece("train", None, None, "")]),
        ("train + validation[:1]", [Piece("train", None, None, ""), Piece("validation", None, 1, "")]),
    ],
)
def test_splits(text: str, pieces: list[Piece]) -> None:
    assert parse_split(text) == pieces


@pytest.mark.parametrize(
    "text",
    ["", "train+", "[:1]", "train[", "train[1]", "train[:10%", "a[1:2:3]", "a[:101%]", "a[10:20%]", "a b", "a[x:]"],
)
def test_no_splits(text: str) -> None:
    with pytest.raises(ValueError, match=r"split|percent|100 %"):
        parse_split(text)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a", (0, 10)),
        ("a[:3]", (0, 3)),
        ("a[:30]", (0, 10)),
        ("a[-3:]", (7, 10)),
        ("a[8:2]", (8, 8)),
        ("a[:50%]", (0, 5)),
        ("a[-20%:]", (8, 10)),
        ("a[:4%]", (0, 0)),
    ],
)
def test_rows_of_a_slice(text: str, rows: tuple[int, int]) -> None:
    (piece,) = parse_split(text)
    assert select_rows(piece, 10) == slice(*rows)


@given(st.integers(0, 1000), st.integers(0, 100))
def test_percentages_share_no_row_and_lose_none(length: int, percent: int) -> None:
    (before,), (after,) = parse_split(f"a[:{percent}%]"), parse_split(f"a[{percent}%:]")
    rows = range(length)
    assert [*rows[select_rows(before, length)], *rows[select_rows(after, length)]] == list(rows)


def test_reading_manifests_needs_no_torch() -> None:
    code = "import sys, tlhub.manifest, tlhub.catalog, tlhub.hookspecs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
