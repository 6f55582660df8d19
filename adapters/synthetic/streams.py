"""Random numbers by purpose: each has a stream of its own, so that a longer span begins with the shorter one, and a symbol's
history does not depend on which others were asked for."""

from __future__ import annotations

import math
from zlib import crc32

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator of one purpose ("market", "BTCUSDT volume", ...): the same numbers for the same seed, in any process."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, crc32(purpose.encode())])))


def unit_t(generator: np.random.Generator, degrees: float, size: int) -> np.ndarray:
    """Student-t numbers with a variance of 1."""
    draws: np.ndarray = generator.standard_t(degrees, size)
    return draws * math.sqrt((degrees - 2) / degrees)
