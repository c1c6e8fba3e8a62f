"""The reference sign: what a device must do, as a state machine without I/O, and a thin asyncio shell around it.

Sections in comments are those of docs/sign-protocol.md. Instants named ``mono`` are seconds of the sign's own monotonic
clock; it needs no other, the time of day comes from the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import orjson
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from busd.clock import Clock
from busd.signs.messages import PATH, SUBPROTOCOL, VERSION, CloseCode

CLOCK_SAMPLES = 8
MAX_STEP_BACK_S = 2.0
"""The shown time never goes back by more than this at once."""
MAX_BACKOFF_S = 60.0
RECONFIGURED_S = 900.0
"""After a close code 4400-4999: try again this often at most."""
RESUB_S = 1.0
"""A sign asks again for a board it lacks at most this often."""

_REQUIRED: dict[str, dict[str, type | tuple[type, ...]]] = {
    "welcome": {"hb": int, "grace": int, "ack": (int, float), "now": int, "lang": str},
    "subscribed": {"ok": list, "err": dict},
    "board": {"stop": str, "epoch": str, "rev": int, "now": int, "ttl": (int, float), "deps": list, "lines": list},
    "same": {"stop": str, "epoch": str, "rev": int, "now": int, "ttl": (int, float)},
}
"""What this sign reads; a message without it is ignored."""

_object = msgspec.json.Decoder(dict[str, Any])


class ServerClock:
    """The server's time by the sign's monotonic clock (§6): delay can only make a sample smaller, so the largest wins."""

    def __init__(self) -> None:
        self._samples: deque[float] = deque(maxlen=CLOCK_SAMPLES)
        self._offset: float | None = None

    def sample(self, now_ms: int, mono: float) -> None:
        self._samples.append(now_ms / 1000 - mono)
        offset = max(self._samples)
        if self._offset is not None:
            offset = max(offset, self._offset - MAX_STEP_BACK_S)
        self._offset = offset

    def now(self, mono: float) -> float | None:
        """Epoch seconds, None before the first message."""
        return None if self._offset is None else self._offset + mono


class HeldBoard:
    """A board on the glass, and until when it may be shown as live."""

    __slots__ = ("board", "valid_until")

    def __init__(self, board: dict[str, Any]) -> None:
        self.board = board
        self.valid_until = 0.0
        self.extend(board)

    @property
    def revision(self) -> tuple[str, int]:
        return self.board["epoch"], self.board["rev"]

    def extend(self, message: dict[str, Any]) -> None:
        self.valid_until = max(self.valid_until, message["now"] / 1000 + message["ttl"])


class ReferenceSign:
    """One sign with its stops. Call `connected`, `receive`, `tick`; send what `messages_to_send` gives.

    ``boards`` survives a lost connection: the next one resumes with ``have``.
    """

    def __init__(
        self,
        sign: str,
        stops: Iterable[str],
        langs: Iterable[str] = ("zh-Hans", "en"),
        token: str = "",
        max_deps: int = 8,
    ) -> None:
        self.sign = sign
        self.stops = list(stops)
        self.langs = list(langs)
        self.token = token
        self.max_deps = max_deps
        self.clock = ServerClock()
        self.boards: dict[str, HeldBoard] = {}
        self.welcome: dict[str, Any] | None = None
        self.bye: dict[str, Any] | None = None
        self.refused: dict[str, str] = {}
        """stop -> reason, from the last ``subscribed``"""
        self._out: list[bytes] = []
        self._sub_id = 0
        self._seq = 0
        self._hb_at = 0.0
        self._heard_at = 0.0
        self._resub_at = float("-inf")
        self._acked_at: dict[str, float] = {}

    # ---- connection --------------------------------------------------------------------------------------------------

    def connected(self, mono: float) -> None:
        """A new connection is open: start over, but keep what is on the glass."""
        self.welcome = self.bye = None
        self._out = []
        self._seq = 0
        self._heard_at = mono
        self._acked_at = {}
        self._say(
            type="hello",
            v=VERSION,
            sign=self.sign,
            token=self.token,
            lang=self.langs,
            fw="reference",
            mono=int(mono * 1000),
        )

    def messages_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def heard(self, mono: float) -> None:
        """A ping came: the server is there."""
        self._heard_at = mono

    def receive(self, data: bytes | str, mono: float) -> None:
        """One text message. Anything odd is ignored: a sign must go on showing what it has."""
        try:
            message = _object.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return
        self._heard_at = mono
        kind = message.get("type")
        if any(not isinstance(message.get(key), types) for key, types in _REQUIRED.get(str(kind), {}).items()):
            return
        if isinstance(message.get("now"), int):
            self.clock.sample(message["now"], mono)
        if kind == "board":
            self._on_board(message, mono)
        elif kind == "same":
            self._on_same(message, mono)
        elif kind == "welcome":
            self.welcome = message
            self._hb_at = mono + message["hb"]
            self._subscribe(have=True)
        elif kind == "subscribed":
            self.refused = dict(message["err"])
        elif kind == "bye":
            self.bye = message

    def _on_board(self, board: dict[str, Any], mono: float) -> None:
        stop = board["stop"]
        if stop not in self.stops:
            return
        held = self.boards.get(stop)
        if held is not None and board["epoch"] == held.revision[0] and board["rev"] <= held.revision[1]:
            if board["rev"] == held.revision[1]:
                held.extend(board)
            return
        self.boards[stop] = HeldBoard(board)
        self._rendered(stop, mono)

    def _on_same(self, same: dict[str, Any], mono: float) -> None:
        held = self.boards.get(same["stop"])
        if held is not None and held.revision == (same["epoch"], same["rev"]):
            held.extend(same)
        elif same["stop"] in self.stops and mono >= self._resub_at:
            self._resub_at = mono + RESUB_S
            self._subscribe(have=True, without=same["stop"])

    def _rendered(self, stop: str, mono: float) -> None:
        """Tell the server what is on the glass, at most every ``ack`` seconds."""
        if self.welcome is None or mono - self._acked_at.get(stop, -1e9) < self.welcome["ack"]:
            return
        self._acked_at[stop] = mono
        epoch, rev = self.boards[stop].revision
        self._say(type="ack", stop=stop, epoch=epoch, rev=rev, shown_at=int((self.clock.now(mono) or 0.0) * 1000))

    def _subscribe(self, have: bool, without: str | None = None) -> None:
        self._sub_id += 1
        known = {
            stop: {"epoch": held.revision[0], "rev": held.revision[1]}
            for stop, held in self.boards.items()
            if have and stop in self.stops and stop != without
        }
        self._say(type="sub", id=self._sub_id, stops=self.stops, have=known, max_deps=self.max_deps)

    def _say(self, **message: Any) -> None:
        self._out.append(orjson.dumps(message))

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, mono: float) -> bool:
        """The render loop went round. False: the server is gone, drop the connection."""
        if self.welcome is None:
            return mono - self._heard_at < 15.0
        if mono >= self._hb_at:
            self._seq += 1
            self._hb_at = mono + self.welcome["hb"]
            self._say(type="hb", seq=self._seq, mono=int(mono * 1000))
        return bool(mono - self._heard_at < 2 * self.welcome["hb"] + self.welcome["grace"])

    def shown(self, stop: str, mono: float) -> dict[str, Any] | None:
        """What the glass may show (§7): the board; without realtime once its ttl is over; None when nothing is known."""
        held, now = self.boards.get(stop), self.clock.now(mono)
        if held is None or now is None:
            return None
        if now <= held.valid_until:
            return held.board
        return as_timetable(held.board)

    def retry_after(self, code: int | None, failures: int, random01: float) -> float:
        """Seconds to wait before the next connection; ``random01`` in 0..1 is drawn by the caller."""
        bye = self.bye
        if bye is not None and bye.get("retry") is not None:
            return float(bye["retry"]) + random01 * float(bye.get("jitter") or 0)
        if code == CloseCode.REPLACED:
            return MAX_BACKOFF_S * (1 + random01)
        if code is not None and 4400 <= code <= 4999:
            return RECONFIGURED_S * (1 + random01)
        return random01 * min(MAX_BACKOFF_S, 2.0 ** min(failures, 16))


def as_timetable(board: dict[str, Any]) -> dict[str, Any]:
    """The board without anything that only a live server can know; marked ``schedule``."""
    deps = [
        {k: v for k, v in dep.items() if k in ("key", "line", "head", "sched", "first", "last", "wc")}
        | {"pred": None, "src": "schedule", "st": dep["st"] if dep.get("st") in ("cancelled", "skipped") else "ok"}
        for dep in board["deps"]
        if dep.get("sched") is not None
    ]
    deps.sort(key=lambda dep: dep["sched"])
    lines = [{k: v for k, v in line.items() if k not in ("passed", "headway")} for line in board["lines"]]
    return board | {"state": "schedule", "deps": deps, "lines": lines}


async def run_sign(
    url: str, sign: ReferenceSign, clock: Clock, render: Callable[[ReferenceSign], None], tick_s: float = 0.25
) -> None:
    """Keep ``sign`` connected to ``url`` (``ws://host:port`` + path) and call ``render`` on every turn until cancelled."""
    url = url if url.endswith(PATH) else url.rstrip("/") + PATH
    failures = 0
    while True:
        code: int | None = None
        sign.bye = None
        try:
            async with connect(
                url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, max_size=1 << 17, ping_interval=None
            ) as socket:
                sign.connected(clock.monotonic())
                alive = True
                while alive:
                    for message in sign.messages_to_send():
                        await socket.send(message, text=True)
                    with contextlib.suppress(TimeoutError):
                        sign.receive(await asyncio.wait_for(socket.recv(decode=False), tick_s), clock.monotonic())
                        failures = 0
                    alive = sign.tick(clock.monotonic())
                    render(sign)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd is not None else None
        except (OSError, InvalidHandshake, TimeoutError):
            pass
        render(sign)
        await asyncio.sleep(sign.retry_after(code, failures, random.random()))
        failures += 1
