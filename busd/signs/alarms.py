"""Alarms: conditions that last. One at a time per sign and kind, raised late enough and cleared late enough not to flap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import msgspec
import structlog

from busd.shelf import Shelf, Store
from busd.signs.condition import Condition

log = structlog.get_logger(__name__)

RAISE_S = {
    Condition.OFFLINE: 180.0,
    Condition.PANEL_ERROR: 30.0,
    Condition.FALLBACK: 60.0,
    Condition.CLOCK_BAD: 300.0,
    Condition.LOW_BATTERY: 600.0,
    Condition.LATE: 180.0,
}
"""a condition that lasts this long is an alarm: a reconnection is none"""
CLEAR_S = 120.0
"""and one that is gone this long is over"""
KEPT_S = 31 * 86400.0
MAX_PAST = 20_000
PRUNE_S = 3600.0


class Alarm(msgspec.Struct, omit_defaults=True):
    alarm_id: str
    sign: str
    kind: str
    raised_at: float
    cleared_at: float | None = None
    seen_by: str = ""
    """the operator who has acknowledged it"""
    seen_at: float | None = None


class AlarmBook:
    """All alarms of one installation, on a shelf of ``store``. ``speed`` as in `condition.conditions_of`."""

    def __init__(self, store: Store, speed: float = 1.0) -> None:
        self._speed = speed
        self._shelf: Shelf[Alarm] = store.shelf("alarm", Alarm)
        self._active = {(alarm.sign, alarm.kind): alarm for alarm in self._shelf if alarm.cleared_at is None}
        self._since: dict[tuple[str, str], float] = {}
        """when a condition that is no alarm yet began, or one that is an alarm ended"""
        self._busy = {alarm.sign for alarm in self._active.values()}
        """signs that have an alarm, or may have one soon"""
        self._prune_at = 0.0
        self._last = max((int(alarm.alarm_id) for alarm in self._shelf), default=0)

    def judge(self, sign: str, conditions: Collection[str], now: float, muted: bool = False) -> bool:
        """Look at a sign's conditions; true if an alarm of it was raised or cleared. ``muted``: it is known to be out of
        order, so nothing new is raised."""
        if not conditions and sign not in self._busy:
            return False
        changed = False
        for kind in Condition:
            key = sign, str(kind)
            is_bad, alarm = kind in conditions, self._active.get(key)
            if is_bad == (alarm is not None) or (is_bad and muted):
                self._since.pop(key, None)
                continue
            since = self._since.setdefault(key, now)
            if now - since >= (RAISE_S[kind] if is_bad else CLEAR_S) * self._speed:
                del self._since[key]
                self._raise(sign, kind, since) if alarm is None else self._clear(alarm, now)
                changed = True
        keys = [(sign, str(kind)) for kind in Condition]
        if any(key in self._since or key in self._active for key in keys):
            self._busy.add(sign)
        else:
            self._busy.discard(sign)
        return changed

    def forget(self, sign: str, now: float) -> None:
        """The sign is no longer one of ours."""
        for kind in Condition:
            self._since.pop((sign, str(kind)), None)
            if (alarm := self._active.get((sign, str(kind)))) is not None:
                self._clear(alarm, now)

    def _raise(self, sign: str, kind: Condition, since: float) -> None:
        self._last += 1
        alarm = Alarm(str(self._last), sign, str(kind), since)
        self._active[sign, str(kind)] = alarm
        self._shelf.put(alarm.alarm_id, alarm)
        log.warning("sign_alarm", sign=sign, alarm=str(kind), since=round(since, 1))

    def _clear(self, alarm: Alarm, now: float) -> None:
        alarm.cleared_at = now
        del self._active[alarm.sign, alarm.kind]
        self._shelf.touch(alarm.alarm_id)
        log.info("sign_alarm_over", sign=alarm.sign, alarm=alarm.kind, lasted_s=round(now - alarm.raised_at))

    # ---- reading -----------------------------------------------------------------------------------------------------

    def find(self, alarm_id: str) -> Alarm | None:
        return self._shelf.find(alarm_id)

    def active(self) -> list[Alarm]:
        """Newest first."""
        return sorted(self._active.values(), key=lambda alarm: (-alarm.raised_at, alarm.sign))

    def of(self, sign: str) -> Iterator[Alarm]:
        return (alarm for kind in Condition if (alarm := self._active.get((sign, str(kind)))) is not None)

    def past(self) -> list[Alarm]:
        """Those that are over, newest first."""
        return sorted((a for a in self._shelf if a.cleared_at is not None), key=lambda a: -(a.cleared_at or 0.0))

    def counts(self) -> Counter[str]:
        return Counter(kind for _, kind in self._active)

    def acknowledge(self, alarm: Alarm, by: str, now: float) -> None:
        alarm.seen_by, alarm.seen_at = by, now
        self._shelf.touch(alarm.alarm_id)

    def prune(self, now: float) -> None:
        """Let go of what is long over."""
        if now < self._prune_at:
            return
        self._prune_at = now + PRUNE_S
        for number, alarm in enumerate(self.past()):
            if number >= MAX_PAST or now - (alarm.cleared_at or now) > KEPT_S:
                self._shelf.drop(alarm.alarm_id)
