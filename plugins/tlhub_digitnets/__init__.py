"""The small networks of the domain-adaptation literature for digits."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_backbones() -> list[type]:
    from tlhub_digitnets.dtn import DTN
    from tlhub_digitnets.lenet import LeNet
    from tlhub_digitnets.mnistm_net import MNISTMNet

    return [LeNet, DTN, MNISTMNet]
