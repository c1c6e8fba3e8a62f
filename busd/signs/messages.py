"""The messages of busd.sign.v1 other than boards: structs in, bytes out, close codes.

Only required fields are checked strictly; an odd value in an optional one counts as absent, because the sign that sent it
is a box on a pole that nobody will update today. Unknown fields and types are ignored.
"""

from __future__ import annotations

import json
import re
from enum import IntEnum
from typing import Annotated, Any

import msgspec
import orjson
from msgspec import Meta

from busd.signs.render import Langs, text_frame

SUBPROTOCOL = "busd.sign.v1"
PATH = "/v1/sign"
VERSION = 1
SERVER = "busd/0.1"
MAX_CLIENT_BYTES = 16 * 1024
MAX_STOPS = 32
MAX_DEPS = 30
DEFAULT_DEPS = 10
MAX_FACTS = 8
"""Languages and caps of a sign that are told to people."""
MAX_LANGS = 64
"""of one sign; more than any timetable has, so that no wish goes unheard [4]"""

SafeInt = Annotated[int, Meta(ge=-(2**53) + 1, le=2**53 - 1)]
"""What every JSON reader can hold; answers echo it."""

_TAG = re.compile(r"[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,7}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class CloseCode(IntEnum):
    """Section 9. 4000-4399: come back; 4400-4999: somebody has to reconfigure the sign."""

    BINARY = 1003
    NOT_UTF8 = 1007
    TOO_BIG = 1009
    INTERNAL = 4000
    RESTART = 4001
    TOO_SLOW = 4002
    NO_HEARTBEAT = 4003
    OVERLOAD = 4004
    RATE = 4005
    BAD_MESSAGE = 4400
    AUTHENTICATION = 4401
    FORBIDDEN = 4403
    VERSION = 4406
    NO_HELLO = 4408
    REPLACED = 4409


RETRY: dict[int, tuple[int | None, int]] = {
    CloseCode.INTERNAL: (5, 60),
    CloseCode.RESTART: (5, 30),
    CloseCode.TOO_SLOW: (5, 30),
    CloseCode.NO_HEARTBEAT: (1, 10),
    CloseCode.OVERLOAD: (30, 60),
    CloseCode.RATE: (10, 30),
    CloseCode.REPLACED: (60, 60),
}
"""close code -> (retry, jitter) of the bye; codes that are not here are for good (retry null)."""


class Envelope(msgspec.Struct):
    type: str


class Hello(msgspec.Struct):
    v: SafeInt
    sign: Annotated[str, Meta(min_length=1, max_length=128)]
    token: Any = None
    lang: Any = None
    fw: Any = None
    hw: Any = None
    rows: Any = None
    cols: Any = None
    caps: Any = None


class Sub(msgspec.Struct):
    id: SafeInt
    stops: list[str]
    have: Any = None
    min_interval: Any = None
    hysteresis: Any = None
    max_deps: Any = None


class Ack(msgspec.Struct):
    stop: str
    epoch: str
    rev: SafeInt
    shown_at: Any = None
    err: Any = None


class Heartbeat(msgspec.Struct):
    seq: SafeInt


class Tele(msgspec.Struct):
    """Everything is optional; the last value is kept as it came."""


class Done(msgspec.Struct):
    id: str
    ok: bool
    info: Any = None


_envelope = msgspec.json.Decoder(Envelope)
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    "hello": msgspec.json.Decoder(Hello),
    "sub": msgspec.json.Decoder(Sub),
    "ack": msgspec.json.Decoder(Ack),
    "hb": msgspec.json.Decoder(Heartbeat),
    "tele": msgspec.json.Decoder(Tele),
    "done": msgspec.json.Decoder(Done),
}

ClientMessage = Hello | Sub | Ack | Heartbeat | Tele | Done


def decode(text: str) -> ClientMessage | None:
    """A client message; None for an unknown type.

    Raises ValueError (msgspec's errors are) or RecursionError for anything that section 1 wants answered with close 4400.
    """
    decoder = _decoders.get(_envelope.decode(text).type)
    _refuse_twins(text)
    if decoder is None:
        return None
    message: ClientMessage = decoder.decode(text)
    return message


def _no_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("the same key twice")


_refuse_twins = json.JSONDecoder(object_pairs_hook=_no_twins).decode
"""msgspec takes the last of two equal keys, another reader may take the first: nobody knows what such a message means."""


# ---- optional values ---------------------------------------------------------------------------------------------------


def wanted_langs(value: Any, default: str) -> Langs:
    """``hello.lang`` as a sorted tuple of tags, so that signs with the same wishes share frames."""
    tags = (
        {tag for tag in value[:MAX_LANGS] if isinstance(tag, str) and _TAG.fullmatch(tag)}
        if isinstance(value, list)
        else set()
    )
    return tuple(sorted(tags)) or (default,)


def number(value: Any, default: float, low: float, high: float) -> float:
    """An optional number held within its limits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return min(max(value, low), high)


def held_revision(have: Any, stop_id: str) -> tuple[str, int] | None:
    """(epoch, rev) that the sign says it shows for a stop."""
    entry = have.get(stop_id) if isinstance(have, dict) else None
    if not isinstance(entry, dict):
        return None
    epoch, rev = entry.get("epoch"), entry.get("rev")
    return (epoch, rev) if isinstance(epoch, str) and isinstance(rev, int) and not isinstance(rev, bool) else None


def hello_facts(hello: Hello) -> dict[str, Any]:
    """The optional fields of a hello that make sense, for whoever looks after the sign."""
    words = {key: value[:64] for key in ("fw", "hw") if isinstance(value := getattr(hello, key), str)}
    sizes = {key: int(number(value, 0, 0, 9999)) for key in ("rows", "cols") if (value := getattr(hello, key))}
    lists = {
        key: [item[:35] for item in value[:MAX_FACTS] if isinstance(item, str)]
        for key in ("lang", "caps")
        if isinstance(value := getattr(hello, key), list)
    }
    return {key: _CONTROL.sub("", value) for key, value in words.items()} | sizes | lists


def is_name(text: str) -> bool:
    """True for a stop or sign id as section 2 allows them."""
    return 0 < len(text) <= 128 and not _CONTROL.search(text)


# ---- server messages ---------------------------------------------------------------------------------------------------


def message_frame(message: dict[str, Any]) -> bytes:
    return text_frame(orjson.dumps(message))


def bye(code: int, reason: str) -> dict[str, Any]:
    retry, jitter = RETRY.get(code, (None, 0))
    return {"type": "bye", "code": int(code), "retry": retry, "jitter": jitter, "reason": reason}


def bye_frame(code: int, reason: str) -> bytes:
    return message_frame(bye(code, reason))


def cmd_frame(command_id: str, op: str, args: dict[str, Any]) -> bytes:
    return message_frame({"type": "cmd", "id": command_id, "op": op, "args": args})


def hb_frame(seq: int, now_ms: int) -> bytes:
    return text_frame(b'{"type":"hb","seq":%d,"now":%d}' % (seq, now_ms))


def short(value: float) -> int | float:
    """A duration as an integer where it is one."""
    return int(value) if value == int(value) else value
