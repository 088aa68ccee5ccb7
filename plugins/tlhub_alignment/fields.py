"""Types of settings that several methods share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Layers = Annotated[list[str], Field(min_length=1)]
"""Names of layers, as `view.layer` knows them."""
