"""Contracts that a plugin's components must hold: subclass one, name the component, and pytest runs the rest.

    from tlhub.testing import AdapterContract

    class TestMeanGap(AdapterContract):
        component = MeanGap

A component whose settings have no default gives them in `settings`.
"""

from tlhub.testing.contracts import (
    AdapterContract,
    BackboneContract,
    DatasetContract,
    HeadContract,
    SymptomContract,
    TransferScoreContract,
    ValidatorContract,
)
from tlhub.testing.toys import Toys, toy_catalog, toy_manifest

__all__ = [
    "AdapterContract",
    "BackboneContract",
    "DatasetContract",
    "HeadContract",
    "SymptomContract",
    "Toys",
    "TransferScoreContract",
    "ValidatorContract",
    "toy_catalog",
    "toy_manifest",
]
