"""First and last departures of every line at a stop (首末班), per service day; cached, since they change once a day."""

from __future__ import annotations

import numpy as np

from busd.days import ServiceDay, Timetable
from busd.types import LineAtStop
from gtfs.network import F64, I32, I64, Network

GONE_AFTER_S = 60.0
"""a line's last bus of the day counts as gone so long after its timetable"""


class LineBook:
    """`LineAtStop` of each stop. A stop's entry holds until the last bus of one of its lines has gone, or the day ends."""

    def __init__(self, network: Network, timetable: Timetable) -> None:
        self.network, self.timetable = network, timetable
        self._base: dict[tuple[int, int], dict[tuple[int, int], tuple[float, float, float | None]]] = {}
        self._cache: dict[tuple[int, tuple[int, ...]], tuple[float, tuple[LineAtStop, ...]]] = {}
        self._expire: dict[int, float] = {}

    def days_changed(self) -> None:
        """Drop what is cached of service days that are no longer held."""
        self._base = {k: v for k, v in self._base.items() if k[1] in self.timetable.days}
        self._cache.clear()
        self._expire.clear()

    def at(self, stop: int, at: float, days: tuple[int, ...]) -> tuple[LineAtStop, ...]:
        """Lines of the service days ``days`` (ordinals, the current one among them)."""
        cached = self._cache.get((stop, days))
        if cached is not None and at < cached[0]:
            return cached[1]
        until, lines = self._build(stop, at, days, self.timetable.current(at))
        self._cache[stop, days] = (until, lines)
        return lines

    def days_of(self, shown: set[int], at: float) -> tuple[int, ...]:
        """The service days whose lines a board needs: today's, and those of its departures (ordinals)."""
        today = self.timetable.current(at)
        return tuple(sorted(shown | {today.ordinal})) if today else tuple(sorted(shown))

    def expire_at(self, stops: I64, at: float) -> F64:
        """When the lines of each stop next change."""
        return np.array([self._expires(stop, at) for stop in stops.tolist()])

    def _expires(self, stop: int, at: float) -> float:
        known = self._expire.get(stop)
        if known is None or known <= at:
            today = self.timetable.current(at)
            if today is None:
                return np.inf
            gone = [last + GONE_AFTER_S for _, last, _ in self._of_day(stop, today).values()]
            known = min((t for t in gone if t > at), default=np.inf)
            known = self._expire[stop] = min(known, self._day_ends(today))
        return known

    def _day_ends(self, today: ServiceDay) -> float:
        later = [d.start_at for d in self.timetable if d.ordinal > today.ordinal]
        return (min(later) if later else today.start_at + 86400) + 3 * 3600

    def _build(
        self, stop: int, at: float, ordinals: tuple[int, ...], today: ServiceDay | None
    ) -> tuple[float, tuple[LineAtStop, ...]]:
        merged: dict[tuple[int, int], LineAtStop] = {}
        # today's entry is the one that counts; another day's only fills a gap
        for ordinal in sorted(ordinals, key=lambda o: today is None or o != today.ordinal):
            day = self.timetable.days.get(ordinal)
            if day is None:
                continue
            tomorrow = self._of_day(stop, after) if (after := self.timetable.days.get(ordinal + 1)) else {}
            for key, (first, last, headway) in self._of_day(stop, day).items():
                gone = at >= last + GONE_AFTER_S
                merged.setdefault(
                    key,
                    LineAtStop(
                        route_idx=key[0],
                        headsign_idx=key[1],
                        first_at=first,
                        last_at=last,
                        next_at=tomorrow[key][0] if gone and key in tomorrow else None,
                        headway_s=(headway, headway) if headway is not None else None,
                        status="ended" if gone else "normal",
                    ),
                )
        until = self._expires(stop, at)
        return until, tuple(merged[k] for k in sorted(merged))

    def _of_day(self, stop: int, day: ServiceDay) -> dict[tuple[int, int], tuple[float, float, float | None]]:
        """(route, headsign) -> first and last departure from this stop, headway of a headway line."""
        known = self._base.get((stop, day.ordinal))
        if known is not None:
            return known
        rows = day.stop_rows[day.stop_offset[stop] : day.stop_offset[stop + 1]]
        run = day.row_run[rows]
        trip = day.run_trip[run]
        time = self.network.trip_time_offset[trip] + rows - day.run_row[run]
        route = self.network.pattern_route[self.network.trip_pattern[trip]]
        at = day.row_departure_at[rows]
        headway = _headways(self.network, day, run)
        known = {}
        for key, when, gap in zip(
            zip(route.tolist(), self.network.time_headsign[time].tolist()), at.tolist(), headway.tolist()
        ):
            first, last, old = known.get(key, (when, when, None))
            known[key] = (min(first, when), max(last, when), gap if gap > 0 else old)
        self._base[stop, day.ordinal] = known
        return known


def _headways(network: Network, day: ServiceDay, run: I32) -> F64:
    """Headway of each run in seconds, 0 where it has a timetable of its own."""
    out = np.zeros(len(run))
    for f, trip in enumerate(network.frequency_trip.tolist()):
        if network.frequency_exact[f] == 0:
            start = day.run_start_s[run]
            mine = (day.run_trip[run] == trip) & (start >= network.frequency_start_s[f])
            mine &= start < network.frequency_end_s[f]
            out[mine] = network.frequency_headway_s[f]
    return out
