"""Published predictions put aside until their stop is passed: what calibration learns from.

A ring of bounded size; each (slot, stop position) has a chain through it, newest first. A ring place that was used
again breaks the chains that still point to it, which is seen by its key.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gtfs.network import F64, I64

AT, LOW_AT, RIDER_AT, RAW_AT, HIGH_AT, SCALE, GROUP, RUN = range(8)
"""columns: when it was published, p10, rider point, median before calibration, p90, scale, group; whose it was, since
slots are used again"""
COLUMNS = 8


class Outcomes:
    def __init__(self, capacity: int, width: int) -> None:
        self.capacity, self.width = capacity, width
        self.values = np.zeros((capacity, COLUMNS))
        self.key = np.full(capacity, -1, np.int64)
        self.older = np.full(capacity, -1, np.int64)
        self.newest: dict[int, int] = {}
        self.serial = 0

    def key_of(self, slot: I64, stop_pos: I64) -> I64:
        return slot * self.width + stop_pos

    def put(self, slot: I64, stop_pos: I64, values: F64) -> None:
        """Put aside ``values`` [n, COLUMNS]; at most the capacity."""
        keys = self.key_of(slot, stop_pos)[-self.capacity :]
        places = (self.serial + np.arange(len(keys))) % self.capacity
        self.values[places], self.key[places] = values[-self.capacity :], keys
        newest = self.newest
        for place, key in zip(places.tolist(), keys.tolist()):
            self.older[place] = newest.get(key, -1)
            newest[key] = place
        self.serial = (self.serial + len(keys)) % self.capacity
        if len(newest) > 4 * self.capacity:
            self.newest = {key: place for key, place in newest.items() if self.key[place] == key}

    def take(self, slot: int, stop_pos: int, run: float) -> F64:
        """All that is put aside for a stop of the run ``run`` in ``slot``, and forget it; [k, COLUMNS], newest first."""
        key = slot * self.width + stop_pos
        place = self.newest.pop(key, -1)
        found = []
        while place >= 0 and self.key[place] == key:
            found.append(place)
            self.key[place] = -1
            place = int(self.older[place])
        values: F64 = self.values[np.array(found, np.int64)]
        mine: F64 = values[values[:, RUN] == run]
        return mine

    def dump(self) -> dict[str, Any]:
        used = np.flatnonzero(self.key >= 0)
        keys = list(self.newest)
        return {
            "used": used,
            "values": self.values[used],
            "key": self.key[used],
            "older": self.older[used],
            "newest_key": np.array(keys, np.int64),
            "newest": np.array([self.newest[k] for k in keys], np.int64),
            "serial": self.serial,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.key[:] = -1
        used = state["used"]
        self.values[used], self.key[used], self.older[used] = state["values"], state["key"], state["older"]
        self.newest = dict(zip(state["newest_key"].tolist(), state["newest"].tolist()))
        self.serial = int(state["serial"])
