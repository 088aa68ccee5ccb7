"""Alignment: features that look alike in both domains."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_alignment.dann import DANN
    from tlhub_alignment.mmd import MMD

    return [MMD, DANN]
