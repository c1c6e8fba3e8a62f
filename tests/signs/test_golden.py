"""One golden file for every message of busd.sign.v1: the contract with sign makers, compared byte for byte.

``BUSD_GOLDEN=write pytest tests/signs/test_golden.py`` writes them anew; whoever does that changes what signs in the field
get, and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.signs.hub import SignHub
from busd.signs.messages import Ack, CloseCode, Done, Heartbeat, Hello, Sub, Tele, decode
from busd.signs.modes import Mode

GOLDEN = Path(__file__).parents[1] / "golden" / "signs" / "messages"
Connect = Callable[..., Any]


def check(name: str, data: bytes) -> None:
    path = GOLDEN / f"{name}.json"
    if os.environ.get("BUSD_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data + b"\n")
    assert path.read_bytes() == data + b"\n", f"{name} is not what signs have been promised"


FROM_SIGN: dict[str, tuple[type, dict[str, Any]]] = {
    "hello": (
        Hello,
        {
            "type": "hello",
            "v": 1,
            "sign": "LS-0042",
            "token": "demo",
            "lang": ["zh-Hans", "en", "bo"],
            "fw": "2.1.0",
            "hw": "led-128x64",
            "rows": 4,
            "cols": 32,
            "caps": ["cmd", "deflate"],
            "mono": 8123000,
            "t": None,
        },
    ),
    "sub": (
        Sub,
        {
            "type": "sub",
            "id": 1,
            "stops": ["S4", "S5", "S1001"],
            "have": {"S4": {"epoch": "k3f9", "rev": 18}},
            "min_interval": 1,
            "hysteresis": 10,
            "max_deps": 8,
        },
    ),
    "ack": (
        Ack,
        {"type": "ack", "stop": "S5", "epoch": "k3f9", "rev": 18, "shown_at": 1795000000480, "render_ms": 35},
    ),
    "ack_error": (Ack, {"type": "ack", "stop": "S5", "epoch": "k3f9", "rev": 18, "err": "no glyph for U+0F58"}),
    "hb": (Heartbeat, {"type": "hb", "seq": 12, "mono": 8483000, "t": 1795000000480}),
    "tele": (
        Tele,
        {
            "type": "tele",
            "volt": 12.4,
            "temp": -7,
            "rssi": -83,
            "lux": 1200,
            "door": False,
            "panel_err": [],
            "clock_src": "server",
            "clock_err_ms": 40,
            "uptime": 8483,
            "reboot": "power",
            "fallback": False,
            "bytes_month": 3120000,
        },
    ),
    "done": (Done, {"type": "done", "id": "c7", "ok": True, "info": {"level": 60}}),
}


@pytest.mark.parametrize("name", FROM_SIGN)
def test_messages_of_signs(name: str) -> None:
    kind, message = FROM_SIGN[name]
    data = orjson.dumps(message)
    check(f"from_sign/{name}", data)
    read = decode(data.decode())
    assert type(read) is kind
    for field in kind.__struct_fields__:  # type: ignore[attr-defined]
        assert getattr(read, field) == message.get(field)


def test_messages_of_the_server(hub: SignHub, peer_class: Any, bus: BoardBus, clock: ManualClock) -> None:
    """One conversation with the messages above; every file is what the sign got, to the byte."""
    sign = peer_class(hub)
    hub.new_session_id = iter(["9f3a1c", "7"]).__next__

    def say(name: str) -> list[bytes]:
        sign.send(sign.frame(orjson.dumps(FROM_SIGN[name][1])))
        return payloads(sign.take())

    [welcome] = say("hello")
    check("from_server/welcome", welcome)
    subscribed, same, board = say("sub")
    check("from_server/subscribed", subscribed)
    check("from_server/same", same)
    check("from_server/board", board)
    assert say("ack") == say("ack_error") == say("tele") == []
    [hb] = say("hb")
    check("from_server/hb", hb)
    hub.commands.order("LS-0042", "brightness", {"level": 60})
    [cmd] = payloads(sign.take())
    check("from_server/cmd", cmd)
    assert say("done") == [] and len(hub.commands) == 0
    hub.modes.replace({"LS-0042": Mode("text", {"zh-Hans": "本站停用", "en": "Stop closed"}, "5e1f0000")}, 1.0)
    clock.advance(1)
    boards = payloads(sign.take())
    assert len(boards) == 2
    check("from_server/board_text", boards[1])
    sign.session.close(CloseCode.RESTART, "restart")
    bye = payloads(sign.take())[0]
    check("from_server/bye", bye)


@pytest.mark.parametrize("path", sorted(GOLDEN.rglob("*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_files_are_messages(path: Path) -> None:
    data = path.read_bytes()
    assert data.count(b"\n") == 1 and len(data) < 65536
    message = orjson.loads(data)
    assert message["type"] == path.stem.partition("_")[0]


def payloads(raw: bytes) -> list[bytes]:
    found = []
    while raw:
        size, at = raw[1], 2
        if size == 126:
            size, at = int.from_bytes(raw[2:4], "big"), 4
        found.append(raw[at : at + size])
        raw = raw[at + size :]
    return found
