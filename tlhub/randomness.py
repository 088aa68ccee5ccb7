"""Counter-based randomness: every draw is a function of the seed and of what it is for.

Order depends on (seed, domain, epoch), augmentation on (seed, domain, epoch, example), dropout on (seed, round,
step). So a checkpoint needs no generator state, a resumed run equals an uninterrupted one, and workers do not
change results.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

_MPS = torch.backends.mps.is_available()


def derive(*purpose: int | str) -> int:
    """A 63-bit seed for a purpose, such as `derive(seed, "order", domain, epoch)`."""
    digest = hashlib.blake2b("/".join(map(str, purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_all(*purpose: int | str) -> None:
    """Seed Python's, NumPy's and torch's global generators for a purpose."""
    seed = derive(*purpose)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    # torch.manual_seed looks for devices of every kind each time, which takes a hundred times as long
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    if _MPS:
        torch.mps.manual_seed(seed)


def permutation(size: int, *purpose: int | str) -> Tensor:
    """`[size]`: the numbers 0 … size-1 in an order that depends on the purpose alone."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(derive(*purpose)))


def uniform(count: int, *purpose: int | str) -> Tensor:
    """`[count]` numbers between 0 and 1 that depend on the purpose alone."""
    return torch.rand(count, generator=torch.Generator().manual_seed(derive(*purpose)))


@contextmanager
def preserved() -> Iterator[None]:
    """Leave the global generators as they were found."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
