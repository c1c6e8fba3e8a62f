"""What a terminal says of its trip: additional items of a report, and the driver who has logged on (0x0702).

Which item or driver means what is the operator's to say (options ``hint_items``, ``driver_field``, ``hint_values``): the
standard has no item for a line or trip, and vendors each have their own.
"""

from __future__ import annotations

from collections.abc import Mapping

from busd.config import Jt808Config
from busd.feeds.jt808.message import Location, decode_text
from busd.types import TripHint

MAX_HINT_BYTES = 128
_NO_TEXTS: Mapping[str, str] = {}


class HintReader:
    """Of one connection. ``items``: id of an item -> field of `TripHint`, with ``:number`` behind it where the value is
    an unsigned integer and no text. ``driver_field``: the field that the driver's log-on fills, empty = none.
    ``values``: field -> {what is sent: what the timetable calls it}; a value that is not in there stays as it is."""

    __slots__ = ("_driver_field", "_hint", "_items", "_texts", "_values")

    def __init__(self, items: Mapping[int, str], driver_field: str, values: Mapping[str, Mapping[str, str]]) -> None:
        self._items = items
        self._driver_field = driver_field
        self._values = values
        self._texts = _NO_TEXTS
        self._hint: TripHint | None = None

    def read(self, location: Location, driver: str = "") -> TripHint | None:
        """None if nothing says any. One object as long as the texts stay. An item is nearer to the trip than the
        driver and wins."""
        texts: dict[str, str] = {}
        if driver and self._driver_field:
            texts[self._driver_field] = self._named(self._driver_field, driver)
        for item_id, value in location.items() if self._items else ():
            wanted = self._items.get(item_id)
            if wanted is None or not 0 < len(value) <= MAX_HINT_BYTES:
                continue
            field, _, kind = wanted.partition(":")
            text = _number(value) if kind else _text(value)
            if text:
                texts[field] = self._named(field, text)
        if texts != self._texts:
            self._texts = texts
            start = texts.get("start_s", "")
            self._hint = TripHint(
                trip_id=texts.get("trip_id"),
                service_date=texts.get("service_date"),
                start_s=int(start) if start.isascii() and start.isdigit() and len(start) <= 7 else None,
                route_id=texts.get("route_id"),
                block_id=texts.get("block_id"),
            )
        return self._hint if texts else None

    def _named(self, field: str, text: str) -> str:
        names = self._values.get(field)
        return text if names is None else names.get(text, text)


def hint_reader(config: Jt808Config) -> HintReader | None:
    """As the configuration says; None if it says nothing."""
    if not config.hint_items and not config.driver_field:
        return None
    items = {int(item_id, 16): field for item_id, field in config.hint_items.items()}
    values = {str(field): names for field, names in config.hint_values.items()}
    return HintReader(items, config.driver_field, values)


def decode_driver(body: bytes, is_2019: bool) -> str | None:
    """0x0702 (2013 8.41): the qualification number of the driver who has logged on, else the name; empty text = logged
    off; None = the body says neither (2011 sends the name first and no status; busd reads its name).

    Status 1 = card inserted, 2 = withdrawn; then BCD[6] time, result of reading, name length, name, qualification [20],
    authority, validity, in 2019 the identity card's number [20]."""
    if len(body) >= 7 and body[0] == 2:
        return ""
    if len(body) >= 9 and body[0] == 1:
        if body[7] != 0:  # the card could not be read
            return None
        end = 9 + body[8]
        return (decode_text(body[end : end + 20]) or decode_text(body[9:end])) or None
    if not is_2019 and body and 3 <= body[0] < len(body):
        return decode_text(body[1 : 1 + body[0]]) or None
    return None


def _text(value: bytes) -> str:
    """UTF-8, as most send it, else GBK."""
    try:
        text = value.decode("utf-8").strip("\0 ")
    except UnicodeDecodeError:
        return decode_text(value)
    return text if text.isprintable() else ""


def _number(value: bytes) -> str:
    return str(int.from_bytes(value, "big")) if len(value) <= 8 else ""
