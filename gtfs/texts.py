"""Headsigns as distinct texts, and translations.txt sorted to the rows that it speaks of."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gtfs.reader import Feed
from gtfs.stop_times import StopTimes
from gtfs.stops import Stops
from gtfs.strings import Strings, Translations
from gtfs.table import iter_rows

I32 = npt.NDArray[np.int32]

_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*", re.ASCII)


@dataclass(frozen=True)
class Headsigns:
    text: list[str]
    of_trip: I32
    of_row: I32


def build_headsigns(feed: Feed, times: StopTimes, stops: Stops) -> Headsigns:
    """The destination of a trip: trip_headsign, else the name of its last stop; of a row: stop_headsign, else that."""
    row: dict[str, int] = {}
    names = feed["trips"].text["trip_headsign"]
    last = times.stop[times.offset[1:] - 1]
    of_trip = np.empty(len(times.trip_row), np.int32)
    for t, (code, stop) in enumerate(zip(names.code[times.trip_row].tolist(), last.tolist())):
        text = names.values[code] or stops.name[stop]
        of_trip[t] = row.setdefault(text, len(row))
    used = np.unique(times.headsign).tolist()
    lookup = np.full(len(times.headsign_values), -1, np.int32)
    for code in used:
        text = times.headsign_values[code]
        if text:
            lookup[code] = row.setdefault(text, len(row))
    own = lookup[times.headsign]
    of_row = np.where(own >= 0, own, np.repeat(of_trip, np.diff(times.offset))).astype(np.int32)
    return Headsigns(list(row), of_trip, of_row)


def language_tag(text: str) -> str | None:
    """A BCP 47 tag in its usual letter case (zh-Hans, en-GB); None where it is none."""
    text = text.strip().replace("_", "-")
    if not _TAG.fullmatch(text):
        return None
    first, *others = text.split("-")
    return "-".join([first.lower(), *(_subtag(part) for part in others)])


def _subtag(part: str) -> str:
    if len(part) == 4 and part.isalpha():
        return part.title()
    return part.upper() if len(part) == 2 else part.lower()


def default_language(feed: Feed) -> str:
    """feed_lang, unless it says "mul" (several): then default_lang, else the agency's; "und" where nothing is said."""
    candidates: list[str] = []
    for lang, default in iter_rows(feed["feed_info"], "feed_lang", "default_lang"):
        candidates += [default, lang]
    candidates += [lang for (lang,) in iter_rows(feed["agency"], "agency_lang")]
    tags = [language_tag(candidate) for candidate in candidates]
    return next((tag for tag in tags if tag and tag != "mul"), "und")


@dataclass(frozen=True)
class Texts:
    lang: Strings
    stop: Translations
    route: Translations
    headsign: Translations


class _Book:
    """(table, field) -> record id or text -> language row -> translation."""

    def __init__(self) -> None:
        self.by_record: dict[tuple[str, str], dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))
        self.by_text: dict[tuple[str, str], dict[str, dict[int, str]]] = defaultdict(lambda: defaultdict(dict))

    def find(self, table: str, field: str, record: str, text: str) -> dict[int, str]:
        """A translation of the very record beats one of the text."""
        found = dict(self.by_text[table, field].get(text, {})) if text else {}
        found.update(self.by_record[table, field].get(record, {}))
        return found


_FIELDS = (
    ("stops", "stop_name"),
    ("routes", "route_long_name"),
    ("trips", "trip_headsign"),
    ("stop_times", "stop_headsign"),
)


def build_texts(feed: Feed, times: StopTimes, stops: Stops, headsigns: Headsigns, default: str) -> Texts:
    langs: dict[str, int] = {}
    book = _Book()
    table = feed["translations"]
    names = ("table_name", "field_name", "language", "translation", "record_id", "field_value", "trans_id", "lang")
    for row, (file, field, lang, text, record, value, trans_id, old_lang) in zip(
        table.row.tolist(), iter_rows(table, *names)
    ):
        tag = language_tag(lang or old_lang)
        if tag is None:
            feed.findings.add("bad_language", "translations.txt", row, "language", lang or old_lang)
            continue
        if tag == default or not text:
            continue
        code = langs.setdefault(tag, len(langs))
        if trans_id and not file:
            for place in _FIELDS:
                book.by_text[place][trans_id].setdefault(code, text)
        elif record:
            book.by_record[file, field][record].setdefault(code, text)
        elif value:
            book.by_text[file, field][value].setdefault(code, text)
    routes = zip(feed["routes"].text["route_id"].to_list(), feed["routes"].text["route_long_name"].to_list())
    return Texts(
        lang=Strings.pack(langs),
        stop=Translations.pack(
            [book.find("stops", "stop_name", stop_id, name) for stop_id, name in zip(stops.ids, stops.name)]
        ),
        route=Translations.pack([book.find("routes", "route_long_name", rid, name) for rid, name in routes]),
        headsign=Translations.pack(_headsign_rows(feed, times, stops, headsigns, book)),
    )


def _headsign_rows(
    feed: Feed, times: StopTimes, stops: Stops, headsigns: Headsigns, book: _Book
) -> list[dict[int, str]]:
    """A destination is one row however many trips bear it, so the first trip's translation holds for all.

    What nobody translated as a headsign but is the name of a stop gets the stop's translations."""
    rows: list[dict[int, str]] = [{} for _ in headsigns.text]
    by_trip = book.by_record["trips", "trip_headsign"]
    if by_trip:
        ids = feed["trips"].text["trip_id"].take(times.trip_row).to_list()
        for trip_id, headsign in zip(ids, headsigns.of_trip.tolist()):
            for lang, text in by_trip.get(trip_id, {}).items():
                rows[headsign].setdefault(lang, text)
    stop_rows: dict[str, int] = {}
    for i, name in enumerate(stops.name):
        stop_rows.setdefault(name, i)
    for i, name in enumerate(headsigns.text):
        for table, field in _FIELDS[2:]:
            for lang, text in book.find(table, field, "", name).items():
                rows[i].setdefault(lang, text)
        stop = stop_rows.get(name)
        if stop is not None:
            for lang, text in book.find("stops", "stop_name", stops.ids[stop], name).items():
                rows[i].setdefault(lang, text)
    return rows
