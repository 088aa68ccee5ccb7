"""How the strength of an alignment grows during training."""

from __future__ import annotations

import math
from typing import Literal

WarmUp = Literal["dann", "constant"]


def warm_up(kind: WarmUp, progress: float) -> float:
    """The share of the full strength at `progress` in [0, 1].

    `dann`: 2 / (1 + exp(-10 p)) - 1, from 0 towards 1 (Ganin et al. 2016, section 5.2.2, with its gamma of 10); the
    network first learns the task, while what it is aligned by is still noise. `constant`: 1.
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1 if kind == "dann" else 1.0
