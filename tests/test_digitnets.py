"""The small digit networks: their published shapes, what they read, and that they can be rebuilt."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from tlhub.errors import SettingError
from tlhub_digitnets.digitnet import DigitNet
from tlhub_digitnets.dtn import DTN
from tlhub_digitnets.lenet import LeNet
from tlhub_digitnets.mnistm_net import MNISTMNet

torch.set_num_threads(2)

EVERY = [LeNet(), LeNet(batch_norm=True, grey=False, size=32), DTN(), DTN(grey=True, size=28), MNISTMNet()]
NAMES = [f"{net.name}-{'norm' if net.settings.get('batch_norm') else 'plain'}-{net.settings['size']}" for net in EVERY]


def batch(net: DigitNet, count: int = 4) -> torch.Tensor:
    shape = (count, 1 if net.settings["grey"] else 3, net.settings["size"], net.settings["size"])
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def test_lenet_is_the_published_network() -> None:
    published = nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(20, 50, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Dropout(0.5),
    )
    assert_same(LeNet(), published, width=500)


def test_dtn_is_the_published_network() -> None:
    published = nn.Sequential(
        *(nn.Conv2d(3, 64, 5, 2, 2), nn.BatchNorm2d(64), nn.Dropout2d(0.1), nn.ReLU()),
        *(nn.Conv2d(64, 128, 5, 2, 2), nn.BatchNorm2d(128), nn.Dropout2d(0.3), nn.ReLU()),
        *(nn.Conv2d(128, 256, 5, 2, 2), nn.BatchNorm2d(256), nn.Dropout2d(0.5), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256 * 4 * 4, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Dropout(0.5)),
    )
    assert_same(DTN(), published, width=512)


def test_mnistm_net_is_the_published_network() -> None:
    published = nn.Sequential(
        *(nn.Conv2d(3, 32, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(32, 48, 5), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(48 * 4 * 4, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()),
    )
    assert_same(MNISTMNet(), published, width=100)


def assert_same(net: DigitNet, published: nn.Module, width: int) -> None:
    """The same features in training, dropout included, and in evaluation."""
    with torch.no_grad():
        for ours, theirs in zip(net.parameters(), published.parameters(), strict=True):
            theirs.copy_(ours)
    net = copy.deepcopy(net)
    images = batch(net)
    for mode in (True, False):
        torch.manual_seed(1)
        ours = net.train(mode)(images)
        torch.manual_seed(1)
        theirs = published.train(mode)((images / 255 - 0.5) / 0.5)
        assert ours.shape == (4, width)
        torch.testing.assert_close(ours, theirs)
    assert net.width == width


@pytest.mark.parametrize("net", EVERY, ids=NAMES)
def test_every_parameter_is_in_exactly_one_stage(net: DigitNet) -> None:
    staged = [name for stage in net.stages() for name in stage]
    assert staged == [name for name, _ in net.named_parameters()]
    assert len(net.stages()) >= 3


@pytest.mark.parametrize("net", EVERY, ids=NAMES)
def test_features_are_as_wide_as_said(net: DigitNet) -> None:
    assert net.eval()(batch(net)).shape == (4, net.width)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_an_image_of_any_mode_and_size_becomes_an_8_bit_tensor(mode: str) -> None:
    image = Image.new("RGB", (40, 20), "white").convert(mode)
    grey, colour = LeNet().preprocess(train=True)(image), DTN().preprocess(train=False)(image)
    assert (grey.shape, colour.shape) == ((1, 28, 28), (3, 32, 32))
    assert grey.dtype == colour.dtype == torch.uint8
    assert grey.min() == colour.min() == 255


def test_an_image_of_the_right_size_is_left_as_it_is() -> None:
    image = Image.effect_noise((28, 28), 80)
    assert LeNet().preprocess(train=False)(image).flatten().tolist() == list(image.tobytes())


def test_preprocessing_is_never_random_and_equal_where_it_does_the_same() -> None:
    preprocess = LeNet().preprocess(train=True)
    assert not preprocess.random
    assert preprocess == LeNet(batch_norm=True).preprocess(train=False) == pickle.loads(pickle.dumps(preprocess))
    assert len({preprocess, LeNet().preprocess(train=False), DTN().preprocess(train=True)}) == 2


def test_what_is_no_image_is_said_to_be_none() -> None:
    with pytest.raises(TypeError, match="expected an image, found str"):
        LeNet().preprocess(train=False)("seven")


def test_weights_are_read_from_a_file_and_a_rebuilt_network_does_not_need_it(tmp_path: Path) -> None:
    first = LeNet(batch_norm=True).eval()
    save_file(first.state_dict(), tmp_path / "lenet.safetensors")
    second = LeNet(batch_norm=True, weights=str(tmp_path / "lenet.safetensors")).eval()
    assert torch.equal(first(batch(first)), second(batch(first)))
    (tmp_path / "lenet.safetensors").unlink()
    rebuilt = LeNet(**second.rebuild())
    rebuilt.load_state_dict(second.state_dict())
    assert torch.equal(rebuilt.eval()(batch(first)), second(batch(first)))


def test_weights_that_do_not_fit_name_a_tensor(tmp_path: Path) -> None:
    save_file(LeNet(batch_norm=True).state_dict(), tmp_path / "lenet.safetensors")
    with pytest.raises(SettingError, match=r"does not fit `lenet`: .*blocks\.conv1"):
        LeNet(weights=str(tmp_path / "lenet.safetensors"))


def test_weights_that_are_not_there_or_not_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="there is no file"):
        LeNet(weights=str(tmp_path / "none.safetensors"))
    torch.save(LeNet().state_dict(), tmp_path / "lenet.pth")
    with pytest.raises(SettingError, match="cannot be read as safetensors"):
        LeNet(weights=str(tmp_path / "lenet.pth"))
