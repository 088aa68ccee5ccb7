"""The component `lenet`."""

from __future__ import annotations

from torch import nn

from tlhub_digitnets.digitnet import DigitNet, Dropout, Shift, Size, block


class LeNet(DigitNet):
    """Two convolutions and a wide linear layer: the LeNet of the domain-adaptation literature, for MNIST and USPS.

    As in Long et al. 2018, "Conditional adversarial domain adaptation", and in TLlib; it grew from LeCun et al. 1998.

    Args:
        grey: whether images are read in grey, else in colour.
        size: side of the images in pixels.
        batch_norm: whether every layer is followed by batch norm; the published network has none.
        dropout: share of the second convolution's channels, and of the features, dropped in training.
        fc: whether the wide linear layer is part of the network; without it, features are those of the convolutions,
            and `head_swap` can put the layer, as a bottleneck, after what an adapter aligns.
        standardise: whether every image is brought to mean 0 and standard deviation 1; as published it is not.
        shift: pixels by which training images are moved at random; 0 as published.
        weights: a `.safetensors` file to start from, saved from this network with the same settings.
    """

    name = "lenet"

    def __init__(
        self,
        grey: bool = True,
        size: Size = 28,
        batch_norm: bool = False,
        dropout: Dropout = 0.5,
        fc: bool = True,
        standardise: bool = False,
        shift: Shift = 0,
        weights: str | None = None,
    ) -> None:
        side = ((size - 4) // 2 - 4) // 2  # each convolution takes 4 pixels, each pooling half of the rest
        blocks = {
            "conv1": block(nn.Conv2d(1 if grey else 3, 20, 5), 20, batch_norm, pool=True),
            "conv2": block(nn.Conv2d(20, 50, 5), 50, batch_norm, dropout, pool=True),
        }
        width = 50 * side**2
        if fc:
            blocks["fc"] = nn.Sequential(nn.Flatten(), *block(nn.Linear(width, 500), 500, batch_norm, dropout))
        else:
            blocks["flat"] = nn.Sequential(nn.Flatten())
        super().__init__(blocks, 500 if fc else width, grey, size, standardise, shift, weights)
