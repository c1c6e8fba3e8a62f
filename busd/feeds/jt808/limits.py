"""How often somebody may try: token buckets by key, in tables of bounded size, and the limits of the open port."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

MAX_KEYS = 20_000


class TokenBuckets:
    """A bucket of ``burst`` tokens for every key, filled at ``per_s``. A full bucket is forgotten, and where there are
    more than ``max_keys`` the one used least recently is, so a flood of keys costs a table and no memory beyond it."""

    __slots__ = ("_buckets", "_burst", "_max_keys", "_per_s")

    def __init__(self, burst: float, per_s: float, max_keys: int = MAX_KEYS) -> None:
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()
        self._burst, self._per_s, self._max_keys = burst, per_s, max_keys

    def __len__(self) -> int:
        return len(self._buckets)

    def has(self, key: Hashable, at: float) -> bool:
        """A token is there; it is not taken."""
        return self._level(key, at) >= 1.0

    def take(self, key: Hashable, at: float) -> bool:
        """Takes a token; false, and nothing taken, if there is none."""
        level = self._level(key, at)
        if level < 1.0:
            return False
        self._buckets[key] = (level - 1.0, at)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._max_keys:
            self._buckets.popitem(last=False)
        return True

    def _level(self, key: Hashable, at: float) -> float:
        level, since = self._buckets.get(key, (self._burst, at))
        return min(self._burst, level + max(0.0, at - since) * self._per_s)


class Doorkeeper:
    """Limits on who guesses codes and on who registers, by phone at an address and by address.

    A wrong code costs a token; while none is left, codes from there are not even compared. The key holds the address
    too, so guessing from elsewhere does not lock the terminal itself out. Whole fleets stand behind one address of a
    carrier and all of them register again after a lost registry: the limits by address are wide."""

    __slots__ = ("_codes", "_codes_of_address", "_registrations", "_registrations_of_address")

    def __init__(self) -> None:
        self._codes = TokenBuckets(10, 0.1)
        self._codes_of_address = TokenBuckets(10_000, 20)
        self._registrations = TokenBuckets(30, 0.2)
        self._registrations_of_address = TokenBuckets(20_000, 50)

    def may_show_code(self, phone: str, address: str, at: float) -> bool:
        return self._codes.has((phone, address), at) and self._codes_of_address.has(address, at)

    def wrong_code(self, phone: str, address: str, at: float) -> None:
        self._codes.take((phone, address), at)
        self._codes_of_address.take(address, at)

    def may_register(self, phone: str, address: str, at: float) -> bool:
        return self._registrations_of_address.take(address, at) and self._registrations.take((phone, address), at)
