"""calendar.txt and calendar_dates.txt -> which service runs on which day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.archive import ReaderLimits
from gtfs.calendar import format_service_date
from gtfs.reader import Feed
from gtfs.schema import DAYS
from gtfs.table import iter_rows

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Services:
    ids: list[str]
    first_day: int
    active: Bool

    def row(self) -> dict[str, int]:
        return {service_id: i for i, service_id in enumerate(self.ids)}


def build_services(feed: Feed, limits: ReaderLimits) -> Services:
    """Services in the order of the files; a service that only a trip knows is there too and never runs."""
    findings = feed.findings
    weeks, exceptions = _weeks(feed), _exceptions(feed)
    ids = dict.fromkeys(week[0] for week in weeks)
    ids.update(dict.fromkeys(exception[0] for exception in exceptions))
    known = set(ids)
    for code, service_id in enumerate(feed["trips"].text["service_id"].values):
        if service_id not in known:
            lost = feed["trips"].text["service_id"].code == code
            feed["trips"].report(findings, "unknown_service", "service_id", lost, lambda _, name=service_id: name)  # type: ignore[misc]
            ids.setdefault(service_id)
    row = {service_id: i for i, service_id in enumerate(ids)}
    days = [day for _, start, end, _ in weeks for day in (start, end)] + [day for _, day, _ in exceptions]
    if not days:
        return Services(list(ids), 1, np.zeros((len(ids), 0), np.bool_))
    first, last = min(days), max(days)
    width = min(last - first + 1, max(limits.calendar_cells // len(ids), 1))
    if width < last - first + 1:
        text = f"{format_service_date(first)} to {format_service_date(last)}; {width} days were kept"
        findings.add("calendar_too_long", "calendar.txt", text=text)
    active = np.zeros((len(ids), width), np.bool_)
    for service_id, start, end, weekdays in weeks:
        span = np.arange(start, min(end, first + width - 1) + 1)
        active[row[service_id], span - first] = np.array(weekdays, np.bool_)[(span - 1) % 7]
    for service_id, day, kind in exceptions:
        if day < first + width:
            active[row[service_id], day - first] = kind == 1
    for service_id in known:
        if not active[row[service_id]].any():
            findings.add("never_active", "calendar.txt", text=service_id)
    return Services(list(ids), first, active)


def _weeks(feed: Feed) -> list[tuple[str, int, int, tuple[int, ...]]]:
    """(service, first day, last day, Monday .. Sunday) of every usable row; ordinal 1 was a Monday."""
    calendar = feed["calendar"]
    start, end = calendar.number["start_date"], calendar.number["end_date"]
    service = calendar.text["service_id"]
    calendar.drop(feed.findings, "dates_reversed", "end_date", end < start, lambda i: service[i])
    return [
        (service_id, first, last, tuple(weekdays))
        for service_id, first, last, *weekdays in iter_rows(calendar, "service_id", "start_date", "end_date", *DAYS)
    ]


def _exceptions(feed: Feed) -> list[tuple[str, int, int]]:
    return list(iter_rows(feed["calendar_dates"], "service_id", "date", "exception_type"))
