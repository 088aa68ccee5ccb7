"""Scores that rank backbones for labelled examples before any training."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_scores() -> list[type]:
    from tlhub_scores.gbc import GBC
    from tlhub_scores.hscore import HScore
    from tlhub_scores.hscore_shrunk import HScoreShrunk
    from tlhub_scores.leep import LEEP
    from tlhub_scores.linear_probe import LinearProbe
    from tlhub_scores.logme import LogME
    from tlhub_scores.nce import NCE
    from tlhub_scores.transrate import TransRate

    return [GBC, HScore, HScoreShrunk, LEEP, LinearProbe, LogME, NCE, TransRate]
