"""Self-training: a model that learns from its own answers on the target."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_selftrain.entropy_minimization import EntropyMinimization
    from tlhub_selftrain.fixmatch import FixMatch
    from tlhub_selftrain.mean_teacher import MeanTeacher
    from tlhub_selftrain.pseudo_label import PseudoLabel

    return [PseudoLabel, EntropyMinimization, FixMatch, MeanTeacher]
