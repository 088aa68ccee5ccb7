"""Looking at layers of a backbone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tlhub.errors import UserError
from tlhub.head import Identity
from tlhub.model import Model
from tlhub.testing.toys import ToyNet, ToyTextNet


class Odd(nn.Module):
    """Gives what no adapter can use."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> object:
        if self.kind in ("tuple", "understood"):
            return x, x
        return x[None, None] if self.kind == "six" else x.flatten(0, 1)


class OddNet(ToyNet):
    """The toy with a module whose answer is not used."""

    def __init__(self, kind: str) -> None:
        super().__init__(augment=False)
        self.kind, self.odd = kind, Odd(kind)

    def activation(self, output: object) -> Tensor:
        return super().activation(output[0] if self.kind == "understood" and isinstance(output, tuple) else output)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.kind != "idle":
            self.odd(inputs)
        return super().forward(inputs)


def model_of(net: ToyNet, layer: str) -> Model:
    model = Model(net, Identity(net.width), Identity(net.width)).eval()
    model.tap(layer)
    return model


def test_a_map_is_averaged_over_its_places() -> None:
    net, images = ToyNet(), torch.rand(3, 3, 8, 8)
    model = model_of(net, "layer1")
    with torch.inference_mode():
        torch.testing.assert_close(
            model.see(images).layers["layer1"], net.layer1(images / 255 - 0.5).flatten(2).mean(2), rtol=1e-5, atol=1e-6
        )


def test_a_sequence_is_averaged_over_its_tokens_and_vectors_stay() -> None:
    net = ToyNet()
    sequence = torch.rand(2, 5, 7)
    assert torch.equal(net.pooled(sequence), sequence.mean(1))
    assert net.pooled(sequence[:, 0]).shape == (2, 7)


def test_the_tokens_of_texts_are_averaged_without_their_padding() -> None:
    net = ToyTextNet()
    sequence = torch.rand(2, 5, 7)
    inputs = {"tokens": torch.ones(2, 5, 1), "lengths": torch.tensor([5, 2])}
    expected = torch.stack([sequence[0].mean(0), sequence[1, :2].mean(0)])
    torch.testing.assert_close(net.pooled(sequence, inputs), expected)


def test_a_map_can_be_seen_as_it_is_beside_its_mean() -> None:
    net, images = ToyNet(), torch.rand(3, 3, 8, 8)
    model = model_of(net, "layer1")
    for _ in range(2):
        model.tap("layer1", pooled=False)  # as several adapters may
    with torch.inference_mode():
        seen = model.see(images)
    assert set(seen.layers) == {"backbone", "layer1", "map of layer1"}
    assert torch.equal(seen.map("layer1").mean((2, 3)), seen.layers["layer1"])
    assert torch.equal(seen.map("layer1"), net.layer1(images / 255 - 0.5))


def test_what_the_head_reads_is_no_map() -> None:
    with pytest.raises(UserError, match=r"no layer `features`(.|\n)*there are modules such as(.|\n)*layer1"):
        model_of(ToyNet(), "layer1").tap("features", pooled=False)


def test_a_backbone_may_know_which_of_several_tensors_is_meant() -> None:
    images = torch.rand(3, 3, 8, 8)
    assert torch.equal(model_of(OddNet("understood"), "odd").see(images).layers["odd"], images.mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("idle", "`odd` cannot be looked at: it does not run when features are computed"),
        ("tuple", "`odd` cannot be looked at: it gives a tuple, not a tensor"),
        ("six", r"(?s)`odd` cannot be looked at: it gives 6 dimensions .*expected are \[rows, channels\]"),
        ("rows", "`odd` cannot be looked at: it gives 9 rows for 3 examples"),
    ],
)
def test_a_layer_that_gives_no_vector_an_example_is_refused(kind: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        model_of(OddNet(kind), "odd").see(torch.rand(3, 3, 8, 8))
