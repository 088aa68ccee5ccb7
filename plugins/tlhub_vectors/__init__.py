"""Vectors as they are: features that were computed elsewhere."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_backbones() -> list[type]:
    from tlhub_vectors.vectors import Vectors

    return [Vectors]
