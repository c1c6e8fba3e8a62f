"""Time to glass of one sign: percentiles from a short list of counts, so that ten thousand signs cost a few megabytes.

Bucket k counts what took up to ``FIRST_S * RATIO ** k``: 50 ms to about 170 s, the last one everything above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

FIRST_S = 0.05
RATIO = 1.3
BUCKETS = 32
FULL = 2048
"""with so many samples all counts are halved: what is long ago counts less and less"""


def add_sample(counts: list[int], seconds: float) -> None:
    """``counts`` may be shorter than `BUCKETS`; it grows as far as it must."""
    place = 0 if seconds <= FIRST_S else math.ceil(math.log(seconds / FIRST_S) / math.log(RATIO) - 1e-9)
    place = min(place, BUCKETS - 1)
    counts.extend([0] * (place + 1 - len(counts)))
    counts[place] += 1
    if sum(counts) >= FULL:
        counts[:] = [count // 2 for count in counts]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Seconds that this share of the samples does not exceed (at most a factor `RATIO` above the true value); None
    without samples."""
    need, seen = share * sum(counts), 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= need:
            return FIRST_S * RATIO**place
    return None
