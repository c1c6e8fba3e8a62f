"""What a sign says of itself: rendered boards, telemetry, answers to commands. Checked, counted, handed to the sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from busd.metrics import SIGN_ACKS, SIGN_GLASS_SECONDS, SIGN_TELEMETRY
from busd.signs.messages import Ack, Done, Tele
from busd.signs.render import to_ms

if TYPE_CHECKING:
    from busd.signs.protocol import SignSession

TELE_BYTES = 512
TELE_EVERY_S = 270.0
"""The protocol says 300; a sign's clock may be fast."""
MAX_GLASS_MS = 3_600_000
"""A time to glass beyond this, or before the board was made, says only that the sign's clock is wrong."""


def take_report(session: SignSession, message: Ack | Tele | Done, data: bytes) -> None:
    """Of a session that has said hello; ``data`` is the message as it came."""
    match message:
        case Ack():
            _take_ack(session, message)
        case Tele():
            _take_telemetry(session, data)
        case Done():
            assert session.sign is not None
            session.hub.commands.answered(session.sign, message)


def _take_ack(session: SignSession, ack: Ack) -> None:
    hub, sign = session.hub, session.sign
    assert sign is not None
    slot = session.slots.get(ack.stop)
    mode = session.variant.mode
    epoch = ack.epoch if mode is None else ack.epoch.removesuffix(f".{mode.key}")
    at = slot.audience.computed_at(epoch, ack.rev) if slot is not None else None
    if at is None:
        SIGN_ACKS.labels("unknown").inc()
    elif ack.err is not None:
        SIGN_ACKS.labels("error").inc()
        hub.sink.draw_error(sign, ack.stop, str(ack.err)[:200])
    else:
        SIGN_ACKS.labels("shown").inc()
        glass_s = None
        if type(ack.shown_at) is int and 0 <= (delay_ms := ack.shown_at - to_ms(at)) < MAX_GLASS_MS:
            glass_s = delay_ms / 1000
            SIGN_GLASS_SECONDS.observe(glass_s)
        hub.sink.shown(sign, ack.stop, ack.epoch, ack.rev, glass_s)


def _take_telemetry(session: SignSession, data: bytes) -> None:
    hub, mono = session.hub, session.hub.clock.monotonic()
    assert session.sign is not None
    if len(data) > TELE_BYTES:
        SIGN_TELEMETRY.labels("too_big").inc()
    elif session.tele_at is not None and mono < session.tele_at + TELE_EVERY_S:
        SIGN_TELEMETRY.labels("too_often").inc()
    else:
        session.tele_at = mono
        SIGN_TELEMETRY.labels("kept").inc()
        values = msgspec.json.decode(data, type=dict)
        values.pop("type", None)
        hub.sink.telemetry(session.sign, hub.clock.now(), values)
