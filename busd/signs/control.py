"""The operators' hand on the fleet: what they order is kept, noted in the audit log, and made true.

Messages and suppressions become `OperatorCommand`s, so the engine puts them on boards, and a replay of the journal has
them too. Modes go to the sign door. Both are worked out anew from the orders whenever orders, signs or the timetable
change (`reconcile`), so there is one way for everything: also after a restart or a lost snapshot.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from busd.clock import Clock
from busd.errors import BusdError
from busd.notices import Notice, Notices, Suppression, day_ends
from busd.shelf import AuditEntry, Shelf, Store
from busd.sign_registry import BadEntry, ImportReport, Operator, Role, SignRecord, SignRegistry
from busd.signs.alarms import Alarm
from busd.signs.condition import SignHealth
from busd.signs.health import FleetHealth
from busd.signs.modes import Mode, SignModes
from busd.signs.orders import (
    MAX_ORDERS,
    MessageOrder,
    MessageRequest,
    ModeOrder,
    ModeRequest,
    SuppressionOrder,
    SuppressionRequest,
)
from busd.signs.targets import Targets, parse_target
from gtfs.network import Network

log = structlog.get_logger(__name__)
WRITE_S = 5
TURNS = 5
"""a second: the fleet is looked at in slices small enough not to be felt"""
T = TypeVar("T", bound=msgspec.Struct)

Command = tuple[str, dict[str, Any], str]
"""name, args and operator of an `OperatorCommand`"""


class Actor(msgspec.Struct, frozen=True):
    """Who is asking."""

    name: str
    role: Role


class Counter(msgspec.Struct):
    last: int = 0


class SignControl:
    """``submit`` hands commands to the line; ``notices`` is what the engine holds now; ``network`` the timetable now.

    Everything happens on the loop's thread; only `save` waits for the disk, in another one."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        network: Callable[[], Network],
        notices: Callable[[], Notices],
        submit: Callable[[Sequence[Command]], None],
        silence_s: float = 45.0,
    ) -> None:
        self.store, self.clock = store, clock
        self._network, self._notices, self._submit = network, notices, submit
        self.registry = SignRegistry(store)
        self.modes = SignModes()
        self.health = FleetHealth(store, self.registry, clock, silence_s, lambda: network().timezone, self._is_muted)
        self.targets = Targets(self.registry, self.health, network)
        self.messages: Shelf[MessageOrder] = store.shelf("message", MessageOrder)
        self.mode_orders: Shelf[ModeOrder] = store.shelf("mode", ModeOrder)
        self.suppressions: Shelf[SuppressionOrder] = store.shelf("suppression", SuppressionOrder)
        self._counters: Shelf[Counter] = store.shelf("counter", Counter)
        self._digest = ""

    # ---- making it true ------------------------------------------------------------------------------------------------

    def reconcile(self) -> None:
        """Bring the engine's orders and the signs' modes in line with what is on the shelves."""
        now = self.clock.now()
        self._digest, self.health.stops_changed = self._network().digest, False
        commands = [*self._message_commands(now), *self._suppression_commands(now)]
        if commands:
            self._submit(commands)
        for sign in self.modes.replace(self._wanted_modes(now), now):
            self.health.changed[sign] = None

    def _message_commands(self, now: float) -> Iterable[Command]:
        held = self._notices().messages
        wanted = {
            order.message_id: (self._notice(order), order.set_by)
            for order in self.messages
            if order.end_at is None or order.end_at > now
        }
        yield from (("message.end", {"notice_id": key}, "") for key in held if key not in wanted)
        for key, (notice, by) in wanted.items():
            if held.get(key) != notice:
                yield "message", msgspec.to_builtins(notice), by

    def _notice(self, order: MessageOrder) -> Notice:
        targets = [parse_target(text) for text in order.targets]
        everywhere = any(target.kind == "all" for target in targets)
        stops = dict.fromkeys(s for t in targets if t.kind not in ("all", "line") for s in self.targets.stops(t))
        routes = dict.fromkeys(route for target in targets for route in self.targets.routes(target))
        return Notice(
            order.message_id,
            order.text,
            order.priority,
            order.takeover,
            () if everywhere else tuple(stops),
            () if everywhere else tuple(routes),
            everywhere,
            order.start_at,
            order.end_at,
            tuple(("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(day) for day in order.days),
        )

    def _suppression_commands(self, now: float) -> Iterable[Command]:
        held = self._notices().suppressions
        wanted = {
            suppression.key: (suppression, order.set_by)
            for order in self.suppressions
            if order.until_at > now
            for route_id, direction_id in self.targets.routes(parse_target(order.target))
            if (suppression := Suppression(route_id, direction_id, order.until_at))
        }
        yield from (("suppress.end", {"key": key}, "") for key in held if key not in wanted)
        for key, (suppression, by) in wanted.items():
            if held.get(key) != suppression:
                yield "suppress", msgspec.to_builtins(suppression), by

    def _wanted_modes(self, now: float) -> dict[str, Mode]:
        """The narrowest order counts for a sign; of two as narrow, the newer one."""
        chosen: dict[str, ModeOrder] = {}
        live = [order for order in self.mode_orders if order.until_at is None or order.until_at > now]
        for order in sorted(live, key=lambda o: (parse_target(o.target).rank, o.set_at)):
            chosen |= dict.fromkeys(self.targets.signs(parse_target(order.target)), order)
        return {sign: Mode.of(o.mode, o.text, o.set_at) for sign, o in chosen.items() if o.mode != "auto"}

    def _is_muted(self, sign: str) -> bool:
        mode = self.modes.of(sign)
        return mode is not None and mode.mode in ("off", "out_of_order")

    # ---- orders --------------------------------------------------------------------------------------------------------

    def set_message(self, request: MessageRequest, actor: Actor) -> MessageOrder:
        """A new message, or another wording of the one that ``message_id`` names."""
        old = None
        if request.message_id is not None:
            old = self.messages.find(request.message_id)
            if old is None:
                raise BadEntry(f"no message {request.message_id[:40]!r}")
        elif len(self.messages) >= MAX_ORDERS:
            raise BadEntry(f"{MAX_ORDERS} messages are set; end some first")
        order = request.order(request.message_id or f"m{self._next('message')}", actor.name, self.clock.now())
        for target in order.targets:
            self.targets.check(parse_target(target))
        self.messages.put(order.message_id, order)
        self._noted(actor, "message.set", order.message_id, old, order)
        return order

    def end_message(self, message_id: str, actor: Actor) -> bool:
        old = self.messages.drop(message_id)
        if old is not None:
            self._noted(actor, "message.end", message_id, old, None)
        return old is not None

    def set_mode(self, request: ModeRequest, actor: Actor) -> ModeOrder:
        order = request.order(actor.name, self.clock.now())
        self.targets.check(parse_target(order.target))
        old = self.mode_orders.find(order.target)
        if old is None and len(self.mode_orders) >= 10 * MAX_ORDERS:
            raise BadEntry("too many modes are set; clear some, or use groups")
        self.mode_orders.put(order.target, order)
        self._noted(actor, "mode.set", order.target, old, order)
        return order

    def clear_mode(self, target: str, actor: Actor) -> bool:
        old = self.mode_orders.drop(str(parse_target(target)))
        if old is not None:
            self._noted(actor, "mode.clear", old.target, old, None)
        return old is not None

    def suppress(self, request: SuppressionRequest, actor: Actor) -> SuppressionOrder:
        now = self.clock.now()
        order = request.order(actor.name, now, day_ends(now, self._network().timezone))
        self.targets.check(parse_target(order.target))
        old = self.suppressions.find(order.target)
        self.suppressions.put(order.target, order)
        self._noted(actor, "suppress.set", order.target, old, order)
        return order

    def end_suppression(self, target: str, actor: Actor) -> bool:
        old = self.suppressions.drop(str(parse_target(target)))
        if old is not None:
            self._noted(actor, "suppress.end", old.target, old, None)
        return old is not None

    # ---- signs and people ------------------------------------------------------------------------------------------------

    def enter_sign(self, entry: Mapping[str, str], actor: Actor) -> SignRecord:
        old = self.registry.find(entry.get("sign", "").strip())
        record = self.registry.enter(entry, self.clock.now(), self._knows_stop)
        if record != old:
            self._noted(actor, "sign.set", record.sign, old, record)
        return record

    def import_signs(self, text: str, actor: Actor) -> ImportReport:
        report = self.registry.import_csv(text, self.clock.now(), self._knows_stop)
        if report.added or report.changed:
            self._noted(actor, "sign.import", f"{report.added} new, {report.changed} changed", None, report)
        return report

    def remove_sign(self, sign: str, actor: Actor) -> bool:
        record, health = self.registry.remove(sign), self.health.forget(sign)
        if record is not None or health is not None:
            self._noted(actor, "sign.remove", sign, record, None)
        return record is not None or health is not None

    def give_token(self, sign: str, actor: Actor) -> str:
        token = self.registry.give_token(sign)
        self._noted(actor, "sign.token", sign, None, None)
        return token

    def block_sign(self, sign: str, blocked: bool, actor: Actor) -> None:
        record = self.registry.find(sign)
        if record is None:
            raise BadEntry(f"no sign {sign[:60]!r} is entered; add it first")
        changed = msgspec.structs.replace(record, is_blocked=blocked)
        self.registry.signs.put(sign, changed)
        self._noted(actor, "sign.block" if blocked else "sign.unblock", sign, record, changed)

    def add_operator(self, name: str, role: str, actor: Actor) -> str:
        old = self.registry.operators.find(name.strip())
        token = self.registry.add_operator(name, role, self.clock.now())
        new = self.registry.operators.find(name.strip())
        self._noted(actor, "operator.set", name.strip(), old, new)
        return token

    def remove_operator(self, name: str, actor: Actor) -> bool:
        old = self.registry.operators.drop(name)
        if old is not None:
            self._noted(actor, "operator.remove", name, old, None)
        return old is not None

    def acknowledge(self, alarm_id: str, actor: Actor) -> Alarm | None:
        alarm = self.health.alarms.find(alarm_id)
        if alarm is not None:
            before = msgspec.structs.replace(alarm)
            self.health.alarms.acknowledge(alarm, actor.name, self.clock.now())
            self.health.changed[alarm.sign] = None
            self._noted(actor, "alarm.seen", f"{alarm.sign} {alarm.kind}", before, alarm)
        return alarm

    def note_command(self, sign: str, op: str, args: Mapping[str, Any], actor: Actor) -> None:
        """A ``cmd`` was sent to a sign."""
        self._noted(actor, f"sign.{op}", sign, None, dict(args))

    def sign(self, sign: str) -> tuple[SignRecord | None, SignHealth | None]:
        return self.registry.find(sign), self.health.find(sign)

    # ---- time and disk -------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """About once a second: what ends by itself, and targets that mean something else now."""
        now = self.clock.now()
        over = [
            *_expired(self.messages, lambda order: order.end_at, now),
            *_expired(self.mode_orders, lambda order: order.until_at, now),
            *_expired(self.suppressions, lambda order: order.until_at, now),
        ]
        if over or self.health.stops_changed or self._digest != self._network().digest:
            self.reconcile()

    async def run(self) -> None:
        """Look at signs, `tick` and write, for ever."""
        turns = 0
        while True:
            await asyncio.sleep(1.0 / TURNS)
            self.health.sweep()
            turns += 1
            if turns % TURNS == 0:
                self.tick()
            if turns % (TURNS * WRITE_S) == 0:
                try:
                    await self.save()
                except BusdError as error:
                    log.error("signs_not_written", error=str(error))

    async def save(self) -> None:
        """Write what has changed. BusdError: the disk refuses; it is kept in memory and tried again."""
        changes = self.store.take_changes()
        if changes is None:
            return
        try:
            await asyncio.to_thread(self.store.write_changes, changes)
        except sqlite3.Error as error:
            self.store.give_back(changes)
            raise BusdError(f"the disk refuses the change ({error}); it works until the next restart") from error

    def close(self) -> None:
        self.health.keep_all()
        try:
            self.store.close()
        except sqlite3.Error as error:
            log.error("signs_not_written", error=str(error))

    # ---- within --------------------------------------------------------------------------------------------------------

    def _noted(self, actor: Actor, what: str, target: str, before: object, after: object) -> None:
        """It is in the log of deeds, and in force."""
        entry = AuditEntry(
            self.clock.now(), actor.name, actor.role.name.lower(), what, target, _told(before), _told(after)
        )
        self.store.note(entry)
        log.info("operator", who=entry.who, what=what, target=target)
        self.reconcile()

    def _next(self, name: str) -> int:
        counter = self._counters.find(name) or Counter()
        counter.last += 1
        self._counters.put(name, counter)
        return counter.last

    def _knows_stop(self, stop_id: str) -> bool:
        return self._network().find_stop(stop_id) is not None


def _expired(shelf: Shelf[T], end_of: Callable[[T], float | None], now: float) -> list[str]:
    """Keys of orders that are over; they are taken off the shelf."""
    over = [key for key, order in shelf.items() if (end := end_of(order)) is not None and end <= now]
    for key in over:
        shelf.drop(key)
    return over


def _told(thing: object) -> Any:
    """As it goes into the log: whether there is a token, never which."""
    if not isinstance(thing, SignRecord | Operator):
        return None if thing is None else msgspec.to_builtins(thing)
    told: dict[str, Any] = msgspec.to_builtins(thing)
    told.pop("token", None)
    return told | {"has_token": bool(thing.token)}
