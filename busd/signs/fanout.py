"""The short way of a new board to its audience: one loop, one write each, nothing made per sign.

A city's boards go to ten thousand sockets several times a second, and the kernel takes 6 to 8 us of every write; all that
Python does between two writes must stay small beside that. So signs to which nothing special applies (one stop, nothing
owed, pace kept, socket free, uncompressed) get their frame right here, with exactly what `Slot.take` would have done.
Everybody else takes the long way, which also joins several boards in one write.
"""

from __future__ import annotations

from busd.signs.audience import Audience
from busd.signs.frames import Variant
from busd.signs.hub import SignHub
from busd.signs.slot import REFRESH_PER_TTL, Owed


def fan_out(audience: Audience, hub: SignHub, mono: float, now_ms: int) -> None:
    """Hand the new board of a stop to everybody who watches it. What was queued before must have been written."""
    board = audience.board
    if board is None or board is not hub.bus.latest(audience.stop_id):
        return audience.spread()
    refresh_at = mono + board.ttl_s / REFRESH_PER_TTL / hub.speed
    nothing = Owed.NOTHING
    variant, frame, size = None, b"", 0
    frames: dict[Variant, bytes] = {}
    count = written = 0
    for slot in tuple(audience.slots):
        write = slot.write_now
        if write is None or slot.owed is not nothing or mono < slot.free_at:
            slot.board_changed()
            continue
        if slot.variant is not variant:  # signs that came together want the same
            variant = slot.variant
            known = frames.get(variant)
            if known is None:
                encoded = audience.encoded(variant, now_ms)
                assert encoded is not None  # the bus has just shown its board
                known = frames[variant] = encoded.frame
            frame, size = known, len(known)
        write(frame)
        slot.sent = board
        slot.free_at = mono + slot.min_interval
        slot.refresh_at = refresh_at
        slot.bytes_out += size
        written += size
        count += 1
    hub.boards_sent += count
    hub.bytes_sent += written
    return None
