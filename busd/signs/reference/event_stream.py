"""Server-sent events (the HTML standard, 9.2) as bytes in, events out: the SSE door of §8.1 on the sign's side."""

from __future__ import annotations

from typing import NamedTuple

MAX_BYTES = 256 * 1024
"""A server message is at most 64 KiB; a stream that keeps more than this open is not ours."""


class StreamEvent(NamedTuple):
    kind: str
    data: str
    id: str


class StreamTooLong(ValueError):
    """An event that never ends."""


class EventStream:
    """Cutting the bytes differently never changes the events. Comments and unfinished events give nothing."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._kind, self._data, self._id = "", list[str](), ""
        self._size = 0

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Raises `StreamTooLong`."""
        if self._after_cr and data:  # a CR LF pair that was cut in two
            data = data.removeprefix(b"\n")
            self._after_cr = False
        buffer = self._rest + data
        self._after_cr = buffer.endswith(b"\r")
        lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop()
        events = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) + self._size > MAX_BYTES:
            raise StreamTooLong(f"more than {MAX_BYTES} bytes in one event")
        return events

    def _line(self, line: bytes) -> StreamEvent | None:
        if not line:
            event = StreamEvent(self._kind or "message", "\n".join(self._data), self._id) if self._data else None
            self._kind, self._data, self._size = "", [], 0
            return event
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        self._size += len(line)
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._kind = value
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
