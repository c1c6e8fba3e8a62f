"""Random numbers that are functions: the same key gives the same number, whatever was asked before."""

from __future__ import annotations

import math
from functools import lru_cache

_MASK = (1 << 64) - 1


def mix(*keys: int) -> int:
    """64 well mixed bits of some whole numbers (splitmix64, Steele, Lea and Flood 2014)."""
    state = 0x9E3779B97F4A7C15
    for key in keys:
        state = (state ^ key) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def uniform(*keys: int) -> float:
    """[0, 1)"""
    return (mix(*keys) >> 11) * 2.0**-53


def gauss(*keys: int) -> float:
    """Standard normal (Box-Muller)."""
    bits = mix(*keys)
    return math.sqrt(-2.0 * math.log(((bits >> 32) + 1) * 2.0**-32)) * math.cos(
        math.tau * (bits & 0xFFFFFFFF) * 2.0**-32
    )


def text_key(text: str) -> int:
    """A number for a name that does not change from process to process (FNV-1a)."""
    value = 0xCBF29CE484222325
    for byte in text.encode():
        value = (value ^ byte) * 0x100000001B3 & _MASK
    return value


@lru_cache(maxsize=8192)
def _grid(key: int, step: int) -> float:
    return gauss(key, step)


def wander(key: int, t: float, period_s: float) -> float:
    """A smooth standard normal process in time: independent values every ``period_s``, blended in between."""
    step, w = divmod(t / period_s, 1.0)
    a, b = _grid(key, int(step)), _grid(key, int(step) + 1)
    return ((1.0 - w) * a + w * b) / math.sqrt((1.0 - w) ** 2 + w * w)
