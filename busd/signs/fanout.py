"""The short way of a new board to its audience: one loop, one write each, nothing made per sign.

A city's boards go to ten thousand sockets several times a second, and the kernel takes 4 to 8 us of every write; all that
Python does between two writes must stay small beside that. So signs to which nothing special applies (one stop, nothing
owed, pace kept, socket free, uncompressed) get their frame right here, with exactly what `Slot.take` would have done; from
then on they are a cohort, whose state is kept once. Everybody else takes the long way, which also joins several boards in
one write.
"""

from __future__ import annotations

from busd.signs.audience import Audience
from busd.signs.hub import SignHub
from busd.signs.slot import REFRESH_PER_TTL, Owed


def fan_out(audience: Audience, hub: SignHub, now_ms: int) -> None:
    """Hand the new board of a stop to everybody who watches it. What was queued before must have been written."""
    board = audience.board
    if board is None or board is not hub.bus.latest(audience.stop_id):
        return audience.spread()
    mono = hub.clock.monotonic()
    refresh_at = mono + board.ttl_s / REFRESH_PER_TTL / hub.speed
    singles = tuple(audience.singles)
    for cohort in tuple(audience.cohorts.values()):
        if mono < cohort.free_at:
            for slot in tuple(cohort.members):
                slot.board_changed()
            continue
        frame = audience.frame(cohort.key[0], now_ms)
        cohort.got(board, mono, refresh_at, len(frame))  # first: whose socket is full leaves during its write
        writes = tuple(cohort.members.values())
        for write in writes:
            write(frame)
        cohort.free_at = hub.clock.monotonic() + cohort.key[1]  # the pace counts from the last of them [30]
        hub.boards_sent += len(writes)
        hub.bytes_sent += len(writes) * len(frame)
    nothing = Owed.NOTHING
    for slot in singles:
        own = slot.write_now
        if own is None or slot.owed is not nothing or mono < slot.free_at:
            slot.board_changed()
            continue
        frame = audience.frame(slot.variant, now_ms)
        slot.sent = board
        slot.free_at = hub.clock.monotonic() + slot.min_interval
        slot.refresh_at = refresh_at
        slot.bytes_out += len(frame)
        own(frame)
        hub.boards_sent += 1
        hub.bytes_sent += len(frame)
        if slot.write_now is not None:
            slot.join()
    return None
