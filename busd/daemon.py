"""The daemon: wires feeds -> line -> boards -> signs and web, and keeps house around them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from busd import metrics
from busd.bus import BoardBus
from busd.clock import Clock
from busd.config import Config
from busd.engine import Engine
from busd.errors import BusdError, JournalError
from busd.feeds import open_feeds
from busd.feeds.datum_watch import DatumWatch, Suspicion
from busd.feeds.intake import Roll
from busd.feeds.nmea_server import NmeaServer, serve_nmea
from busd.feeds.transport import Jt808Server, serve_jt808
from busd.history.priors import PriorsStore
from busd.history.service import Historian
from busd.journal import CrashGuard, Journal, write_snapshot
from busd.line import Line
from busd.networks import NetworkStore
from busd.parameters import Parameters
from busd.recovery import first_inputs, mark_clean, mark_running, recover
from busd.registry import DeviceRegistry
from busd.shelf import Store
from busd.signs.control import Command, SignControl
from busd.signs.hub import token_authenticator
from busd.signs.packs import PackShelf
from busd.signs.server import SignServer
from busd.track.datum_watch import ShapeDistance
from busd.track.events import Event
from busd.types import (
    BoardsChanged,
    NetworkLoaded,
    OperatorCommand,
    Output,
    PriorsLoaded,
    Progress,
    VehicleEvent,
    VehiclePosition,
)
from busd.web.admin import DeviceDoor
from busd.web.dispatch import DispatchDoor
from busd.web.push import PushDoor
from busd.web.server import WebServer, start_web
from busd.web.services import WebServices
from busd.web.signs_office import SignOffice
from gtfs.errors import GtfsError

log = structlog.get_logger(__name__)

LAG_CHECK_S = 0.5
STOP_FEEDS_S = 2.0
DATUM_LOOK_S = 2.0
PRIORS_LOOK_S = 2.0


@dataclass
class Daemon:
    """One running busd. `run` is its whole life; the attributes are for the demo, benches and tests."""

    config: Config
    clock: Clock
    store: NetworkStore = field(init=False)
    line: Line = field(init=False)
    bus: BoardBus = field(init=False)
    journal: Journal = field(init=False)
    signs: SignServer = field(init=False)
    packs: PackShelf = field(init=False)
    control: SignControl = field(init=False)
    web: WebServer = field(init=False)
    registry: DeviceRegistry = field(init=False)
    roll: Roll = field(default_factory=Roll)
    datums: DatumWatch = field(init=False)
    historian: Historian = field(init=False)
    priors: PriorsStore = field(init=False)
    jt808: Jt808Server | None = None
    nmea: list[NmeaServer] = field(default_factory=list)
    started: float = 0.0
    _tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    # ---- life --------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, ready: Callable[[Daemon], None] | None = None) -> None:
        """Start, serve until ``stop`` is set, end cleanly."""
        await self._start()
        try:
            if ready is not None:
                ready(self)
            await stop.wait()
        finally:
            await self._stop()

    async def _start(self) -> None:
        config, state_dir = self.config, self.config.state.dir
        self.started = self.clock.monotonic()
        self.store = NetworkStore(config.gtfs)
        network = await asyncio.to_thread(self.store.load)
        metrics.NETWORK_LOADS.labels("loaded").inc()
        parameters = engine_parameters(config)
        journal_dir = state_dir / "journal"
        guard = CrashGuard(journal_dir)
        self.priors = PriorsStore(state_dir / "priors")
        recovered = await asyncio.to_thread(recover, state_dir, journal_dir, self.store, parameters, guard, self.priors)
        if not recovered.engine.has_network:
            self.priors.taken = None  # an engine that knows nothing takes them anew
        mark_running(state_dir)
        engine = recovered.engine
        self.journal = Journal(
            journal_dir,
            {"parameters": parameters.digest, "network": network.digest},
            segment_bytes=config.state.segment_bytes,
        )
        self.bus = BoardBus(network)
        self.line = Line(engine, self.journal, self.clock, [self._publish], guard)
        self.line.applied_at = max(self.line.applied_at, engine.last_at)
        self.historian = Historian(
            config.history,
            state_dir / "history.sqlite",
            self.clock,
            lambda: self.line.applied_at,
            lambda: self.line.engine.network if self.line.engine.has_network else None,
        )
        self.historian.recall(recovered.visits)
        self.line.sinks.append(self.historian.sink)
        self.line.take(first_inputs(recovered, self.line.now(), network.digest))
        self._publish([BoardsChanged(list(engine.boards()))])
        with contextlib.suppress(JournalError):  # a restart soon after this one must not begin with nothing
            self._snapshot_now()
        log.info(
            "started",
            stops=len(network.stop_id),
            trips=len(network.trip_id),
            replayed=recovered.applied,
            epoch_continues=recovered.continues,
        )
        self.control = SignControl(
            Store(state_dir / "signs.sqlite"),
            self.clock,
            lambda: self.bus.network,
            lambda: self.line.engine.notices,
            self._order,
            silence_s=config.signs.hb + config.signs.grace / 2,
        )
        self.control.reconcile()
        authenticate = self.control.registry.authenticator(token_authenticator(config.signs))
        self.signs = SignServer(
            config.signs, self.bus, self.clock, authenticate, sink=self.control.health, modes=self.control.modes
        )
        self.signs.hub.may_connect = self.control.registry.may_connect
        self.control.modes.on_change(lambda _: self.signs.flush())  # after the sessions have heard of it
        self.packs = PackShelf(lambda: self.bus.network, self.clock)
        self.signs.frames.pack_note = self.packs.note
        await self.signs.start()
        self.registry = DeviceRegistry(state_dir / "registry.sqlite")
        self.datums = DatumWatch(datums_of(config))
        self.web = await start_web(config.web, self._services(engine))
        self.signs.hub.http = config.signs.http or config.web.public_url
        self.signs.hub.http_port = self.web.port
        await self._open_feeds()
        self.line.start()
        for job in (
            self._sync,
            self._snapshots,
            self._tidy,
            self._watch_timetable,
            self._watch_priors,
            self._watch_datums,
            self._watch_lag,
            self.packs.run,
            self.control.run,
        ):
            self._tasks.append(asyncio.create_task(job(), name=job.__name__))
        self._tasks.append(asyncio.create_task(self.historian.run(), name="history"))
        for task in self._tasks:
            task.add_done_callback(_report_end)

    def submit(self, positions: Sequence[VehiclePosition], historical: bool = False) -> None:
        """What every feed hands its positions to."""
        self.line.submit(positions, historical)
        self.datums.note(positions)

    def _order(self, commands: Sequence[Command]) -> None:
        """What operators order goes the way of every input, so a replay of the journal has it too."""
        at = self.line.now()
        self.line.take([OperatorCommand(at, name, args, operator) for name, args, operator in commands])

    async def _open_feeds(self) -> None:
        config = self.config
        if config.jt808.enabled:
            self.jt808 = await serve_jt808(config.jt808, self.submit, self.clock, self.registry)
        for receiver in config.nmea:
            server = await serve_nmea(receiver, self.submit, self.clock, self.registry.find_vehicle, self.roll)
            self.nmea.append(server)
        named = self.registry.find_vehicle
        for feed in open_feeds(config.feeds, self.submit, self.clock, vehicle_of=named, roll=self.roll):
            self._tasks.append(asyncio.create_task(feed.run(), name=f"feed {feed.config.name}"))

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.jt808 is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.jt808.close(), STOP_FEEDS_S)
        await asyncio.gather(*(server.close() for server in self.nmea))
        self.line.stop()
        await asyncio.gather(self.signs.stop(), self.web.close())
        self.registry.close()
        self.control.close()
        await self.historian.close()
        for last in (self.journal.sync, self._snapshot_now):
            try:
                last()
            except JournalError as error:
                log.error("state_not_kept", error=str(error))
        self.journal.close()
        mark_clean(self.config.state.dir)
        log.info("stopped")

    # ---- outputs -----------------------------------------------------------------------------------------------------

    def _publish(self, outputs: Sequence[Output]) -> None:
        engine = self.line.engine if hasattr(self, "line") else None
        if engine is not None and engine.has_network and engine.network is not self.bus.network:
            self.bus.rebind(engine.network)
        for output in outputs:
            if isinstance(output, BoardsChanged):
                self.bus.publish(output.boards)

    def _services(self, engine: Engine) -> WebServices:
        vehicles: Callable[[], Sequence[Progress]] = engine.progress
        return WebServices(
            bus=self.bus,
            frames=self.signs.frames,
            packs=self.packs,
            signs=SignOffice(self.control, self.config.web.admin_token, self.signs.hub.commands, self.signs.flush),
            clock=self.clock,
            vehicles=vehicles,
            health=self.health,
            quality=self.historian.quality,
            simulated=self.config.demo.simulated,
            speed=float(getattr(self.clock, "speed", 1.0)),
            push=PushDoor(self.config.push, self.submit, self.clock, self.registry.find_vehicle, self.roll),
            devices=DeviceDoor(
                self.registry,
                self.roll,
                self.clock,
                self.config.web.admin_token,
                lambda: self.jt808.connected() if self.jt808 is not None else [],
                self.datums.rows,
                lambda: self.jt808,
            ),
            dispatch=DispatchDoor(
                self.config.web.admin_token,
                engine.explain,
                engine.similar_vehicles,
                engine.detours,
                self.line.take,
                self.line.now,
            ),
        )

    def health(self) -> dict[str, Any]:
        """The JSON of /healthz."""
        engine = self.line.engine
        newest = engine.newest_position_at
        return {
            "ok": True,
            "vehicles": engine.live_vehicles,
            "position_age_s": None if newest is None else round(max(self.clock.now() - newest, 0.0), 1),
            "boards": sum(1 for _ in self.bus.boards()),
            "signs": self.signs.connected,
            "network": engine.network.digest[:12],
            "journal": self.journal.healthy,
            "uptime_s": round(self.clock.monotonic() - self.started, 1),
        }

    # ---- housekeeping ------------------------------------------------------------------------------------------------

    async def _sync(self) -> None:
        while True:
            await asyncio.sleep(self.config.state.fsync_s)
            try:
                await asyncio.to_thread(self.journal.sync)
            except JournalError as error:
                log.error("journal_sync", error=str(error))

    async def _snapshots(self) -> None:
        while True:
            await asyncio.sleep(self.config.state.snapshot_s)
            seq, state = self.journal.seq, self.line.engine.snapshot()
            try:
                await asyncio.to_thread(write_snapshot, self.journal.directory, seq, state)
            except JournalError as error:
                log.error("snapshot", error=str(error))

    def _snapshot_now(self) -> None:
        write_snapshot(self.journal.directory, self.journal.seq, self.line.engine.snapshot())

    async def _tidy(self) -> None:
        state = self.config.state
        while True:
            await asyncio.sleep(5.0)
            await asyncio.to_thread(
                self.journal.maintain, self.clock.now(), state.journal_max_bytes, state.journal_max_days
            )

    async def _watch_timetable(self) -> None:
        """A changed zip replaces the timetable; one that cannot be loaded leaves the old one serving."""
        every = self.config.gtfs.reload_s
        while every > 0:
            await asyncio.sleep(every)
            try:
                network = await asyncio.to_thread(self.store.load_changed)
            except GtfsError as error:
                metrics.NETWORK_LOADS.labels("failed").inc()
                log.error("timetable_refused", error=str(error), effect="the old one stays")
                continue
            if network is not None and network.digest != self.line.engine.network.digest:
                metrics.NETWORK_LOADS.labels("loaded").inc()
                self.line.take([NetworkLoaded(self.line.now(), network.digest)])
                log.info("timetable_replaced", digest=network.digest[:12], trips=len(network.trip_id))

    async def _watch_priors(self) -> None:
        """What `busd learn` has made is taken in as an input; what cannot be read is told once and left alone."""
        refused: str | None = None
        while True:
            digest: str | None = None
            try:
                digest = self.priors.current
                if digest is not None and digest not in (self.priors.taken, refused):
                    await asyncio.to_thread(self.priors, digest)
                    self.line.take([PriorsLoaded(self.line.now(), digest)])
                    self.priors.taken = digest
                    log.info("priors_taken", digest=digest[:12])
            except (BusdError, LookupError) as error:
                refused = digest
                log.error("priors_refused", error=str(error), effect="what was learned before stays")
            await asyncio.sleep(PRIORS_LOOK_S)

    async def _watch_datums(self) -> None:
        """Holds a few fixes of every source against the shapes; the tree of shapes is only built where there are any."""
        shapes: ShapeDistance | None = None
        network = None
        while True:
            await asyncio.sleep(DATUM_LOOK_S)
            if not self.datums.is_waiting:
                continue
            if network is not self.line.engine.network:
                network = self.line.engine.network
                shapes = await asyncio.to_thread(ShapeDistance, network)
                self.datums.forget()
            if shapes is not None:
                for suspicion in await asyncio.to_thread(self.datums.look, shapes):
                    self._suspect(suspicion)

    def _suspect(self, suspicion: Suspicion) -> None:
        event = VehicleEvent(self.clock.now(), "", Event.DATUM, f"{suspicion.source}: {suspicion.text}")
        for sink in self.line.sinks:
            sink([event])

    async def _watch_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_CHECK_S
            await asyncio.sleep(LAG_CHECK_S)
            metrics.LOOP_LAG.observe(max(loop.time() - due, 0.0))


def datums_of(config: Config) -> dict[str, str]:
    """Source -> the datum its coordinates are said to be in."""
    sources = (*((config.jt808,) if config.jt808.enabled else ()), *config.feeds, *config.push, *config.nmea)
    return {source.name: source.datum for source in sources}


def engine_parameters(config: Config) -> Parameters:
    """The engine's numbers with what the sign section says about boards."""
    import msgspec

    boards = msgspec.structs.replace(
        config.engine.boards, ttl_s=float(config.signs.ttl), hysteresis_s=config.signs.hysteresis
    )
    return msgspec.structs.replace(config.engine, boards=boards)


def _report_end(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_ended", task=task.get_name(), error=repr(error))


async def run_daemon(
    config: Config,
    clock: Clock,
    ready: Callable[[Daemon], None] | None = None,
    beside: Callable[[Daemon, asyncio.Event], Awaitable[None]] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. ``beside`` runs next to the daemon (the demo's fleet) and may set the event."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    daemon = Daemon(config, clock)

    def on_ready(it: Daemon) -> None:
        if beside is not None:
            task = asyncio.ensure_future(beside(it, stop))
            it._tasks.append(task)
            task.add_done_callback(_report_end)
        if ready is not None:
            ready(it)

    await daemon.run(stop, on_ready)


def serve(config: Config, clock: Clock, ready: Callable[[Daemon], None] | None = None) -> None:
    """`run_daemon` on uvloop where it is installed."""
    try:
        import uvloop

        runner: Callable[[Any], None] = uvloop.run
    except ImportError:
        runner = asyncio.run
    try:
        runner(run_daemon(config, clock, ready))
    except OSError as error:
        raise BusdError(f"cannot listen: {error.strerror or error}; is another busd running?") from error
