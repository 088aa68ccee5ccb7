"""Alignment: features that look alike in both domains."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_adapters() -> list[type]:
    from tlhub_alignment.afn import AFN
    from tlhub_alignment.bsp import BSP
    from tlhub_alignment.cdan import CDAN
    from tlhub_alignment.coral import Coral
    from tlhub_alignment.dann import DANN
    from tlhub_alignment.jan import JAN
    from tlhub_alignment.mcc import MCC
    from tlhub_alignment.mcd import MCD
    from tlhub_alignment.mmd import MMD
    from tlhub_alignment.wasserstein import Wasserstein

    return [MMD, JAN, Coral, DANN, CDAN, Wasserstein, MCD, MCC, AFN, BSP]
