"""How a sign is: what is known of it, and the conditions that follow from it.

Limits come in pairs: a value has to be clearly bad to make a condition and clearly good to end it, so a battery at its
limit does not say something else with every telegram.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from busd.log import strip_control


class Condition(StrEnum):
    """What is wrong with a sign; the first of a sign's conditions, in this order, is its state."""

    OFFLINE = "offline"
    PANEL_ERROR = "panel_error"
    FALLBACK = "fallback"
    CLOCK_BAD = "clock_bad"
    LOW_BATTERY = "low_battery"
    LATE = "late"


ONLINE = "online"
UNSEEN = "unseen"
"""entered, but never connected"""
STATES = (ONLINE, *(str(condition) for condition in Condition), UNSEEN)

LATE_S, PROMPT_S = 15.0, 8.0
"""time to glass (of the last few boards) above which a sign is late, and below which it is not any more"""
CLOCK_BAD_MS, CLOCK_GOOD_MS = 5_000, 2_000
BATTERIES = ((5.0, 3.5, 3.65), (18.0, 11.6, 12.1), (36.0, 23.2, 24.2))
"""(up to this voltage it is a supply of this kind, low below, good again above): a lithium cell, 12 V, 24 V"""
TELE_KEPT_S = 3 * 3600.0
"""a telegram older than this says nothing about now"""
ACK_SILENCE_S = 900.0
"""a sign that told what it shows and has stopped telling is late"""
MAX_MONTHS = 13


class SignHealth(msgspec.Struct, omit_defaults=True):
    """All that a sign has let us know. Small: one per sign ever seen."""

    sign: str
    first_seen_at: float = 0.0
    connected_at: float | None = None
    heard_at: float = 0.0
    closed_at: float | None = None
    close_code: int | None = None
    sessions: int = 0
    fw: str = ""
    hw: str = ""
    rows: int | None = None
    cols: int | None = None
    lang: tuple[str, ...] = ()
    caps: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    """the last accepted subscription"""
    shown: dict[str, tuple[str, int]] = {}
    """stop -> (epoch, rev) on the glass"""
    shown_at: float | None = None
    """of the last ack"""
    draw_error: str = ""
    tele: dict[str, Any] = {}
    tele_at: float | None = None
    glass: list[int] = []
    """busd.signs.glass"""
    recent_glass_s: float = 0.0
    """of the last few boards, smoothed"""
    traffic: dict[str, tuple[int, int]] = {}
    """YYYY-MM -> bytes to the sign, bytes from it"""
    conditions: tuple[str, ...] = ()

    @property
    def is_connected(self) -> bool:
        return self.connected_at is not None

    @property
    def state(self) -> str:
        return self.conditions[0] if self.conditions else ONLINE


def conditions_of(sign: SignHealth, now: float, silence_s: float, speed: float = 1.0) -> tuple[str, ...]:
    """What is wrong with it now, worst first. ``silence_s``: after so long without a word a connected sign is late.
    ``speed``: seconds of the clock in one second of the signs, in a simulated city."""
    if not sign.is_connected:
        return (str(Condition.OFFLINE),)
    had = set(sign.conditions)
    tele = sign.tele if sign.tele_at is not None and now - sign.tele_at < TELE_KEPT_S * speed else {}
    found = []
    if sign.draw_error or tele.get("panel_err"):
        found.append(Condition.PANEL_ERROR)
    if tele.get("fallback") is True and (sign.shown_at is None or sign.shown_at <= (sign.tele_at or 0.0)):
        found.append(Condition.FALLBACK)
    if abs(tele.get("clock_err_ms", 0)) > (CLOCK_GOOD_MS if Condition.CLOCK_BAD in had else CLOCK_BAD_MS):
        found.append(Condition.CLOCK_BAD)
    if _is_low(tele.get("volt"), Condition.LOW_BATTERY in had):
        found.append(Condition.LOW_BATTERY)
    if _is_late(sign, now, silence_s, speed, Condition.LATE in had):
        found.append(Condition.LATE)
    return tuple(map(str, found))


def _is_low(volt: float | None, was_low: bool) -> bool:
    if volt is None:
        return False
    for up_to, low, good in BATTERIES:
        if volt < up_to:
            return volt < (good if was_low else low)
    return False


def _is_late(sign: SignHealth, now: float, silence_s: float, speed: float, was_late: bool) -> bool:
    if now - sign.heard_at > silence_s * speed:
        return True
    since = sign.connected_at or now
    if sign.shown_at is not None and since < sign.shown_at < now - ACK_SILENCE_S * speed:
        return True
    return sign.recent_glass_s > (PROMPT_S if was_late else LATE_S) * speed


def checked_tele(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of ``tele`` that have the type they should have; boxes on poles send odd things."""
    out: dict[str, Any] = {}
    for name in ("volt", "temp", "rssi", "lux", "clock_err_ms", "uptime", "bytes_month"):
        value = values.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            out[name] = value
    for name in ("door", "fallback"):
        if isinstance(value := values.get(name), bool):
            out[name] = value
    for name in ("clock_src", "reboot"):
        if isinstance(value := values.get(name), str):
            out[name] = strip_control(value)[:32]
    errors = values.get("panel_err")
    if isinstance(errors, list):
        out["panel_err"] = [strip_control(str(error))[:48] for error in errors[:8]]
    return out


def words(value: object, most: int, each: int) -> tuple[str, ...]:
    """The strings of a list from outside."""
    if not isinstance(value, list | tuple):
        return ()
    return tuple(strip_control(word)[:each] for word in value[:most] if isinstance(word, str))
