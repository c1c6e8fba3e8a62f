"""Two terminals under one phone: a cloned or mistyped number, or somebody else's bus in our place.

Two signs of it. ``second-connection``: the phone logs in while an older connection of it was heard moments ago (a link
that broke without a word looks the same for a while, so this alone is worth an event and no alarm).
``two-places``: fixes of one phone, from different connections, jump to and fro between places that no bus connects in
the time. What happens then is the operator's to say (`jt808.duplicate_policy`); this only knows and remembers.

A bus whose link broke must not be locked out when it comes back. A connection that has been silent for longer than its
rhythm allows (`speaks_within_s`) is dead, and its successor no sign. Of a second connection that is one, quarantine holds
the positions only as long as they lie where the first could not have driven to: the first fix near by ends it.

No I/O, no clock: ``at`` is epoch seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from math import cos, hypot, radians

import msgspec

FAR_M = 5000.0
IMPOSSIBLE_MPS = 42.0
"""150 km/h: what lies farther apart than a bus could have driven"""
PLACE_S = 600.0
"""A place is compared with one of another connection that is not older than this."""
JUMPS = 2
"""there and back; a single jump may be a bad fix"""
RIVAL_S = (15.0, 60.0)
"""A connection heard within this time is taken for alive: three of its usual gaps, but not less and not more than these"""
MAX_PHONES = 10_000
_METRES_PER_DEGREE = 111_320.0


def speaks_within_s(spoke_s: float, frames: int) -> float:
    """How long a connection that has sent ``frames`` in ``spoke_s`` may be silent and still be taken for alive."""
    least, most = RIVAL_S
    return min(max(3.0 * spoke_s / max(frames, 1), least), most) if frames > 3 else most


class Conflict(msgspec.Struct):
    """One phone, two terminals, as far as known."""

    phone: str
    kind: str
    """``second-connection`` or ``two-places`` (the graver one stays)"""
    since: float
    last_at: float
    """the latest sign"""
    signs: int
    addresses: list[str]
    """of the connections, the latest last, at most 4"""
    distance_m: float = 0.0
    """between the two places; 0 = not known"""
    is_quarantined: bool = False


class _Place(msgspec.Struct, gc=False):
    lat: float
    lon: float
    at: float
    link: int
    jumps: int = 0
    jumped_at: float = 0.0


class ConflictWatch:
    """``quarantine``: a conflict holds the phone's positions back until it is released or quiet for ``quiet_s``."""

    def __init__(self, quarantine: bool, quiet_s: float, max_phones: int = MAX_PHONES) -> None:
        self._quarantine, self._quiet_s, self._max_phones = quarantine, quiet_s, max_phones
        self._conflicts: OrderedDict[str, Conflict] = OrderedDict()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def second_connection(self, phone: str, addresses: tuple[str, str], at: float) -> Conflict:
        """A login while the older connection (the first of ``addresses``, whose place `left` has told) is alive."""
        conflict = self._sign(phone, "second-connection", addresses, at)
        if conflict.kind == "second-connection":
            conflict.is_quarantined = self._quarantine and self._place(phone, at) is not None
        return conflict

    def left(self, phone: str, link: int, lat: float, lon: float, at: float) -> None:
        """The last place that a connection, now over, has reported."""
        place = self._places.get(phone)
        if place is None:
            place = self._places[phone] = _Place(lat, lon, at, link)
            if len(self._places) > self._max_phones:
                self._places.popitem(last=False)
        else:
            place.lat, place.lon, place.at, place.link = lat, lon, at, link
            self._places.move_to_end(phone)

    def is_watching(self, phone: str, at: float) -> bool:
        """Fixes of this phone are to be shown to `moved` and `holds`."""
        place = self._places.get(phone)
        return (place is not None and abs(at - place.at) <= PLACE_S) or self._live(phone, at) is not None

    def moved(self, phone: str, link: int, address: str, lat: float, lon: float, at: float) -> Conflict | None:
        """A fix of a connection; the conflict if it jumps to and fro between this and an earlier connection's place."""
        place = self._place(phone, at)
        if place is None:
            return None
        distance_m = _distance_m(place.lat, place.lon, lat, lon)
        is_near = distance_m <= max(FAR_M, abs(at - place.at) * IMPOSSIBLE_MPS)
        conflict = self._conflicts.get(phone)
        if is_near and conflict is not None and conflict.kind == "second-connection":
            conflict.is_quarantined = False  # one bus, or two in one place
        if is_near or place.link == link:  # compared once
            place.link = link
            return None
        place.jumps = place.jumps + 1 if at - place.jumped_at <= PLACE_S else 1
        place.jumped_at = at
        place.link = link
        if place.jumps < JUMPS:
            return None
        conflict = self._sign(phone, "two-places", (address,), at)
        conflict.distance_m = distance_m
        return conflict

    def holds(self, phone: str, at: float) -> bool:
        """The phone's positions are held back."""
        conflict = self._live(phone, at)
        if conflict is None or not conflict.is_quarantined:
            return False
        return conflict.kind == "two-places" or self._place(phone, at) is not None

    def release(self, phone: str) -> bool:
        """An operator has looked at it; false if there is no conflict of this phone."""
        place = self._places.get(phone)
        if place is not None:
            place.jumps = 0
        return self._conflicts.pop(phone, None) is not None

    def conflicts(self, at: float) -> list[Conflict]:
        """Those that are not over, the one with the latest sign last."""
        for phone in list(self._conflicts):
            self._live(phone, at)
        return list(self._conflicts.values())

    def _place(self, phone: str, at: float) -> _Place | None:
        """Where the phone's last connection was, if that is not long ago."""
        place = self._places.get(phone)
        return place if place is not None and abs(at - place.at) <= PLACE_S else None

    def _live(self, phone: str, at: float) -> Conflict | None:
        conflict = self._conflicts.get(phone)
        if conflict is not None and at - conflict.last_at > self._quiet_s:
            del self._conflicts[phone]
            return None
        return conflict

    def _sign(self, phone: str, kind: str, addresses: tuple[str, ...], at: float) -> Conflict:
        conflict = self._live(phone, at)
        if conflict is None:
            conflict = self._conflicts[phone] = Conflict(phone, kind, at, at, 0, [])
            if len(self._conflicts) > self._max_phones:
                self._conflicts.popitem(last=False)
        else:
            self._conflicts.move_to_end(phone)
        conflict.kind = kind if kind == "two-places" else conflict.kind
        conflict.signs += 1
        conflict.last_at = at
        conflict.is_quarantined = self._quarantine
        for address in addresses:
            if address in conflict.addresses:
                conflict.addresses.remove(address)
            conflict.addresses = [*conflict.addresses[-3:], address]
        return conflict


def _distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """On the plane: good to a percent where it matters."""
    east = (other_lon - lon + 180.0) % 360.0 - 180.0
    return _METRES_PER_DEGREE * hypot(other_lat - lat, east * cos(radians(lat)))
