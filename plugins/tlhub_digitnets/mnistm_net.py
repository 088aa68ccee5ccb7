"""The component `mnistm_net`."""

from __future__ import annotations

from torch import nn

from tlhub_digitnets.digitnet import DigitNet, Shift, Size, block


class MNISTMNet(DigitNet):
    """Two convolutions and two linear layers: the network for MNIST to MNIST-M of Ganin et al. 2016, "DANN", figure 4a.

    There the domain classifier reads the convolutions' output; here features are those of the last layer before the
    answer, and the output of the convolutions is the layer `blocks.conv2`.

    Args:
        grey: whether images are read in grey, else in colour.
        size: side of the images in pixels.
        batch_norm: whether every layer is followed by batch norm; the published network has none.
        standardise: whether every image is brought to mean 0 and standard deviation 1; as published it is not.
        shift: pixels by which training images are moved at random; 0 as published.
        weights: a `.safetensors` file to start from, saved from this network with the same settings.
    """

    name = "mnistm_net"

    def __init__(
        self,
        grey: bool = False,
        size: Size = 28,
        batch_norm: bool = False,
        standardise: bool = False,
        shift: Shift = 0,
        weights: str | None = None,
    ) -> None:
        side = ((size - 4) // 2 - 4) // 2  # each convolution takes 4 pixels, each pooling half of the rest
        blocks = {
            "conv1": block(nn.Conv2d(1 if grey else 3, 32, 5), 32, batch_norm, pool=True),
            "conv2": block(nn.Conv2d(32, 48, 5), 48, batch_norm, pool=True),
            "fc1": nn.Sequential(nn.Flatten(), *block(nn.Linear(48 * side**2, 100), 100, batch_norm)),
            "fc2": block(nn.Linear(100, 100), 100, batch_norm),
        }
        super().__init__(blocks, 100, grey, size, standardise, shift, weights)
