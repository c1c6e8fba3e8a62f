"""Sub-packets -> messages, with a limit on everything a peer could make us keep."""

from __future__ import annotations

from busd.feeds.jt808.frame import Frame

MAX_PACKETS = 64
"""of one message: 64 kB, a blind-zone batch of a thousand fixes"""
MAX_MESSAGES = 4
"""begun and not complete on one connection; the oldest gives way"""
MAX_AGE_S = 120.0
"""from the first packet of a message to its last"""

_Key = tuple[bytes, int, int, int]


class Assembler:
    """The messages of one connection that have begun. A packet that comes twice counts once."""

    __slots__ = ("_begun", "dropped")

    def __init__(self) -> None:
        self._begun: dict[_Key, tuple[float, dict[int, bytes]]] = {}
        self.dropped = 0
        """messages given up so far"""

    def add(self, frame: Frame, at: float) -> bytes | None:
        """The whole body once its last packet is here, else None. ValueError for a packet that cannot belong to any.

        Packets of a message have consecutive serials, so serial - (number - 1) names it."""
        if not 1 <= frame.number <= frame.total <= MAX_PACKETS:
            raise ValueError(f"packet {frame.number} of {frame.total}")
        self._expire(at)
        key = (frame.phone_raw, frame.message_id, (frame.serial - frame.number + 1) & 0xFFFF, frame.total)
        if key not in self._begun:
            while len(self._begun) >= MAX_MESSAGES:
                self._drop_oldest()
            self._begun[key] = (at, {})
        parts = self._begun[key][1]
        parts[frame.number] = frame.body
        if len(parts) < frame.total:
            return None
        del self._begun[key]
        return b"".join(parts[number] for number in range(1, frame.total + 1))

    def missing(self, frame: Frame) -> tuple[int, tuple[int, ...]] | None:
        """(serial of the first packet, numbers that have not come) of the begun message that ``frame`` is of."""
        first = (frame.serial - frame.number + 1) & 0xFFFF
        begun = self._begun.get((frame.phone_raw, frame.message_id, first, frame.total))
        if begun is None:
            return None
        return first, tuple(number for number in range(1, frame.total + 1) if number not in begun[1])

    def _expire(self, at: float) -> None:
        while self._begun and at - next(iter(self._begun.values()))[0] > MAX_AGE_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        del self._begun[next(iter(self._begun))]
        self.dropped += 1
