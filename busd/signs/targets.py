"""Where an order applies: ``all``, ``line:8`` or ``line:8/0``, ``stop:S1001``, ``group:west``, ``sign:LS-0042``.

A target is kept as it was given and resolved again whenever signs, groups or the timetable change: a message for a group
follows the signs that join it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from busd.sign_registry import BadEntry, SignRegistry, check_name
from gtfs.network import Network

KINDS = ("all", "line", "group", "stop", "sign")
"""from the widest to the narrowest: of two orders for one sign the narrower counts"""


class Target(msgspec.Struct, frozen=True):
    kind: str
    name: str = ""
    direction_id: int | None = None

    def __str__(self) -> str:
        if self.kind == "all":
            return "all"
        return f"{self.kind}:{self.name}" + ("" if self.direction_id is None else f"/{self.direction_id}")

    @property
    def rank(self) -> int:
        return KINDS.index(self.kind)


def parse_target(text: str) -> Target:
    """`BadEntry` for what is none."""
    kind, colon, name = text.strip().partition(":")
    if kind == "all" and not colon:
        return Target("all")
    if kind not in KINDS[1:] or not name.strip():
        raise BadEntry(f"{text[:60]!r} is no target: all, line:NAME, line:NAME/0, group:NAME, stop:ID or sign:ID")
    name, direction = name.strip(), None
    if kind == "line" and name[-2:] in ("/0", "/1"):
        name, direction = name[:-2], int(name[-1])
    return Target(kind, check_name(kind, name), direction)


def routes_of(name: str, network: Network) -> list[str]:
    """Ids of the routes that a person means: the one with this id, else those with this short name."""
    if network.find_route(name) is not None:
        return [name]
    return [
        network.route_id[i] for i, short in enumerate(network.route_short_name) if short.casefold() == name.casefold()
    ]


class Whereabouts(Protocol):
    """What `Targets` must know of signs besides the registry."""

    def stops_of(self, sign: str) -> Sequence[str]: ...
    def known_signs(self) -> Iterable[str]: ...


class Targets:
    """Finds the stops and signs of a target. ``network`` gives the timetable of the moment."""

    def __init__(self, registry: SignRegistry, whereabouts: Whereabouts, network: Callable[[], Network]) -> None:
        self._registry, self._whereabouts, self._network = registry, whereabouts, network

    def check(self, target: Target) -> None:
        """`BadEntry` if there is nothing of that name (now)."""
        network = self._network()
        if target.kind == "line" and not routes_of(target.name, network):
            raise BadEntry(f"no line {target.name!r} in the timetable")
        if target.kind == "stop" and network.find_stop(target.name) is None:
            raise BadEntry(f"no stop {target.name!r} in the timetable")
        if target.kind == "group" and target.name not in self._registry.groups():
            raise BadEntry(f"no sign is in a group {target.name!r}")
        if target.kind == "sign" and target.name not in set(self._whereabouts.known_signs()):
            raise BadEntry(f"no sign {target.name!r}; add it first: busd signs add {target.name}")

    def stops(self, target: Target) -> list[str]:
        """Stop ids whose boards a target of kind stop, group or sign means."""
        if target.kind == "stop":
            return [target.name]
        found = dict.fromkeys(stop for sign in self.signs(target) for stop in self._whereabouts.stops_of(sign))
        return list(found)

    def routes(self, target: Target) -> list[tuple[str, int | None]]:
        if target.kind != "line":
            return []
        return [(route_id, target.direction_id) for route_id in routes_of(target.name, self._network())]

    def signs(self, target: Target) -> Iterator[str]:
        """The signs that a target means."""
        where = self._whereabouts
        match target.kind:
            case "all":
                yield from where.known_signs()
            case "sign":
                yield target.name
            case "group":
                yield from (record.sign for record in self._registry.signs if target.name in record.groups)
            case _:
                stops = {target.name} if target.kind == "stop" else self._stops_of_line(target)
                yield from (sign for sign in where.known_signs() if not stops.isdisjoint(where.stops_of(sign)))

    def _stops_of_line(self, target: Target) -> set[str]:
        network = self._network()
        routes = {row for route_id, _ in self.routes(target) if (row := network.find_route(route_id)) is not None}
        found: set[str] = set()
        for pattern, route in enumerate(network.pattern_route.tolist()):
            if route in routes and target.direction_id in (None, int(network.pattern_direction[pattern])):
                rows = network.pattern_stop[network.pattern_rows(pattern)].tolist()
                found.update(network.stop_id[row] for row in rows)
        return found
