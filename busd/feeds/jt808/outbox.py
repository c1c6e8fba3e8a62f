"""What goes down to the terminal on one connection: answers and commands with consecutive serials."""

from __future__ import annotations

from struct import Struct

from busd.feeds.jt808.commands import Command
from busd.feeds.jt808.frame import Frame, encode_raw, escape, xor
from busd.feeds.jt808.message import MessageId
from busd.feeds.jt808.shared import Tally

_ANSWER = Struct(">HHHB")
_PLATFORM_ANSWER = int(MessageId.PLATFORM_ANSWER)


class Outbox:
    """``frames``: ready for the wire, in order; ``serial``: of the next one."""

    __slots__ = ("_layout", "_prefix", "_prefix_xor", "_tally", "frames", "serial")

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._layout: tuple[bytes, int, int] = (b"", -1, 0)
        self._prefix = b""
        self._prefix_xor = 0
        self.frames: list[bytes] = []
        self.serial = 0

    def answer(self, frame: Frame, result: int) -> None:
        """0x8001. What does not change from answer to answer is kept with its check byte."""
        layout = (frame.phone_raw, frame.protocol_version, frame.attributes & 0x4000)
        if layout != self._layout:
            self._layout = layout
            version = bytes((frame.protocol_version,)) if frame.is_2019 else b""
            self._prefix = (
                _PLATFORM_ANSWER.to_bytes(2, "big") + (5 | layout[2]).to_bytes(2, "big") + version + layout[0]
            )
            self._prefix_xor = xor(self._prefix)
        serial = self._next()
        words = serial ^ frame.serial ^ frame.message_id
        check = self._prefix_xor ^ (words >> 8) ^ (words & 0xFF) ^ result
        data = self._prefix + _ANSWER.pack(serial, frame.serial, frame.message_id, result) + bytes((check,))
        self.frames.append(b"~" + escape(data) + b"~")
        self._tally.replies[_PLATFORM_ANSWER] += 1

    def send(self, frame: Frame, message_id: int, body: bytes) -> None:
        """Another answer to ``frame``, in its layout."""
        self._put(message_id, (frame.phone_raw, frame.protocol_version, frame.attributes & 0x4000), body)

    def command(self, command: Command, phone_raw: bytes, protocol_version: int) -> int:
        """A message that answers nothing; its serial. ValueError for a command that cannot be encoded."""
        is_2019 = protocol_version >= 0
        body = command.encode(is_2019)
        return self._put(command.message_id, (phone_raw, protocol_version, 0x4000 if is_2019 else 0), body)

    def take(self) -> bytes:
        """Everything in one piece, once."""
        frames = self.frames
        if len(frames) == 1:
            return frames.pop()
        data = b"".join(frames)
        frames.clear()
        return data

    def _put(self, message_id: int, layout: tuple[bytes, int, int], body: bytes) -> int:
        phone_raw, protocol_version, flag = layout
        serial = self._next()
        self.frames.append(encode_raw(message_id, len(body) | flag, protocol_version, phone_raw, serial, body))
        self._tally.replies[message_id] += 1
        return serial

    def _next(self) -> int:
        serial, self.serial = self.serial, (self.serial + 1) & 0xFFFF
        return serial
