"""How the strength of self-training grows: a model that knows little yet has little to teach."""

from __future__ import annotations

import math


def linear(progress: float, begin: float, full: float) -> float:
    """The share of the full strength at `progress`: 0 before `begin`, 1 from `full` on (Lee 2013, eq. 16)."""
    if progress >= full:
        return 1.0
    return max(0.0, (progress - begin) / (full - begin)) if full > begin else 0.0


def sigmoid_shaped(progress: float, full: float) -> float:
    """The share of the full strength: exp(-5 (1 - x)^2), where x goes from 0 to 1 until `full` (Laine & Aila 2017)."""
    return math.exp(-5 * (1 - progress / full) ** 2) if progress < full else 1.0
