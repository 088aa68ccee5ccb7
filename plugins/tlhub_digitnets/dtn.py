"""The component `dtn`."""

from __future__ import annotations

from torch import nn

from tlhub_digitnets.digitnet import DigitNet, Dropout, Shift, Size, block


class DTN(DigitNet):
    """Three strided convolutions and a linear layer, all with batch norm: the network usual for SVHN to MNIST.

    As in Hoffman et al. 2018, "CyCADA", and in TLlib.

    Args:
        grey: whether images are read in grey, else in colour.
        size: side of the images in pixels.
        dropout: share of the features and of the third convolution's channels dropped in training; a fifth of it is
            dropped after the first convolution, three fifths after the second, as in the published 0.1, 0.3 and 0.5.
        standardise: whether every image is brought to mean 0 and standard deviation 1; as published it is not.
        shift: pixels by which training images are moved at random; 0 as published.
        weights: a `.safetensors` file to start from, saved from this network with the same settings.
    """

    name = "dtn"

    def __init__(
        self,
        grey: bool = False,
        size: Size = 32,
        dropout: Dropout = 0.5,
        standardise: bool = False,
        shift: Shift = 0,
        weights: str | None = None,
    ) -> None:
        def convolution(inputs: int, outputs: int, dropped: float) -> nn.Sequential:
            return block(nn.Conv2d(inputs, outputs, 5, stride=2, padding=2), outputs, True, dropped)

        side = -(-size // 8)  # each of three convolutions halves it, rounding up
        blocks = {
            "conv1": convolution(1 if grey else 3, 64, dropout / 5),
            "conv2": convolution(64, 128, dropout * 3 / 5),
            "conv3": convolution(128, 256, dropout),
            "fc": nn.Sequential(nn.Flatten(), *block(nn.Linear(256 * side**2, 512), 512, True, dropout)),
        }
        super().__init__(blocks, 512, grey, size, standardise, shift, weights)
