"""What this plugin offers. Classes are imported when they are asked for, so that starting `tlhub` stays quick."""

from tlhub import hookimpl


@hookimpl
def tlhub_backbones():
    from tlhub_moments.average_pool import AveragePool

    return [AveragePool]


@hookimpl
def tlhub_adapters():
    from tlhub_moments.moments import Moments

    return [Moments]


@hookimpl
def tlhub_datasets():
    from tlhub_moments.rings import Rings

    return [Rings]
