"""The other side of the fan-out bench: a process that is many signs, told by lines of JSON what to do.

``open`` connects signs (all at once, as after a restart), ``read`` reads until so many more bytes have come and tells when
they came, ``stall`` stops reading one sign, ``close`` drops them all.
"""

from __future__ import annotations

import asyncio
import json
import resource
import select
import socket
import sys
from collections.abc import Iterator
from typing import Any

from busd.clock import SystemClock
from busd.signs.messages import PATH, SUBPROTOCOL

OPENING_AT_ONCE = 1000
ADDRESSES = 8
"""Signs come from 127.0.0.1 to 127.0.0.8, so that there are ports enough."""
WAIT_S = 120.0
monotonic = SystemClock().monotonic
"""the same in both processes"""


def allow_files(count: int) -> None:
    """Room for ``count`` sockets in this process. RuntimeError if the machine gives none."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 100:
        if hard < count + 100:
            raise RuntimeError(f"{count} connections need {count + 100} file descriptors, the limit is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Crowd:
    """The parent's handle of the process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> Crowd:
        pipe = asyncio.subprocess.PIPE
        return cls(
            await asyncio.create_subprocess_exec(sys.executable, "-m", "busd.bench.crowd", stdin=pipe, stdout=pipe)
        )

    async def ask(self, do: str, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
        async with asyncio.timeout(WAIT_S):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the crowd of signs has gone")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


# ---- the process itself ------------------------------------------------------------------------------------------------


def _masked(message: dict[str, Any]) -> bytes:
    payload = json.dumps(message, separators=(",", ":")).encode()
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < 126 else bytes([0x81, 0xFE]) + size.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload  # masked with zeros


class _Signs:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._sockets: list[socket.socket] = []
        self._buffer = bytearray(1 << 16)

    def open(self, port: int, signs: int, stops: list[str], deflate: bool = False) -> dict[str, Any]:
        """Connect, say hello and sub, wait for all boards. Answers how long it took, s, and the revisions seen."""
        allow_files(len(self._sockets) + signs)
        extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n" if deflate else ""
        request = (
            f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n{extension}\r\n"
        ).encode()
        sub = _masked({"type": "sub", "id": 1, "stops": stops})
        first = len(self._sockets)
        began, revisions = monotonic(), set[int]()
        poll, answers, waiting = select.epoll(), dict[int, bytes](), dict[int, socket.socket]()
        numbers = iter(range(first, first + signs))

        def connect(number: int) -> None:
            sock = socket.socket()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT: the kernel picks by both ends
            sock.bind((f"127.0.0.{1 + number % ADDRESSES}", 0))
            sock.connect_ex(("127.0.0.1", port))
            waiting[sock.fileno()] = sock
            answers[sock.fileno()] = b""
            poll.register(sock.fileno(), select.EPOLLOUT)

        def hello(number: int) -> bytes:
            return _masked({"type": "hello", "v": 1, "sign": f"bench-{number}", "token": "", "lang": ["en"]})

        number_of: dict[int, int] = {}

        def more() -> Iterator[None]:
            while len(waiting) < OPENING_AT_ONCE:
                number = next(numbers, None)
                if number is None:
                    return
                connect(number)
                number_of[next(reversed(waiting))] = number
                yield

        list(more())
        while waiting:
            for file, event in poll.poll():
                sock = waiting[file]
                if event & select.EPOLLOUT and not answers[file]:
                    sock.send(request + hello(number_of[file]) + sub)
                    poll.modify(file, select.EPOLLIN)
                    continue
                answers[file] += sock.recv(65536)
                found = _boards(answers[file])
                if len(found) >= len(stops):
                    revisions.update(found)
                    poll.unregister(file)
                    del answers[file]
                    self._sockets.append(waiting.pop(file))
                    self._poll.register(file, select.EPOLLIN)
            list(more())
        return {"seconds": monotonic() - began, "revisions": sorted(revisions)}

    def read(self, bytes_: int) -> dict[str, Any]:
        """Read ``bytes_`` more. Answers when half and when 99 % of the reads were done, on the common monotonic clock."""
        by_file = {sock.fileno(): sock for sock in self._sockets}
        times: list[float] = []
        while bytes_ > 0:
            for file, _ in self._poll.poll():
                bytes_ -= by_file[file].recv_into(self._buffer)
                times.append(monotonic())
        return {
            "p50_at": times[len(times) // 2] if times else 0.0,
            "p99_at": times[int(len(times) * 0.99)] if times else 0.0,
            "too_many": -bytes_,
        }

    def stall(self, sign: int) -> dict[str, Any]:
        """Do not read this sign any more."""
        sock = self._sockets[sign]
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._poll.unregister(sock.fileno())
        return {}

    def close(self) -> dict[str, Any]:
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        self._poll = select.epoll()
        return {}


def _boards(answer: bytes) -> list[int]:
    """Revisions of the boards in a stream; a compressed one counts as 0."""
    at = answer.find(b"\r\n\r\n") + 4
    found: list[int] = []
    while at > 3 and at + 4 <= len(answer):
        first, size, start = answer[at], answer[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(answer[at + 2 : at + 4], "big"), at + 4
        payload = answer[start : start + size]
        if len(payload) < size:
            break
        if first == 0xC1:
            found.append(0)
        elif b'"type":"board"' in payload:
            found.append(int(json.loads(payload)["rev"]))
        at = start + size
    return found


def _serve() -> None:
    signs = _Signs()
    for line in sys.stdin.buffer:
        what = json.loads(line)
        answer = getattr(signs, what.pop("do"))(**what)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
