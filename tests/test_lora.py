"""Low-rank adaptation: what learns, what is saved, and what other libraries make of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import timm
import torch
from torch import Tensor, nn

from tests.tiny import make_run, state, train_run
from tlhub import manifest as manifests
from tlhub.artifact import load, save
from tlhub.checkpoint import Checkpoints
from tlhub.errors import ArtifactError, UserError
from tlhub.run import Run, open_data
from tlhub.testing import toy_catalog, toy_manifest
from tlhub.train import train
from tlhub.watch import Watch

VIT = {"use": "timm", "model": "vit_tiny_patch16_224", "pretrained": False, "input_size": 32}
TINY: dict[str, Any] = {"use": "lora", "layers": ["conv1", "conv2", "fc"], "rank": 2}
"""On the network of `tests/tiny.py`, whose three stages have one such layer each."""

GRADUAL: dict[str, Any] = {"use": "gradual_unfreeze"}
FREEZE_TWO: dict[str, Any] = {"use": "partial_freeze", "stages": 2}
FREEZE_ALL: dict[str, Any] = {"use": "partial_freeze", "stages": "all"}


def compose(
    backbone: Mapping[str, Any],
    *adapters: dict[str, Any],
    modality: Literal["image", "text"] = "image",
    **settings: Any,
) -> Run:
    """A run of these adapters on the toys' data."""
    catalog = toy_catalog()
    content = {**toy_manifest(adapters, modality, **settings), "backbone": dict(backbone)}
    loaded = manifests.from_dict(content, catalog=catalog)
    return Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))


def logits(run: Run) -> Tensor:
    """What the model answers on the first examples."""
    backbone = run.model.eval().backbone
    preprocess = backbone.preprocess(train=False)
    with torch.inference_mode():
        answer: Tensor = run.model(backbone.collate([preprocess(raw) for raw in raws(run)]))
    return answer


def raws(run: Run) -> list[Any]:
    return [run.sources[0].raw(number) for number in range(5)]


class Diary(Watch):
    """The model's parameters and buffers before training and after every epoch."""

    def __init__(self, run: Run) -> None:
        self.run, self.pages = run, [state(run.model)]

    def epoch(self, row: Any) -> None:
        self.pages.append(state(self.run.model))

    def changes(self) -> list[set[str]]:
        """The modules, without `backbone.`, that every epoch changed."""
        found = []
        for before, after in zip(self.pages, self.pages[1:], strict=False):
            names = {name for name, value in after.items() if not torch.equal(value, before[name])}
            found.append({name.removeprefix("backbone.").rpartition(".")[0] for name in names})
        return found


def diary(run: Run, folder: Path) -> Diary:
    watch = Diary(run)
    train(run, Checkpoints(folder), watch)
    return watch


class TestWhatLearns:
    def test_training_starts_at_the_pretrained_network(self) -> None:
        torch.testing.assert_close(logits(compose(VIT, {"use": "lora"})), logits(compose(VIT)))

    def test_a_changed_layer_is_the_papers(self) -> None:
        """Eq. 3: W x + alpha / rank B A x."""
        run = compose(VIT, {"use": "lora", "rank": 3, "alpha": 6, "dropout": 0.5})
        layer: Any = run.model.eval().backbone.get_submodule("net.blocks.3.attn.qkv")
        a, b = layer.lora_A.default.weight, layer.lora_B.default.weight
        assert (a.shape, b.shape) == ((3, 192), (576, 3))
        nn.init.normal_(b)
        x = torch.randn(7, 192)
        by_hand = x @ layer.base_layer.weight.T + layer.base_layer.bias + 2 * (x @ a.T) @ b.T
        torch.testing.assert_close(layer(x), by_hand)

    def test_low_rank_changes_and_the_head_learn_and_nothing_else(self, tmp_path: Path) -> None:
        changes = diary(compose(VIT, {"use": "lora"}, weight_decay=0.1), tmp_path).changes()
        layers = {f"net.blocks.{block}.attn.qkv.lora_{side}.default" for block in range(12) for side in "AB"}
        assert set.union(*changes) == layers | {"head.linear"}

    @pytest.mark.parametrize(
        ("pattern", "number"),
        [
            ("blocks.11.*", 4),
            ("fc1", 12),
            ("attn.*", 24),
            ("net.blocks.[0-3].attn.qkv", 4),
            ("backbone.net.patch_embed.proj", 1),
        ],
    )
    def test_layers_by_name_or_pattern(self, pattern: str, number: int) -> None:
        run = compose(VIT, {"use": "lora", "layers": [pattern]})
        assert sum(name.endswith("lora_A.default.weight") for name, _ in run.model.named_parameters()) == number

    def test_the_same_seed_gives_the_same_start(self) -> None:
        first, second = (state(make_run(TINY, seed=3).model) for _ in range(2))
        assert all(torch.equal(value, second[name]) for name, value in first.items())

    @pytest.mark.parametrize(
        ("backbone", "settings", "message"),
        [
            (VIT, {"layers": ["qvk"]}, r"called `qvk`(.|\n)*`blocks.\*.attn.qkv`"),
            (VIT, {"layers": ["norm1"]}, "no layer it could change is called `norm1`"),
            ({**VIT, "model": "resnet18"}, {}, r"queries and values(.|\n)*`layers`(.|\n)*`layer1.\*.conv1`"),
            (
                {**VIT, "model": "beit_base_patch16_224", "input_size": 224, "args": {"depth": 1}},
                {},
                r"cannot change `blocks.\*.attn.qkv`(.|\n)*`blocks.\*.mlp.fc1`",
            ),
        ],
    )
    def test_layers_that_cannot_be_changed_are_told(self, backbone: Any, settings: Any, message: str) -> None:
        """BEiT reads the weights of `qkv` without running it: peft's change of it would never be seen."""
        with pytest.raises(UserError, match=message):
            compose(backbone, {"use": "lora", **settings})

    def test_it_is_listed_once(self) -> None:
        with pytest.raises(UserError, match="listed twice"):
            make_run(TINY, {**TINY, "layers": ["fc"]})


class TestBesideOthers:
    """The change of a layer belongs to the layer's stage."""

    CONV1, CONV2, FC = ({f"{layer}.lora_{side}.default" for side in "AB"} for layer in ("conv1", "conv2", "fc"))
    HEAD: ClassVar[set[str]] = {"head.linear"}

    @pytest.mark.parametrize("order", [1, -1])
    def test_what_partial_freeze_keeps_is_as_it_was(self, order: int, tmp_path: Path) -> None:
        run = make_run(*[TINY, FREEZE_TWO][::order], lr=0.1)
        before = {name: value.clone() for name, value in make_run().model.backbone.state_dict().items()}
        assert set.union(*diary(run, tmp_path).changes()) == self.FC | self.HEAD
        merged = run.model.backbone.state_dict()
        changed = {name for name, value in before.items() if not torch.equal(merged[name], value)}
        assert changed == {"fc.weight"}

    @pytest.mark.parametrize("order", [1, -1])
    def test_all_frozen_is_refused(self, order: int, tmp_path: Path) -> None:
        run = make_run(*[TINY, FREEZE_ALL][::order])
        with pytest.raises(UserError, match=r"`lora` has nothing to train(.|\n)*remove `partial_freeze`"):
            train_run(run, tmp_path)

    @pytest.mark.parametrize("order", [1, -1])
    def test_gradual_unfreezing_thaws_changes_alone(self, order: int, tmp_path: Path) -> None:
        run = make_run(*[TINY, GRADUAL][::order], epochs=4, weight_decay=0.1)
        head = self.HEAD
        turns = [head, head | self.FC, head | self.FC | self.CONV2, head | self.FC | self.CONV2 | self.CONV1]
        assert diary(run, tmp_path).changes() == turns

    def test_it_learns_at_the_rate_of_its_stage(self, tmp_path: Path) -> None:
        run = make_run(TINY, backbone_lr=[0.0, 1.0, 1.0])
        assert set.union(*diary(run, tmp_path).changes()) == self.CONV2 | self.FC | self.HEAD

    @pytest.mark.parametrize("order", [1, -1])
    def test_with_a_bottleneck_an_alignment_and_an_adversary(self, order: int, tmp_path: Path) -> None:
        others: list[dict[str, Any]] = [{"use": "head_swap", "bottleneck": 4}, {"use": "dann"}]
        run = make_run(*[TINY, *others, {"use": "mmd", "layers": ["conv2", "features"]}][::order])
        changed = set.union(*diary(run, tmp_path).changes())
        neck = {"neck.layers.0", "neck.layers.1"}
        assert changed == self.CONV1 | self.CONV2 | self.FC | self.HEAD | neck


class TestMerged:
    @pytest.mark.parametrize("layers", [None, ["patch_embed.proj", "fc1", "fc2"]])
    def test_the_plain_network_answers_as_the_changed_one(self, layers: list[str] | None) -> None:
        run = compose(VIT, {"use": "lora", "layers": layers})
        for name, parameter in run.model.named_parameters():
            if ".lora_B." in name:
                nn.init.normal_(parameter, std=0.02)
        changed, at_first = logits(run), logits(compose(VIT))
        run.adapters[0].finish(run)
        torch.testing.assert_close(logits(run), changed, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(changed, at_first, atol=1e-2)
        assert run.model.state_dict().keys() == compose(VIT).model.state_dict().keys()

    def test_it_is_saved_in_the_librarys_own_form(self, tmp_path: Path) -> None:
        run = compose(VIT, {"use": "lora"})
        train_run(run, tmp_path / "checkpoints")
        save(run, tmp_path / "out", [])
        net: Any = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
        assert torch.equal(load(tmp_path / "out", "cpu").logits(raws(run)), logits(run))
        torch.testing.assert_close(timm_logits(net, run), logits(run), rtol=1e-5, atol=1e-5)


def timm_logits(net: nn.Module, run: Run) -> Tensor:
    """What timm's own network answers on the first examples, normalised as it wants them."""
    preprocess, backbone = run.model.backbone.preprocess(train=False), run.model.backbone
    images: Any = torch.stack([preprocess(raw) for raw in raws(run)])
    with torch.inference_mode():
        answer: Tensor = net((images - backbone.mean) / backbone.std)
    return answer


@pytest.fixture
def vit(tmp_path: Path) -> dict[str, Any]:
    """A backbone whose weights lie in a folder, as pretrained ones do."""
    from timm.models import save_for_hf

    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=7)
    save_for_hf(net, str(tmp_path / "vit"), model_args={"img_size": 32, "depth": 2}, safe_serialization=True)
    return {"use": "timm", "model": f"local-dir:{tmp_path / 'vit'}"}


class TestAdapterForm:
    LORA: ClassVar[dict[str, Any]] = {"use": "lora", "save": "adapter"}

    def saved(self, backbone: dict[str, Any], folder: Path, *others: dict[str, Any], **settings: Any) -> Run:
        run = compose(backbone, self.LORA, *others, **settings)
        train_run(run, folder.with_name("checkpoints"))
        save(run, folder, [])
        return run

    def test_peft_loads_it_into_timms_network(self, vit: dict[str, Any], tmp_path: Path) -> None:
        from peft import PeftModel

        run = self.saved(vit, tmp_path / "out")
        base = timm.create_model(vit["model"], pretrained=True, num_classes=3)
        net = PeftModel.from_pretrained(base, tmp_path / "out").eval()
        torch.testing.assert_close(timm_logits(net, run), logits(run), rtol=1e-5, atol=1e-5)

    def test_it_holds_what_was_learned_and_names_what_it_belongs_to(self, vit: dict[str, Any], tmp_path: Path) -> None:
        self.saved(vit, tmp_path / "out")
        config = json.loads((tmp_path / "out/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == vit["model"]
        size = sum(file.stat().st_size for file in (tmp_path / "out").iterdir())
        assert size < (tmp_path / "vit/model.safetensors").stat().st_size / 10

    @pytest.mark.parametrize("others", [[], [{"use": "head_swap", "bottleneck": 4}]], ids=["plain", "bottleneck"])
    def test_it_loads_to_the_same_logits(self, others: list[Any], vit: dict[str, Any], tmp_path: Path) -> None:
        """Also a neck that peft knows nothing of."""
        run = self.saved(vit, tmp_path / "out", *others)
        loaded = load(tmp_path / "out", "cpu")
        torch.testing.assert_close(loaded.logits(raws(run)), logits(run), rtol=1e-5, atol=1e-5)

    def test_other_pretrained_weights_are_noticed(self, vit: dict[str, Any], tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        self.saved(vit, tmp_path / "out")
        file = tmp_path / "vit/model.safetensors"
        tensors = load_file(file)
        tensors["blocks.0.attn.proj.bias"] += 1
        save_file(tensors, file)
        with pytest.raises(ArtifactError, match="are not those that"):
            load(tmp_path / "out", "cpu")

    def test_weights_that_nobody_has_are_refused_before_training(self) -> None:
        with pytest.raises(UserError, match=r"not those that its settings name(.|\n)*save: merged"):
            compose(VIT, self.LORA)


SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES,
    "electra": SIZES,
    "deberta-v2": SIZES,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
}
"""Small networks of the architectures whose attention or classifier has names of its own."""


def pretrained(folder: Path, kind: str) -> dict[str, Any]:
    """A backbone whose encoder and tokenizer lie in a folder, as pretrained ones do: without a classifier."""
    from transformers import AutoModel

    new = compose({"use": "bert", "config": {"model_type": kind, **CONFIGS[kind]}}, modality="text")
    save(new, folder, [])
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    return {"use": "bert", "model": str(folder)}


class TestTransformers:
    def saved(self, backbone: dict[str, Any], folder: Path, **settings: Any) -> tuple[Run, Diary]:
        run = compose(backbone, {"use": "lora", **settings}, modality="text", lr=0.05)
        learned = diary(run, folder.with_name("checkpoints"))
        save(run, folder, [])
        return run, learned

    def answers(self, net: Any, folder: Path, run: Run) -> Tensor:
        """What transformers' own network answers on the first examples, with the tokenizer in `folder`."""
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        with torch.inference_mode():
            answer: Tensor = net.eval()(**tokenizer(raws(run), padding=True, return_tensors="pt")).logits
        return answer

    @pytest.mark.parametrize("kind", CONFIGS)
    def test_queries_values_and_the_classifier_learn_and_peft_loads_them(self, kind: str, tmp_path: Path) -> None:
        """Of the classifier, what lies between the encoder and the head was never pretrained, and would stay random."""
        from peft import AutoPeftModelForSequenceClassification

        folder = tmp_path / "out"
        run, learned = self.saved(pretrained(tmp_path / "encoder", kind), folder, save="adapter")
        changed = set.union(*learned.changes())
        low_rank = {name for name in changed if ".lora_" in name}
        names = {"distilbert": {"q_lin", "v_lin"}, "deberta-v2": {"query_proj", "value_proj"}}
        assert {name.split(".lora_")[0].rpartition(".")[2] for name in low_rank} == names.get(kind, {"query", "value"})
        assert len(low_rank) == 8
        fresh = {"bert": [], "distilbert": ["net.pre_classifier"], "deberta-v2": ["net.pooler.dense"]}
        assert changed - low_rank == {"head.linear", *fresh.get(kind, ["net.classifier.dense"])}

        net = AutoPeftModelForSequenceClassification.from_pretrained(str(folder), num_labels=3)
        torch.testing.assert_close(self.answers(net, folder, run), logits(run), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(load(folder, "cpu").logits(raws(run)), logits(run), rtol=1e-5, atol=1e-5)

    def test_features_of_which_transformers_has_no_classifier(self, tmp_path: Path) -> None:
        backbone = pretrained(tmp_path / "encoder", "bert")
        run, _ = self.saved({**backbone, "pooling": "mean"}, tmp_path / "out", save="adapter")
        loaded = load(tmp_path / "out", "cpu")
        torch.testing.assert_close(loaded.logits(raws(run)), logits(run), rtol=1e-5, atol=1e-5)

    def test_merged_it_is_a_model_as_any_other(self, tmp_path: Path) -> None:
        from transformers import AutoModelForSequenceClassification

        run, _ = self.saved(pretrained(tmp_path / "encoder", "roberta"), tmp_path / "out")
        net = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
        torch.testing.assert_close(self.answers(net, tmp_path / "out", run), logits(run), rtol=1e-5, atol=1e-5)
