"""The component `lenet`."""

from __future__ import annotations

from torch import nn

from tlhub_digitnets.digitnet import DigitNet, Dropout, Size, block


class LeNet(DigitNet):
    """Two convolutions and a wide linear layer: the LeNet of the domain-adaptation literature, for MNIST and USPS.

    As in Long et al. 2018, "Conditional adversarial domain adaptation", and in TLlib; it grew from LeCun et al. 1998.

    Args:
        grey: whether images are read in grey, else in colour.
        size: side of the images in pixels.
        batch_norm: whether every layer is followed by batch norm; the published network has none.
        dropout: share of the second convolution's channels, and of the features, dropped in training.
        weights: a `.safetensors` file to start from, saved from this network with the same settings.
    """

    name = "lenet"

    def __init__(
        self,
        grey: bool = True,
        size: Size = 28,
        batch_norm: bool = False,
        dropout: Dropout = 0.5,
        weights: str | None = None,
    ) -> None:
        side = ((size - 4) // 2 - 4) // 2  # each convolution takes 4 pixels, each pooling half of the rest
        blocks = {
            "conv1": block(nn.Conv2d(1 if grey else 3, 20, 5), 20, batch_norm, pool=True),
            "conv2": block(nn.Conv2d(20, 50, 5), 50, batch_norm, dropout, pool=True),
            "fc": nn.Sequential(nn.Flatten(), *block(nn.Linear(50 * side**2, 500), 500, batch_norm, dropout)),
        }
        super().__init__(blocks, 500, grey, size, weights)
