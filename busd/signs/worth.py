"""Which difference between two boards a rider would miss at once, and which can wait for the next refresher.

Only for signs that ask for few boards (`ECONOMY_S`), whose owners pay by the byte. A message costs them about as much
as what is in it, so the number of boards decides the bill. Something must be sent every ttl/3 anyway: a board whose
news can wait goes out then, in the place of the ``same``, and is never late by more than that.
"""

from __future__ import annotations

from typing import Any

from busd.types import Basis, Board, Departure, StopStatus

ECONOMY_S = 5.0
"""``min_interval`` from which on a sign counts as economical"""
NEAR_S = 300.0
"""A bus that turns up or vanishes within this time is news."""
DUE_S = 60.0
"""A bus that was due has come: the sign says "due" for it and takes it off by itself. It is news that a bus left earlier,
not that it stands at the stop, where everybody sees it."""
SOON_S = 900.0
"""Predictions farther ahead than this may wait: who reads 20 instead of 22 minutes has not missed anything yet."""
MOVED_S = 10.0
MOVED_SHARE = 0.2
"""A prediction has moved if it did by both: 10 s, and this share of the time that is left."""

_DROPPED = (StopStatus.CANCELLED, StopStatus.SKIPPED)


class Worth:
    """`is_urgent` with a memory of one: the signs of one stop ask the same question one after the other."""

    __slots__ = ("_answer", "_newest", "_sent")

    def __init__(self) -> None:
        self._sent: Board | None = None
        self._newest: Board | None = None
        self._answer = True

    def __call__(self, sent: Board, newest: Board) -> bool:
        if sent is not self._sent or newest is not self._newest:
            self._sent, self._newest = sent, newest
            self._answer = is_urgent(sent, newest)
        return self._answer


def is_urgent(sent: Board, newest: Board) -> bool:
    """Whether a sign that shows ``sent`` should have ``newest`` now."""
    if (sent.state, sent.messages) != (newest.state, newest.messages) or _troubled(sent) != _troubled(newest):
        return True
    at = newest.at
    now: dict[Any, Departure] = {_key(dep): dep for dep in newest.departures}
    for old in sent.departures:
        new = now.pop(_key(old), None)
        if new is None:
            if DUE_S < _effective(old) - at < NEAR_S:
                return True
        elif _has_news(old, new, at):
            return True
    return any(_effective(dep) < at + NEAR_S for dep in now.values())


def _troubled(board: Board) -> set[tuple[int, int, str]]:
    return {(x.route_idx, x.headsign_idx, x.status) for x in board.lines if x.status in ("suspended", "diverted")}


def _key(dep: Departure) -> tuple[Any, ...]:
    return dep.trip, dep.stop_pos


def _effective(dep: Departure) -> float:
    at = dep.pred_at if dep.pred_at is not None else dep.sched_at
    return at if at is not None else float("inf")


def _has_news(old: Departure, new: Departure, at: float) -> bool:
    left = _effective(new) - at
    if (old.status in _DROPPED) != (new.status in _DROPPED):
        return True
    if _is_live(old) != _is_live(new):
        return left < 2 * NEAR_S
    if old.pred_at is None or new.pred_at is None or left > SOON_S:
        return False
    return abs(old.pred_at - new.pred_at) >= max(MOVED_S, MOVED_SHARE * left)


def _is_live(dep: Departure) -> bool:
    return dep.basis is not Basis.SCHEDULE and dep.pred_at is not None
