"""Keeps an eye on every sign: the `SignSink` of the sign door, the state of each sign, and its alarms."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from busd import metrics
from busd.clock import Clock
from busd.log import strip_control
from busd.shelf import Shelf, Store
from busd.sign_registry import SignRegistry
from busd.signs.alarms import AlarmBook
from busd.signs.condition import (
    MAX_MONTHS,
    STATES,
    UNSEEN,
    Condition,
    SignHealth,
    checked_tele,
    conditions_of,
    words,
)
from busd.signs.glass import add_sample
from gtfs.calendar import zone

MAX_STRANGERS = 20_000
"""signs that connected with a common token and are in no registry; the one silent for longest is forgotten first"""
ROUND_S = 5.0
"""every sign is looked at this often, a slice of the fleet at a time"""
KEEP_S = 60.0
"""how often what a sign says is written down, unless something important has changed"""
MAX_SHOWN = 32
RECENT_SHARE = 0.3
"""of the newest sample in the smoothed time to glass"""


class FleetHealth:
    """``silence_s``: a connected sign that says nothing for so long is late. ``timezone`` names the months of the data
    bill. ``muted`` tells of signs that are meant to be silent."""

    def __init__(
        self,
        store: Store,
        registry: SignRegistry,
        clock: Clock,
        silence_s: float,
        timezone: Callable[[], str],
        muted: Callable[[str], bool] = lambda sign: False,
    ) -> None:
        self._shelf: Shelf[SignHealth] = store.shelf("health", SignHealth)
        self._registry, self._clock, self._silence_s, self._timezone = registry, clock, silence_s, timezone
        self._muted = muted
        self._speed = float(getattr(clock, "speed", 1.0))
        self.alarms = AlarmBook(store, self._speed)
        self.changed: dict[str, None] = {}
        """signs that look different since somebody last emptied this"""
        self.answers: dict[str, tuple[bool, dict[str, Any]]] = {}
        """command id -> its ``done``; the latest thousand"""
        self.stops_changed = True
        """some sign shows other stops than before: targets have to be resolved again"""
        self._round: list[str] = []
        self._swept_at = clock.now()
        self._kept_at: dict[str, float] = {}
        self._month = (0.0, "")
        for sign in self._shelf:
            sign.connected_at = None  # whoever was connected has to come back first
            self._judge(sign)

    # ---- what the door tells -------------------------------------------------------------------------------------------

    def opened(self, sign: str, at: float, hello: Mapping[str, Any]) -> None:
        health = self._shelf.find(sign)
        if health is None:
            health = SignHealth(sign, first_seen_at=at)
            self.stops_changed = True  # what is ordered for all is ordered for it
            self._make_room()
        health.connected_at = health.heard_at = at
        health.sessions += 1
        health.fw, health.hw = (strip_control(str(hello.get(name) or ""))[:64] for name in ("fw", "hw"))
        health.rows, health.cols = (_size(hello.get(name)) for name in ("rows", "cols"))
        health.lang, health.caps = words(hello.get("lang"), 8, 35), words(hello.get("caps"), 16, 32)
        health.draw_error = ""
        self._shelf.put(sign, health)
        self._judge(health)

    def subscribed(self, sign: str, stops: Sequence[str]) -> None:
        health = self._shelf.find(sign)
        if health is not None and health.stops != tuple(stops):
            health.stops = tuple(stops)
            health.shown = {stop: shown for stop, shown in health.shown.items() if stop in health.stops}
            self.stops_changed = True
            self._note(health)

    def heard(self, sign: str, at: float) -> None:
        health = self._shelf.find(sign)
        if health is not None:
            health.heard_at = at

    def shown(self, sign: str, stop: str, epoch: str, rev: int, glass_s: float | None) -> None:
        health = self._shelf.find(sign)
        if health is None:
            return
        if stop in health.shown or len(health.shown) < MAX_SHOWN:
            health.shown[stop] = epoch, rev
        health.shown_at = health.heard_at = self._clock.now()
        if glass_s is not None:
            add_sample(health.glass, glass_s)
            health.recent_glass_s += RECENT_SHARE * (glass_s - health.recent_glass_s)
        if health.draw_error:
            health.draw_error = ""
            self._judge(health)
        self._note(health)

    def draw_error(self, sign: str, stop: str, error: str) -> None:
        health = self._shelf.find(sign)
        if health is not None:
            health.draw_error = strip_control(error)[:200] or "unknown"
            self._judge(health)

    def telemetry(self, sign: str, at: float, values: Mapping[str, Any]) -> None:
        health = self._shelf.find(sign)
        if health is not None:
            health.tele, health.tele_at = checked_tele(values), at
            self._judge(health)
            self._note(health)

    def sent(self, sign: str, bytes_out: int, bytes_in: int) -> None:
        health = self._shelf.find(sign)
        if health is None:
            return
        month = self._month_of(self._clock.now())
        out, come_in = health.traffic.get(month, (0, 0))
        health.traffic[month] = out + bytes_out, come_in + bytes_in
        while len(health.traffic) > MAX_MONTHS:
            del health.traffic[min(health.traffic)]

    def done(self, sign: str, command_id: str, ok: bool, info: Mapping[str, Any]) -> None:
        self.answers[command_id] = ok, dict(info)
        while len(self.answers) > 1000:
            del self.answers[next(iter(self.answers))]

    def closed(self, sign: str, at: float, code: int) -> None:
        health = self._shelf.find(sign)
        if health is not None:
            health.connected_at, health.closed_at, health.close_code = None, at, code
            self._judge(health)

    # ---- time ----------------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Look at the next slice of the fleet; how large, the time since the last one says."""
        now = self._clock.now()
        share = min(max((now - self._swept_at) / (ROUND_S * self._speed), 0.0), 1.0)
        self._swept_at = now
        for _ in range(int(len(self._shelf) * share) + 1):
            if not self._round:
                self._round = list(self._shelf.keys())
                self._count()
                if not self._round:
                    return
            health = self._shelf.find(self._round.pop())
            if health is not None:
                self._judge(health)

    def _judge(self, health: SignHealth) -> None:
        now = self._clock.now()
        conditions = conditions_of(health, now, self._silence_s, self._speed)
        if self.alarms.judge(health.sign, conditions, now, self._muted(health.sign)) or conditions != health.conditions:
            health.conditions = conditions
            self._kept_at.pop(health.sign, None)
            self._note(health)

    def _note(self, health: SignHealth) -> None:
        """It looks different; write it down now and then."""
        self.changed[health.sign] = None
        now = self._clock.now()
        if now - self._kept_at.get(health.sign, 0.0) >= KEEP_S * self._speed:
            self._kept_at[health.sign] = now
            self._shelf.touch(health.sign)

    def keep_all(self) -> None:
        """The process ends: write down everything."""
        for health in self._shelf:
            self._shelf.touch(health.sign)

    def _count(self) -> None:
        states = self.counts()
        for state in STATES:
            metrics.SIGNS.labels(state).set(states.get(state, 0))
        alarms = self.alarms.counts()
        for kind in Condition:
            metrics.SIGN_ALARMS.labels(str(kind)).set(alarms.get(str(kind), 0))
        self.alarms.prune(self._clock.now())

    # ---- reading -----------------------------------------------------------------------------------------------------

    def find(self, sign: str) -> SignHealth | None:
        return self._shelf.find(sign)

    def known_signs(self) -> Iterable[str]:
        """Everything that was entered or has ever connected."""
        return dict.fromkeys((*self._registry.signs.keys(), *self._shelf.keys()))

    def stops_of(self, sign: str) -> Sequence[str]:
        """What it shows: what it was entered for, else what it last asked for."""
        record, health = self._registry.find(sign), self._shelf.find(sign)
        if record is not None and record.stops:
            return record.stops
        return health.stops if health is not None else ()

    def state_of(self, sign: str) -> str:
        health = self._shelf.find(sign)
        return health.state if health is not None else UNSEEN

    def counts(self) -> Counter[str]:
        """State -> signs."""
        return Counter(map(self.state_of, self.known_signs()))

    def forget(self, sign: str) -> SignHealth | None:
        """The sign was removed. One that still connects will be a stranger."""
        self.alarms.forget(sign, self._clock.now())
        self.changed[sign] = None
        return self._shelf.drop(sign)

    def _make_room(self) -> None:
        if len(self._shelf) < MAX_STRANGERS + len(self._registry.signs):
            return
        strangers = [h for h in self._shelf if not h.is_connected and self._registry.find(h.sign) is None]
        if strangers:
            self.forget(min(strangers, key=lambda health: health.heard_at).sign)

    def _month_of(self, at: float) -> str:
        if at >= self._month[0]:
            local = dt.datetime.fromtimestamp(at, zone(self._timezone()))
            self._month = (at // 3600 + 1) * 3600, f"{local:%Y-%m}"
        return self._month[1]


def _size(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10_000 else None
