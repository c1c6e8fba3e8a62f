"""The reference sign: what a device must do, as a state machine without I/O.

Messages, instants and dice come in, messages to send and what the glass may show come out. Sections in comments are
those of docs/sign-protocol.md. Instants named ``mono`` are seconds of the sign's own monotonic clock; it needs no other,
the time of day comes from the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec
import orjson

from busd.signs.messages import VERSION
from busd.signs.reference.acks import AckBook
from busd.signs.reference.boards import (
    Glass,
    HeldBoard,
    Json,
    Source,
    as_timetable,
    at_instant,
    bare_board,
    is_revision,
    read_board,
    seconds,
)
from busd.signs.reference.care import (
    MAX_ID,
    PARAMS,
    TELE_S,
    DoneList,
    Hardware,
    Meter,
    NoHardware,
    change_params,
    telemetry_message,
)
from busd.signs.reference.clock import ServerClock
from busd.signs.reference.pack import OfflinePack, is_zone
from busd.signs.reference.patience import retry_after

FIRMWARE = "busd-reference"
WELCOME_S = 15.0
"""The server answers a hello within 5 s [5]; three times that is silence."""
RESUB_S = 1.0
"""A sign asks again for a board it lacks at most this often."""
EXPIRED_RESUB_S = 60.0
"""The same for a stop that went silent while others did not."""
OFFLINE_S = 900.0
"""until a server says otherwise"""
PACK_RETRY_S = 600.0

_object = msgspec.json.Decoder(dict[str, Any])


class Door(Enum):
    """How the server is reached; hello, heartbeats and acknowledgements exist on the WebSocket only."""

    WEBSOCKET = "websocket"
    SSE = "sse"
    POLLING = "polling"


class ReferenceSign:
    """One sign with its stops.

    The rim calls `connected`, `receive`, `heard` and `disconnected` as the connection goes, the render loop `tick` and
    then `drawn` for what it put on the glass; both send what `messages_to_send` gives. What is on the glass survives a
    lost connection: the next one resumes with ``have``.
    """

    def __init__(
        self,
        sign: str,
        stops: Iterable[str],
        langs: Iterable[str] = ("zh-Hans", "en"),
        token: str = "",
        max_deps: int = 8,
        min_interval: float = 1.0,
        hysteresis: float = 10.0,
        tele_s: float = TELE_S,
        hardware: Hardware | None = None,
        panel: tuple[str, int, int] | None = None,
    ) -> None:
        """``panel``: (kind, rows, columns) as told in ``hello``; durations in seconds."""
        self.sign = sign
        self.stops = list(stops)
        self.langs = list(langs)
        self.token = token
        self.max_deps = max_deps
        self.min_interval, self.hysteresis = min_interval, hysteresis
        self.tele_s = max(TELE_S, tele_s)
        self.hardware: Hardware = hardware or NoHardware()
        self.panel = panel
        self.clock = ServerClock()
        self.boards: dict[str, HeldBoard] = {}
        self.packs: dict[str, OfflinePack] = {}
        self.meter = Meter()
        self.done = DoneList()
        self.offline_s = OFFLINE_S
        self.zone: str | None = None
        """as the last ``welcome`` said; outlives the connection, like what is on the glass"""
        self.door: Door | None = None
        self.welcome: Json | None = None
        self.bye: Json | None = None
        self.refused: dict[str, str] = {}
        """stop -> reason, from the last ``subscribed``"""
        self.ignored = 0
        """messages that could not be used"""
        self.failures = 0
        """connections in a row that never came to a welcome or a board"""
        self.must_drop = False
        """the server speaks another language than this sign: end the connection, wait for reconfiguration"""
        self._out: list[bytes] = []
        self._sub_id = self._seq = 0
        self._hb_at = self._heard_at = 0.0
        self._resub_at: dict[str, float] = {}
        self._acks = AckBook()
        self.patience = retry_after
        self._tele_at = float("-inf")
        self._pack_failed: dict[str, tuple[str, float]] = {}

    # ---- connection --------------------------------------------------------------------------------------------------

    def connected(self, mono: float, door: Door = Door.WEBSOCKET) -> None:
        """A new connection is open: start over, but keep what is on the glass."""
        self.door = door
        self.welcome = self.bye = None
        self.must_drop = False
        self._out = []
        self._seq = 0
        self._heard_at = mono
        if door is not Door.WEBSOCKET:
            return
        kind, rows, cols = self.panel or (None, None, None)
        now = self.clock.now(mono)
        hello = {
            "v": VERSION,
            "sign": self.sign,
            "token": self.token or None,
            "lang": self.langs,
            "fw": FIRMWARE,
            "hw": kind,
            "rows": rows,
            "cols": cols,
            "caps": ["cmd", "deflate"],
            "mono": int(mono * 1000),
            "t": None if now is None else int(now * 1000),
        }
        self._say("hello", **{key: value for key, value in hello.items() if value is not None})

    def messages_to_send(self) -> list[bytes]:
        out, self._out = self._out, []
        return out

    def heard(self, mono: float) -> None:
        """A ping came: the server is there."""
        self._heard_at = mono

    def disconnected(self, code: int | None, random01: float) -> float:
        """The connection is over or could not be made. Seconds to wait before the next one.

        ``code`` is the close code that was received, None for none; ``random01`` in 0..1 is drawn by the caller.
        """
        self.door = self.welcome = None
        self._out = []
        wait = self.patience(code, self.bye, self.failures, random01, self.must_drop)
        self.failures += 1
        return wait

    # ---- messages ----------------------------------------------------------------------------------------------------

    def receive(self, data: bytes | str, mono: float) -> None:
        """One text message. Anything odd is ignored: a sign must go on showing what it has."""
        self._heard_at = mono
        try:
            message = _object.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self.ignored += 1
            return
        handler = {
            "board": self._on_board,
            "same": self._on_same,
            "welcome": self._on_welcome,
            "subscribed": self._on_subscribed,
            "bye": self._on_bye,
            "hb": self._on_hb,
            "cmd": self._on_cmd,
        }.get(str(message.get("type")))
        if handler is not None and not handler(message, mono):
            self.ignored += 1

    def _on_welcome(self, message: Json, mono: float) -> bool:
        durations = [seconds(message.get(key)) for key in ("hb", "grace", "ack", "offline")]
        if self.door is not Door.WEBSOCKET or None in durations or not _is_ms(message.get("now")):
            return False
        if message.get("v") != VERSION:
            self.must_drop = True
            return False
        self.welcome = message | {"hb": max(1.0, durations[0] or 0.0)}
        self.offline_s = durations[3] or 0.0
        if isinstance(zone := message.get("tz"), str) and is_zone(zone):
            self.zone = zone
        self.failures = 0
        self.clock.sample(message["now"], mono)
        self._hb_at = mono + self.welcome["hb"]
        self._subscribe()
        return True

    def _on_subscribed(self, message: Json, mono: float) -> bool:
        refused = message.get("err")
        if message.get("id") != self._sub_id or not isinstance(refused, dict):
            return False  # the answer to an older wish
        self.refused = {stop: str(reason) for stop, reason in refused.items() if stop in self.stops}
        return True

    def _on_board(self, message: Json, mono: float) -> bool:
        board = read_board(message)
        if board is None or board["stop"] not in self.stops:
            return False
        stop = board["stop"]
        self.failures = 0
        self.clock.sample(board["now"], mono)
        held = self.boards.get(stop)
        if held is None or held.revision[0] != board["epoch"] or held.revision[1] < board["rev"]:
            self.boards[stop] = HeldBoard(board, mono)
        elif held.revision[1] == board["rev"]:
            held.extend(board, mono)
        return True

    def _on_same(self, message: Json, mono: float) -> bool:
        if not is_revision(message) or message["stop"] not in self.stops:
            return False
        self.failures = 0
        self.clock.sample(message["now"], mono)
        held = self.boards.get(message["stop"])
        if held is not None and held.revision == (message["epoch"], message["rev"]):
            held.extend(message, mono)
        else:
            self._ask_again(message["stop"], mono, RESUB_S)
        return True

    def _on_hb(self, message: Json, mono: float) -> bool:
        if not _is_ms(message.get("now")):
            return False
        self.clock.sample(message["now"], mono)
        return True

    def _on_bye(self, message: Json, mono: float) -> bool:
        self.bye = message
        return True

    def _on_cmd(self, message: Json, mono: float) -> bool:
        command_id, op, args = message.get("id"), message.get("op"), message.get("args")
        if not isinstance(command_id, str) or not 0 < len(command_id) <= MAX_ID or not isinstance(op, str):
            return False
        answer = self.done.find(command_id)
        if answer is None:
            answer = self.done.add(command_id, *self._operate(op, args if isinstance(args, dict) else {}, mono))
        self._out.append(orjson.dumps(answer))
        return True

    def _operate(self, op: str, args: Json, mono: float) -> tuple[bool, Json]:
        if op == "info":
            info = {"fw": FIRMWARE, "v": VERSION, "uptime": int(mono), "stops": self.stops, "lang": self.langs}
            return True, info | {"packs": {stop: pack.id for stop, pack in self.packs.items()}}
        if op == "params":
            ok = change_params(self, args.get("set", {}))
            if ok and args.get("set"):
                self._subscribe()
            return ok, {name: getattr(self, name) for name in PARAMS}
        if op == "reload":
            self._subscribe(without=self.stops)
            return True, {}
        return self.hardware.operate(op, args)

    def _ask_again(self, stop: str, mono: float, every_s: float) -> None:
        if self.welcome is not None and mono >= self._resub_at.get(stop, float("-inf")):
            self._resub_at[stop] = mono + every_s
            self._subscribe(without=(stop,))

    def _subscribe(self, without: Iterable[str] = ()) -> None:
        left_out = set(without)
        have = {
            stop: {"epoch": held.revision[0], "rev": held.revision[1]}
            for stop, held in self.boards.items()
            if stop not in left_out
        }
        self._sub_id += 1
        wishes = {"min_interval": self.min_interval, "hysteresis": self.hysteresis, "max_deps": self.max_deps}
        self._say("sub", id=self._sub_id, stops=self.stops, have=have, **wishes)

    def _say(self, kind: str, **fields: Any) -> None:
        self._out.append(orjson.dumps({"type": kind} | fields))

    # ---- time --------------------------------------------------------------------------------------------------------

    def tick(self, mono: float) -> bool:
        """The render loop went round: heartbeat, telemetry, stops that went silent. False: drop the connection."""
        if self.must_drop:
            return False
        if self.door is not Door.WEBSOCKET:
            return True
        if self.welcome is None:
            return mono - self._heard_at < WELCOME_S
        hb = self.welcome["hb"]
        if mono >= self._hb_at:
            self._seq += 1
            self._hb_at = mono + hb
            now = self.clock.now(mono)
            self._say("hb", seq=self._seq, mono=int(mono * 1000), t=None if now is None else int(now * 1000))
        self._send_telemetry(mono)
        now = self.clock.server_now(mono)
        for stop, held in self.boards.items():
            if now is not None and held.expired_for(mono, now) > 0 and stop not in self.refused:
                self._ask_again(stop, mono, EXPIRED_RESUB_S)
        return bool(mono - self._heard_at < 2 * hb + self.welcome["grace"])

    def _send_telemetry(self, mono: float) -> None:
        if mono - self._tele_at < self.tele_s:
            return
        self._tele_at = mono
        own = {
            "clock_src": "server",
            "uptime": int(mono),
            "fallback": any(self.glass(stop, mono).source is not Source.BOARD for stop in self.stops),
            "bytes_month": self.meter.used,
        }
        if (message := telemetry_message(self.hardware.telemetry() | own)) is not None:
            self._out.append(message)

    def count_bytes(self, count: int, mono: float) -> None:
        """Bytes that went over the network, for ``tele.bytes_month``."""
        self.meter.add(count, self.clock.now(mono))

    # ---- the glass ---------------------------------------------------------------------------------------------------

    def glass(self, stop: str, mono: float) -> Glass:
        """What the glass may show of one stop now (§7)."""
        held, now, exact = self.boards.get(stop), self.clock.now(mono), self.clock.server_now(mono)
        pack = self.packs.get(stop)
        if now is not None and exact is not None and held is not None:
            silent_s = held.expired_for(mono, exact)
            if silent_s <= 0:
                return Glass(stop, Source.BOARD, at_instant(held.board, now), now)
            if silent_s <= self.offline_s:
                return Glass(stop, Source.EXPIRED, at_instant(as_timetable(held.board), now), now)
        name = held.board["name"] if held is not None else pack.name if pack is not None else None
        if now is not None and pack is not None and (board := pack.board(now, self.max_deps)) is not None:
            if held is not None:  # what operators said until later than now goes on
                lasting = [msg for msg in held.board["msgs"] if "until" in msg]
                board = at_instant(board | {"name": held.board["name"], "msgs": lasting}, now)
            return Glass(stop, Source.PACK, board, now)
        return Glass(stop, Source.NOTHING, bare_board(stop, name), now)

    def drawn(self, glass: Glass, mono: float, render_ms: int | None = None, err: str | None = None) -> None:
        """``glass`` is on the panel (or could not be drawn: ``err``). Tells the server at the pace that it asked for."""
        if glass.source is not Source.BOARD:
            return
        stop, revision = glass.stop, (glass.board["epoch"], glass.board["rev"])
        since = self._acks.drawn(stop, revision, mono, None if self.welcome is None else self.welcome["ack"])
        if since is None:
            return
        shown_at = self.clock.now(mono)
        fields: Json = {"stop": stop, "epoch": revision[0], "rev": revision[1]}
        if err is not None:
            fields["err"] = err[:200]
        elif shown_at is not None:
            fields["shown_at"] = int((shown_at - (mono - since)) * 1000)
        if render_ms is not None:
            fields["render_ms"] = render_ms
        self._say("ack", **fields)

    # ---- packs -------------------------------------------------------------------------------------------------------

    def timezone(self, stop: str) -> str | None:
        """Where the stop's clock stands, as far as the server has said."""
        if stop in self.packs:
            return self.packs[stop].timezone
        return self.zone

    def wanted_packs(self, mono: float) -> list[tuple[str, str, str]]:
        """(stop, pack id, url) of announced packs that are not held; a failed one again after `PACK_RETRY_S`."""
        wanted = []
        for stop, held in self.boards.items():
            announced, have = held.board.get("pack"), self.packs.get(stop)
            if announced is None or (have is not None and have.id == announced["id"]):
                continue
            failed_id, failed_at = self._pack_failed.get(stop, ("", 0.0))
            if failed_id != announced["id"] or mono - failed_at >= PACK_RETRY_S:
                wanted.append((stop, announced["id"], announced["url"]))
        return wanted

    def pack_received(self, stop: str, pack_id: str, data: bytes | None, mono: float) -> bool:
        """``data`` None: it could not be fetched. True if the pack is good and now in use."""
        pack = OfflinePack.read(pack_id, stop, data) if data is not None else None
        if pack is None:
            self._pack_failed[stop] = pack_id, mono
            return False
        self.packs[stop] = pack
        return True


def _is_ms(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
