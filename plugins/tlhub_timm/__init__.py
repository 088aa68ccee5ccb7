"""Any image network of the timm library as a backbone."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_backbones() -> list[type]:
    from tlhub_timm.backbone import TimmBackbone

    return [TimmBackbone]
