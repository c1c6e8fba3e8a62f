"""How long a sign waits before it connects again (§6, §9)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from busd.signs.messages import CloseCode
from busd.signs.reference.boards import seconds

MAX_BACKOFF_S = 60.0
RECONFIGURED_S = 900.0
"""After a close code 4400-4999, and after a bye without ``retry``: try again this often at most."""


def retry_after(
    code: int | None, bye: Mapping[str, Any] | None, failures: int, random01: float, refuses: bool = False
) -> float:
    """Seconds: full jitter, what ``bye`` asks for, patience where somebody has to reconfigure the sign.

    ``code`` is the close code that was received, ``failures`` the number of attempts in a row that led to nothing,
    ``random01`` is drawn by the caller; ``refuses``: the sign itself cannot talk to this server.
    """
    told = bye or {}
    retry, jitter = seconds(told.get("retry")), seconds(told.get("jitter")) or 0.0
    if retry is not None:
        return retry + random01 * jitter
    if code == CloseCode.REPLACED:
        return MAX_BACKOFF_S * (1 + random01)
    if bye or refuses or (code is not None and 4400 <= code <= 4999):
        return RECONFIGURED_S * (1 + random01)
    return random01 * min(MAX_BACKOFF_S, 2.0 ** min(failures, 16))
