"""What a user is told about a broken manifest: every line here is a promise about line, column, message and hint."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.manifests import plugin
from tlhub import manifest
from tlhub.catalog import Catalog
from tlhub.diagnostics import Problem
from tlhub.errors import ManifestError

DATA = "source: {use: folder, path: a}\ntarget: {use: folder, path: b}\n"  # two lines, nothing wrong with them
GOOD = f"backbone: net\n{DATA}"
FIELDS = (
    "it has `name`, `backbone`, `source`, `target`, `evaluate`, `task`, `adapters`, `select`, `baseline` and `train`"
)

# What is broken, the manifest, and every problem in it: line, column, how the message begins, the hint.
BROKEN: list[tuple[str, str, list[tuple[int, int, str, str | None]]]] = [
    # -- YAML ----------------------------------------------------------------------------------------------------------
    ("empty file", "", [(0, 0, "the manifest is empty", "`tlhub init` writes one to start from")]),
    ("only a comment", "# soon\n", [(0, 0, "the manifest is empty", "`tlhub init` writes one to start from")]),
    (
        "list where a mapping belongs",
        "- backbone: net\n",
        [(1, 1, "a manifest is a mapping, this is a list", "it begins with a key, such as `backbone:`")],
    ),
    (
        "a single value",
        "net\n",
        [(1, 1, "a manifest is a mapping, this is a single value", "it begins with a key, such as `backbone:`")],
    ),
    (
        "tab as indentation",
        "backbone:\n\tuse: net\n",
        [(2, 1, "a tab stands where YAML wants spaces", "replace it with spaces")],
    ),
    (
        "tab after the colon",
        "backbone:\tnet\n",
        [(1, 10, "a tab stands where YAML wants spaces", "replace it with spaces")],
    ),
    ("unclosed bracket", "backbone: net\nadapters: [align\n", [(2, 11, "this `[` is never closed", None)]),
    (
        "unclosed brace, and more lines",
        "backbone: {use: net\nsource: x\n",
        [(1, 11, "this `{` is never closed", None)],
    ),
    (
        "wrong bracket",
        "backbone: {use: net]\n",
        [
            (
                1,
                20,
                "expected a comma or the end of the `{`",
                "text that contains brackets, braces or `: ` goes in quotes here",
            )
        ],
    ),
    (
        "slice in braces",
        "source: {use: folder, split: train[:10%]}\n",
        [
            (
                1,
                35,
                "expected a comma or the end of the `{`",
                "text that contains brackets, braces or `: ` goes in quotes here",
            )
        ],
    ),
    ("bracket too many", "backbone: ]\n", [(1, 11, "this `]` closes nothing", None)]),
    ("unclosed quote", "backbone: 'net\nname: x\n", [(1, 11, "this quote is never closed", None)]),
    (
        "text after a quote",
        "name: 'a' b\n",
        [(1, 11, "there is text after the end of the value", "put the whole value in quotes")],
    ),
    (
        "reserved character",
        "name: @home\n",
        [(1, 7, "a value cannot begin with `@`", "put the value in quotes")],
    ),
    (
        "two colons",
        "name: a: b\n",
        [(1, 8, "a second `:` in one line", "put the value in quotes if the `:` belongs to it")],
    ),
    (
        "key without a colon",
        "backbone\nname: x\n",
        [
            (
                2,
                1,
                "this line reads as a continuation of the line above",
                "check the indentation, and that the line above has a `: ` after its key",
            )
        ],
    ),
    ("last key without a colon", "name: x\nbackbone\n", [(2, 1, "this line has no `:` after its key", None)]),
    (
        "indented too far",
        "train:\n  epochs: 1\n    batch: 2\n",
        [
            (
                3,
                5,
                "this line reads as a continuation of the line above",
                "check the indentation, and that the line above has a `: ` after its key",
            )
        ],
    ),
    (
        "indented between two levels",
        "train:\n    epochs: 1\n  batch: 2\n",
        [(3, 3, "this line does not fit the lines above it", "lines that belong together begin in the same column")],
    ),
    (
        "duplicate key",
        f"{GOOD}backbone: net\n",
        [(4, 1, "`backbone` is given twice: in line 1 and in line 4", "keep one of the two")],
    ),
    (
        "duplicate setting",
        "backbone: {use: net, depth: 1, depth: 2}\n",
        [(1, 32, "`depth` is given twice: in line 1 and in line 1", "keep one of the two")],
    ),
    (
        "anchor",
        "backbone: &net {use: net}\n",
        [(1, 11, "the anchor `&net` is not allowed", "write the value out where it is used")],
    ),
    ("alias", "backbone: *net\n", [(1, 11, "the alias `*net` is not allowed", "write the value out again")]),
    (
        "tag",
        "backbone: !!python/object:os.system {}\n",
        [(1, 11, "the tag `!!python/object:os.system` is not allowed", "remove it: settings know their types")],
    ),
    (
        "two documents",
        f"{GOOD}---\nname: x\n",
        [(4, 1, "a second document begins here", "keep one document: remove the `---`")],
    ),
    ("list as a key", "[a]: b\n", [(1, 1, "a list or a mapping cannot be a key", None)]),
    ("no key", ": b\n", [(1, 1, "a key is missing before the `:`", None)]),
    (
        "control character",
        "name: a\x1b[31mb\n",
        [(1, 8, "the character `\\x1b` cannot stand in a manifest", "remove it")],
    ),
    (
        "half a character",
        'name: "\\ud83d"\n',
        [(1, 7, "this text holds half a character", "remove the escape `\\ud…`")],
    ),
    ("endless number", f"name: {'9' * 5000}\n", [(1, 7, "this number has too many digits", None)]),
    ("33 levels", "a: " + "[" * 33 + "]" * 33, [(1, 35, "nested deeper than 32 levels", None)]),
    ("1 MB", "#" * 1_000_000, [(0, 0, "the file is too large for a manifest: 1,000,000 bytes, 262,144 are", None)]),
    # -- keys and values of the core -----------------------------------------------------------------------------------
    (
        "misspelt key",
        f"{GOOD}adaptors: [align]\n",
        [(4, 1, "unknown setting `adaptors` of the manifest", "did you mean `adapters`?")],
    ),
    (
        "misspelt key, and what stands under it",
        "backbone: net\nsorce: {use: folder, pth: a}\n",
        [
            (2, 1, "unknown setting `sorce` of the manifest", "did you mean `source`?"),
            (2, 22, "unknown setting `pth` of `folder`", "did you mean `path`?"),
        ],
    ),
    ("unheard-of key", f"{GOOD}colour: 3\n", [(4, 1, "unknown setting `colour` of the manifest", FIELDS)]),
    ("key in the wrong place", f"{GOOD}lr: 1e-3\n", [(4, 1, "unknown setting `lr` of", "`lr` belongs under `train`")]),
    (
        "misspelt in train",
        f"{GOOD}train: {{lrr: 1}}\n",
        [(4, 9, "unknown setting `lrr` of `train`", "did you mean `lr`?")],
    ),
    (
        "no backbone",
        DATA,
        [(1, 1, "the manifest needs the setting `backbone`: a mapping with `use`", "add `backbone: {use: NAME}`")],
    ),
    (
        "backbone left empty",
        f"backbone:\n{DATA}",
        [(1, 1, "the manifest needs the setting `backbone`: a mapping with `use`", "add `backbone: {use: NAME}`")],
    ),
    (
        "part without use",
        f"backbone: {{depth: 3}}\n{DATA}",
        [(1, 1, "`backbone` does not say which component it is", "add `use: NAME`")],
    ),
    (
        "misspelt use",
        f"backbone: net\n{DATA}adapters:\n  - ues: align\n",
        [(5, 5, "`adapters.0` does not say which component it is", "is `ues` meant to be `use`?")],
    ),
    (
        "number for a part",
        f"backbone: 18\n{DATA}",
        [(1, 11, "`backbone` of the manifest: expected a mapping with `use`, found the number 18", None)],
    ),
    (
        "no domain",
        "backbone: net\n",
        [(1, 1, "there are no labels to learn from", "add a `source`, or a `target` with `labels: all`")],
    ),
    (
        "no labels",
        "backbone: net\ntarget: {use: folder, path: a}\n",
        [(2, 1, "there are no labels to learn from", "add a `source`, or a `target` with `labels: all`")],
    ),
    (
        "labels neither shown nor hidden",
        "backbone: net\nsource: {use: table, labels: some}\n",
        [(2, 30, "`labels` of `source`: expected `all` or `none`, found the text 'some'", None)],
    ),
    (
        "score without labels",
        f"{GOOD}evaluate: {{use: table, labels: none}}\n",
        [(4, 32, "`labels` of `evaluate`: expected `all`, found the text 'none'", None)],
    ),
    (
        "not a split",
        "backbone: net\nsource: {use: table, split: 'train[10%'}\n",
        [(2, 29, "`split` of `source`: `train[10%` is not a split; write it like `train`, `test[:100]`", None)],
    ),
    (
        "class name that is a number",
        "backbone: net\nsource: [{use: table, classes: {cat: 0}}]\n",
        [
            (
                2,
                38,
                "`classes.cat` of `source.0`: expected a text or null, found the number 0",
                'put it in quotes: `"0"`',
            )
        ],
    ),
    (
        "text for a number",
        f"{GOOD}train:\n  lr: fast\n",
        [(5, 7, "`lr` of `train`: expected a number greater than 0, found the text 'fast'", None)],
    ),
    (
        "number in quotes",
        f"{GOOD}train:\n  lr: '1e-3'\n",
        [
            (
                5,
                7,
                "`lr` of `train`: expected a number greater than 0, found the text '1e-3'",
                "write it without quotes: `1e-3`",
            )
        ],
    ),
    (
        "fraction for a whole number",
        f"{GOOD}train: {{epochs: 1.5}}\n",
        [(4, 17, "`epochs` of `train`: expected a whole number greater than 0, found the number 1.5", None)],
    ),
    (
        "whole number written as 1e1",
        f"{GOOD}train: {{epochs: 1e1}}\n",
        [(4, 17, "`epochs` of `train`: expected a whole number greater than 0, found the number 10.0", "write `10`")],
    ),
    (
        "true for a number",
        f"{GOOD}train: {{batch: true}}\n",
        [(4, 16, "`batch` of `train`: expected a whole number greater than 0, found true", None)],
    ),
    (
        "too small",
        f"{GOOD}train: {{batch: 0}}\n",
        [(4, 16, "`batch` of `train`: expected a whole number greater than 0, found the number 0", None)],
    ),
    (
        "too large",
        f"{GOOD}train: {{validation: 0.6}}\n",
        [
            (
                4,
                21,
                "`validation` of `train`: expected a number greater than 0 and of at most 0.5, found the number 0.6",
                None,
            )
        ],
    ),
    (
        "infinite",
        f"{GOOD}train: {{clip: .inf}}\n",
        [(4, 15, "`clip` of `train`: expected a number greater than 0 or null, found the number .inf", None)],
    ),
    (
        "nothing where a value belongs",
        f"{GOOD}train:\n  lr:\n",
        [
            (
                5,
                6,
                "`lr` of `train`: expected a number greater than 0, found nothing",
                "give it a value, or leave it out",
            )
        ],
    ),
    (
        "misspelt choice",
        f"{GOOD}train: {{optimizer: adam}}\n",
        [(4, 20, "`optimizer` of `train`: expected `adamw` or `sgd`, found the text 'adam'", "did you mean `adamw`?")],
    ),
    (
        "one wrong item",
        f"{GOOD}train: {{backbone_lr: [0.1, -1]}}\n",
        [(4, 28, "`backbone_lr.1` of `train`: expected a number of at least 0, found the number -1", None)],
    ),
    (
        "list for a mapping",
        f"{GOOD}train: [epochs]\n",
        [(4, 8, "`train` of the manifest: expected a mapping, found a list of length 1", None)],
    ),
    (
        "patience without select",
        f"{GOOD}train: {{patience: 2}}\n",
        [(4, 9, "`patience` waits for a better selection score", "add `select`, or remove `patience`")],
    ),
    # -- components ----------------------------------------------------------------------------------------------------
    (
        "misspelt component",
        f"{GOOD}adapters: [alignn]\n",
        [(4, 12, "there is no adapter `alignn`", "did you mean `align`?")],
    ),
    (
        "unheard-of component",
        f"{GOOD}select: magic\n",
        [(4, 9, "there is no validator `magic`", "known are `entropy`")],
    ),
    (
        "component of another kind",
        f"backbone: align\n{DATA}",
        [(1, 11, "`align` is an adapter, not a backbone", "known are `net` and `reader`")],
    ),
    (
        "misspelt setting",
        f"{GOOD}adapters:\n  - use: align\n    hiden: 3\n",
        [(6, 5, "unknown setting `hiden` of `align`", "did you mean `hidden`?")],
    ),
    (
        "misspelt key of a domain",
        "backbone: net\nsource: {use: folder, path: a, splitt: train}\n",
        [(2, 32, "unknown setting `splitt` of `folder`", "did you mean `split`?")],
    ),
    (
        "setting of a component without settings",
        f"{GOOD}select: {{use: entropy, strength: 1}}\n",
        [(4, 24, "unknown setting `strength` of `entropy`", "it has no settings")],
    ),
    (
        "missing setting",
        f"{GOOD}adapters: [freeze]\n",
        [(4, 12, "`freeze` needs the setting `stages`: a whole number", None)],
    ),
    (
        "setting of the wrong type",
        f"{GOOD}adapters: [{{use: align, strength: abc}}]\n",
        [(4, 35, "`strength` of `align`: expected a number greater than 0, found the text 'abc'", None)],
    ),
    (
        "yes for true",
        f"{GOOD}adapters: [{{use: align, soft: yes}}]\n",
        [(4, 31, "`soft` of `align`: expected true or false, found the text 'yes'", "write `true`")],
    ),
    (
        "number for a path",
        "backbone: net\nsource: {use: folder, path: 2024}\n",
        [(2, 29, "`path` of `folder`: expected a path, found the number 2024", 'put it in quotes: `"2024"`')],
    ),
    (
        "one item without a list",
        f"{GOOD}adapters: [{{use: align, layers: 3}}]\n",
        [
            (
                4,
                33,
                "`layers` of `align`: expected a list of whole numbers, found the number 3",
                "write it as a list: `[3]`",
            )
        ],
    ),
    (
        "settings that do not fit together",
        f"{GOOD}adapters:\n  - {{use: align, mode: unbiased, soft: true}}\n",
        [(5, 40, "`soft` of `align`: a soft mean is always biased", "leave `soft` out")],
    ),
    (
        "constructor that refuses",
        f"{GOOD}adapters: [{{use: freeze, stages: -1}}]\n",
        [(4, 18, "`freeze` cannot be made with these settings: fewer than no stages", None)],
    ),
    (
        "no target to align with",
        "backbone: net\nsource: {use: table}\nadapters: [align]\n",
        [(3, 12, "`align` needs target examples", "add a `target`")],
    ),
    (
        "no source to align with",
        "backbone: net\ntarget: {use: table, labels: all}\nadapters: [align]\n",
        [(3, 12, "`align` needs a labelled source", "add a `source`")],
    ),
    (
        "hidden labels that are needed",
        f"{GOOD}adapters: [boost]\n",
        [(4, 12, "`boost` needs target labels", "write `labels: all` in the `target`")],
    ),
    (
        "two adapters with rounds",
        "backbone: net\ntarget: {use: table, labels: all}\nadapters: [boost, boost]\n",
        [(3, 19, "`boost` and `boost` both train in rounds; only one", "remove one of them")],
    ),
    (
        "texts for a network of images",
        "backbone: net\nsource: {use: table, text: body}\n",
        [(2, 15, "`table` gives text, but the backbone `net` reads image", "backbones for text: `reader`")],
    ),
    (
        "adapter for texts",
        f"{GOOD}adapters: [words]\n",
        [(4, 12, "`words` is for text, but the backbone `net` reads image", None)],
    ),
    (
        "everything at once",
        "backbone: {use: nett}\nsource: {use: folder}\nadapters: [words, {use: align, hiden: 1}]\ntrain: {lr: 0}\n",
        [
            (1, 17, "there is no backbone `nett`", "did you mean `net`?"),
            (2, 15, "`folder` needs the setting `path`: a path", None),
            (3, 25, "`align` needs target examples", "add a `target`"),
            (3, 32, "unknown setting `hiden` of `align`", "did you mean `hidden`?"),
            (4, 13, "`lr` of `train`: expected a number greater than 0, found the number 0", None),
        ],
    ),
]

OVERRIDES = [  # a change on the command line, how the message begins, the hint
    ("train.lr", "this is not a change", "write it like `train.lr=1e-4`"),
    ("train..lr=1", "this is not a change", "write it like `train.lr=1e-4`"),
    ("train.lrr=1e-4", "unknown setting `lrr` of `train`", "did you mean `lr`?"),
    ("train.lr=fast", "`lr` of `train`: expected a number greater than 0, found the text 'fast'", None),
    (
        "train.lr=[1",
        "expected a comma or the end of the `[`",
        "text that contains brackets, braces or `: ` goes in quotes here",
    ),
    ("adapters.3.strength=2", "`adapters` is a list of 2, counted from 0: there is no `3` in it", None),
    ("adapters.1.strenght=2", "unknown setting `strenght` of `align`", "did you mean `strength`?"),
    ("name.first=x", "`name` is a single value, there is no `first` in it", None),
]

HOSTILE = {
    "brackets": "[" * 100_000,
    "braces": "{a: " * 50_000,
    "dashes": "- " * 100_000,
    "billion laughs": "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(1000)),
    "object": "backbone: !!python/object/apply:os.system [ls]\n",
    "digits": "name: " + "9" * 200_000,
    "key": "x" * 200_000 + ": 1",
    "items": "train: {backbone_lr: [" + "x," * 50_000 + "]}",
    "1 MB": "x: " + "y" * 1_000_000,
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog({"fake": plugin})


def problems(text: str, catalog: Catalog, overrides: tuple[str, ...] = ()) -> list[Problem]:
    with pytest.raises(ManifestError) as raised:
        manifest.loads(text, "manifest.yaml", overrides, catalog)
    return raised.value.problems


@pytest.mark.parametrize(("text", "expected"), [pytest.param(*case[1:], id=case[0]) for case in BROKEN])
def test_a_broken_manifest(text: str, expected: list[tuple[int, int, str, str | None]], catalog: Catalog) -> None:
    found = problems(text, catalog)
    assert [(problem.line, problem.column) for problem in found] == [case[:2] for case in expected]
    for problem, (_, _, message, hint) in zip(found, expected, strict=True):
        assert problem.message.startswith(message)
        assert problem.hint == hint


def test_the_table_is_long_enough() -> None:
    assert len(BROKEN) >= 40


def test_a_problem_shows_the_line_and_what_to_write_instead(catalog: Catalog) -> None:
    with pytest.raises(ManifestError) as raised:
        manifest.loads(f"{GOOD}adapters:\n  - use: align\n    hiden: 3\n", "manifest.yaml", catalog=catalog)
    assert str(raised.value) == (
        "manifest.yaml:6:5: error: unknown setting `hiden` of `align`\n"
        "  |\n"
        "6 |     hiden: 3\n"
        "  |     ^^^^^\n"
        "  = help: did you mean `hidden`?"
    )


def test_nothing_in_a_file_reaches_the_terminal_as_a_command(catalog: Catalog) -> None:
    (problem,) = problems(f'{GOOD}"\\e]0;owned\\a": "\u202e"\n', catalog)
    assert str(problem).isascii()
    assert "\x1b" not in str(problem)


@pytest.mark.parametrize(("override", "message", "hint"), OVERRIDES)
def test_a_broken_override_is_named_as_it_was_written(
    override: str, message: str, hint: str | None, catalog: Catalog
) -> None:
    (problem,) = problems(f"{GOOD}name: x\nadapters: [align, {{use: align}}]\n", catalog, (override,))
    assert problem.message.startswith(message)
    assert problem.hint == hint
    assert str(problem).startswith(f"--set {override}: error: {message}")


def test_problems_of_a_mapping_name_the_key(catalog: Catalog) -> None:
    with pytest.raises(ManifestError) as raised:
        manifest.from_dict({"backbone": "net", "source": {"use": "folder", "path": 3}}, catalog=catalog)
    assert str(raised.value).startswith("manifest.source.path: error: `path` of `folder`: expected a path")


@pytest.mark.parametrize("data", [{1: 2}, {"name": object()}, {"name": "\ud800"}, {"train": {"lr": float("nan")}}])
def test_a_mapping_that_is_no_manifest(data: dict[str, object]) -> None:
    with pytest.raises(ManifestError):
        manifest.from_dict(data)


def test_a_mapping_that_holds_itself() -> None:
    data: dict[str, object] = {}
    data["backbone"] = data
    with pytest.raises(ManifestError, match="nested deeper than 32 levels"):
        manifest.from_dict(data)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_refused_soon(text: str, catalog: Catalog) -> None:
    start = time.monotonic()
    assert problems(text, catalog)
    assert time.monotonic() - start < 5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes("backbone: net\nname: café\n".encode("latin-1"))
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 300_000)
    for path, message in [
        (tmp_path / "missing.yaml", f"{tmp_path / 'missing.yaml'}: error: there is no such file"),
        (tmp_path, f"{tmp_path}: error: this is a folder"),
        (latin, f"{latin}:2:10: error: the file is not UTF-8: byte 0xe9 is no character"),
        (large, f"{large}: error: the file is too large for a manifest: 300,000 bytes, 262,144 are allowed"),
    ]:
        with pytest.raises(ManifestError) as raised:
            manifest.load(path)
        assert str(raised.value).startswith(message)
