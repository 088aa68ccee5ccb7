"""Masked language modelling before fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from tlhub import manifest as manifests
from tlhub.checkpoint import Checkpoints
from tlhub.errors import ManifestError, UserError
from tlhub.run import Run, open_data
from tlhub.testing import AdapterContract, toy_catalog, toy_manifest
from tlhub.train import train
from tlhub.watch import Watch
from tlhub_bert.backbone import BertBackbone
from tlhub_bert.mlm import MaskedLanguageModel, chosen, masked

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES: dict[str, dict[str, Any]] = {
    kind: {"model_type": kind, **SMALL} for kind in ("bert", "roberta", "electra", "deberta-v2", "mpnet", "modernbert")
}
FAMILIES["albert"] = {"model_type": "albert", "embedding_size": 8, **SMALL}
FAMILIES["distilbert"] = {"model_type": "distilbert", "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}


def compose(*adapters: Mapping[str, Any], backbone: Mapping[str, Any] | None = None, **settings: Any) -> Run:
    written = toy_manifest(adapters, "text", **settings)
    written["backbone"] = {"use": "bert", "config": SMALL, "max_length": 16, **(backbone or {})}
    catalog = toy_catalog()
    loaded = manifests.from_dict(written, catalog=catalog)
    return Run(loaded, catalog, open_data(loaded, catalog), torch.device("cpu"))


class TestMlm(AdapterContract):
    component = MaskedLanguageModel
    settings: ClassVar[Mapping[str, Any]] = {"epochs": 2, "probability": 0.3}
    modality = "text"

    def manifest(self, **train: Any) -> dict[str, Any]:
        return {**super().manifest(**train), "backbone": {"use": "bert", "config": SMALL, "max_length": 16}}


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_learns_its_targets_words(kind: str, tmp_path: Path) -> None:
    run = compose({"use": "mlm", "epochs": 8}, backbone={"config": FAMILIES[kind]}, lr=0.02, backbone_lr=1.0)
    history = train(run, Checkpoints(tmp_path), Watch())
    losses = [row["loss"]["mlm"] for row in history if row["round"] == -1]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def test_the_head_shares_the_word_embeddings() -> None:
    run = compose({"use": "mlm"})
    assert isinstance(run.model.backbone, BertBackbone)
    words = run.model.backbone.net.base_model.get_input_embeddings().weight
    assert any(parameter is words for parameter in run.adapters[0].parameters())


def test_a_layer_that_is_looked_at_is_averaged_over_tokens_and_not_over_padding() -> None:
    run = compose()
    model = run.model.eval()
    model.tap("net.bert.encoder.layer.0.output")
    preprocess = model.backbone.preprocess(train=False)
    short, long = preprocess("ba do"), preprocess("ba do ke mo ga la do")
    with torch.inference_mode():
        together = model.see(model.backbone.collate([short, long]))
        alone = model.see(model.backbone.collate([short]))
    name = "net.bert.encoder.layer.0.output"
    torch.testing.assert_close(together.layers[name][:1], alone.layers[name], rtol=1e-4, atol=1e-5)


def test_what_is_chosen_is_a_share_of_the_tokens_and_neither_padding_nor_special() -> None:
    tokens = torch.randint(5, 50, (6, 20))
    tokens[:, 0], tokens[:, 5] = 1, 2
    lengths = torch.tensor([20, 10, 6, 20, 13, 8])
    for seed in range(20):
        torch.manual_seed(seed)
        places = chosen(tokens, lengths, torch.tensor([1, 2]), 0.15)
        assert len(places) == len(set(places.tolist())) == round(77 * 0.15)
        assert not torch.isin(tokens.flatten()[places], torch.tensor([1, 2])).any()
        assert (places % 20 < lengths[places // 20]).all()


def test_four_in_five_are_masked_one_in_ten_is_another_and_one_in_ten_stays() -> None:
    torch.manual_seed(0)
    tokens = torch.full((40_000,), 7)
    read = masked(tokens, 3, 1000)
    shares = [(read == 3).float().mean(), (read == 7).float().mean()]
    assert shares == [pytest.approx(0.8, abs=0.01), pytest.approx(0.1, abs=0.01)]


def test_it_is_for_texts_and_for_an_encoder_that_learns() -> None:
    with pytest.raises(ManifestError, match="`mlm` is for text, but the backbone `toy_net` reads image"):
        manifests.from_dict(toy_manifest([{"use": "mlm"}]), catalog=toy_catalog())
    catalog = toy_catalog()
    on_toys = manifests.from_dict(toy_manifest([{"use": "mlm"}], "text"), catalog=catalog)
    with pytest.raises(UserError, match="trains encoders of `bert`, not `toy_text_net`"):
        Run(on_toys, catalog, open_data(on_toys, catalog), torch.device("cpu"))
    with pytest.raises(UserError, match="nothing to train: the encoder is frozen"):
        compose({"use": "partial_freeze", "stages": "all"}, {"use": "mlm"})
