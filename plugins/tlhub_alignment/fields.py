"""Types of settings that several methods share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Layers = Annotated[list[str], Field(min_length=1)]
"""Names of the layers that are compared, as `view.layer` knows them."""
Kernels = Annotated[int, Field(gt=0, le=20)]
Estimator = Literal["biased", "unbiased"]
Depth = Annotated[int, Field(ge=0)]
"""Number of hidden layers."""
Dropout = Annotated[float, Field(ge=0, lt=1)]
