"""A small river city, boards made by hand, and a real server on a free port for the browser."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from aiohttp.test_utils import TestClient, TestServer

from busd.bus import BoardBus
from busd.clock import Clock, ManualClock, ScaledClock, SystemClock
from busd.config import WebConfig
from busd.signs.frames import FrameCache
from busd.types import (
    Basis,
    Board,
    BoardMessage,
    DatedTrip,
    Departure,
    LineAtStop,
    Phase,
    Progress,
    StopStatus,
)
from busd.web import WebServer, WebServices, create_app, start_web
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map, zip_from_map

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

START = 1_795_000_000.0 - 1_795_000_000.0 % 60
"""2026-11-18, in the morning in Shanghai; the city's timetable runs on that day"""
SERVICE_DATE = "20261118"
CHROMIUM = Path("/usr/bin/chromium")

MAP = """
    A--B--C--D--E--F
          |     |
    G--H--I--J--K--L
          |
          M
"""
LINES = {
    "1": "ABCDEF",
    "1/back": "FEDCBA",
    "K2": "GHIJKL",
    "K2/back": "LKJIHG",
    "旅游3路": "MICD",
    "旅游3路/back": "DCIM",
}
NAMES = {
    "A": ("西站什字", "Xizhan Cross", "ཞི་ཀྲན་འབབ་ཚུགས།"),
    "B": ("小西湖", "Xiaoxihu", None),
    "C": ("西关什字", "Xiguan Cross", "ཞི་ཀོན་འབབ་ཚུགས།"),
    "D": ("南关什字", "Nanguan Cross", None),
    "E": ("兰州大学", "Lanzhou University", "ལན་གྲུ་སློབ་ཆེན།"),
    "F": ("东岗", "Donggang", None),
    "G": ("七里河桥", "Qilihe Bridge", None),
    "H": ("中山桥", "Zhongshan Bridge", None),
    "I": ("白塔山公园", "Baita Mountain Park", None),
    "J": ("金城关", "Jincheng Pass", None),
    "K": ("雁滩", "Yantan", None),
    "L": ("火车站", "Railway Station", "མེ་འཁོར་འབབ་ཚུགས།"),
    "M": ("兰山 <公园>", "Lanshan & Park", None),
}
ROUTES = [
    ["1", "1", "西站 - 东岗", "3", "0055A4", "FFFFFF"],
    ["K2", "K2", "七里河桥 - 火车站", "3", "FFD200", "FFFFFF"],  # white on yellow: unreadable on purpose
    ["旅游3路", "旅游3路", "兰山 - 南关", "3", "", ""],
]


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def make_network() -> Network:
    frame = frame_of_map(MAP, 400.0)
    stops: list[list[object]] = [["stop_id", "stop_code", "stop_name", "stop_lat", "stop_lon"]]
    translations: list[list[object]] = [
        ["table_name", "field_name", "language", "translation", "record_id", "field_value"]
    ]
    for place, (letter, (zh, en, bo)) in enumerate(NAMES.items()):
        stops.append([letter, f"10{place:02d}", zh, *(f"{x:.6f}" for x in frame.at(letter))])
        for lang, text in (("en", en), ("bo", bo)):
            if text is not None:
                translations.append(["stops", "stop_name", lang, text, letter, ""])
                translations.append(["trips", "trip_headsign", lang, text, "", zh])
    times: dict[str, Any] = {"start": "06:30:00", "headway_s": 600, "trips": 40, "days": ("20260101", "20271231")}
    drawn = zipfile.ZipFile(io.BytesIO(zip_from_map(MAP, LINES, cell_m=400.0, **times)))
    trips = [dict(row) for row in csv.DictReader(io.StringIO(drawn.read("trips.txt").decode()))]
    for row in trips:
        row["trip_headsign"] = NAMES[row["trip_headsign"]][0]
    return network_from_map(
        MAP,
        LINES,
        cell_m=400.0,
        **times,
        tables={
            "stops.txt": _csv(stops),
            "routes.txt": _csv(
                [
                    [
                        "route_id",
                        "route_short_name",
                        "route_long_name",
                        "route_type",
                        "route_color",
                        "route_text_color",
                    ],
                    *ROUTES,
                ]
            ),
            "trips.txt": _csv([list(trips[0]), *(list(row.values()) for row in trips)]),
            "translations.txt": _csv(translations),
        },
    )


@dataclass
class World:
    """A city with a bus, whose boards and buses the test decides."""

    network: Network
    clock: Clock
    bus: BoardBus
    vehicles: list[Progress] = field(default_factory=list)
    health: dict[str, Any] = field(
        default_factory=lambda: {"ok": True, "position_age_s": 3, "boards": 1, "uptime_s": 9}
    )
    revs: dict[str, int] = field(default_factory=dict)

    def services(self, **more: Any) -> WebServices:
        return WebServices(
            bus=self.bus,
            frames=FrameCache(self.bus),
            clock=self.clock,
            vehicles=lambda: self.vehicles,
            health=lambda: self.health,
            **{"tick_s": 0.05, **more},
        )

    def trip(self, trip_id: str) -> DatedTrip:
        row = self.network.find_trip(trip_id)
        assert row is not None
        return DatedTrip(row, SERVICE_DATE)

    def stop_pos(self, trip: DatedTrip, stop_id: str) -> int:
        stop = self.network.find_stop(stop_id)
        pattern = int(self.network.trip_pattern[trip.trip_idx])
        return int(self.network.pattern_stop[self.network.pattern_rows(pattern)].tolist().index(stop))

    def departure(self, stop_id: str, trip_id: str, in_s: float | None, **more: Any) -> Departure:
        """A departure ``in_s`` seconds from now, as a prediction (default) or, with ``basis``, as something else."""
        trip = self.trip(trip_id)
        now = self.clock.now()
        basis = more.get("basis", Basis.REALTIME)
        at = None if in_s is None else now + in_s
        values: dict[str, Any] = {
            "trip": trip,
            "stop_pos": self.stop_pos(trip, stop_id),
            "route_idx": int(self.network.pattern_route[int(self.network.trip_pattern[trip.trip_idx])]),
            "headsign_idx": int(self.network.trip_headsign[trip.trip_idx]),
            "sched_at": None if at is None else at - 30,
            "pred_at": at if basis is not Basis.SCHEDULE else None,
            "low_at": None if at is None or basis is Basis.SCHEDULE else at - 20,
            "high_at": None if at is None or basis is Basis.SCHEDULE else at + 40,
            "basis": basis,
            "status": StopStatus.OK,
        }
        return Departure(**{**values, **more})

    def board(self, stop_id: str, *departures: Departure, **more: Any) -> Board:
        """The next board of a stop, in the order given; its lines are those of the departures."""
        self.revs[stop_id] = self.revs.get(stop_id, 0) + 1
        stop_idx = self.network.find_stop(stop_id)
        assert stop_idx is not None
        now = self.clock.now()
        pairs = dict.fromkeys((d.route_idx, d.headsign_idx) for d in departures)
        values: dict[str, Any] = {
            "stop_idx": stop_idx,
            "epoch": "e1",
            "rev": self.revs[stop_id],
            "at": now,
            "ttl_s": 90.0,
            "state": "live",
            "departures": departures,
            "lines": [LineAtStop(r, h, now - 3600 * 2, now + 3600 * 8) for r, h in pairs],
        }
        return Board(**{**values, **more})

    def progress(self, vehicle_id: str, trip_id: str, distance_m: float, **more: Any) -> Progress:
        """A bus on its line, ``distance_m`` from the start of the shape."""
        trip = self.trip(trip_id)
        network = self.network
        pattern = int(network.trip_pattern[trip.trip_idx])
        points = network.shape_rows(int(network.pattern_shape[pattern]))
        metres = network.shape_m[points].tolist()
        lats, lons = network.shape_lat[points].tolist(), network.shape_lon[points].tolist()
        k = max(1, next((i for i, m in enumerate(metres) if m >= distance_m), len(metres) - 1))
        share = (distance_m - metres[k - 1]) / (metres[k] - metres[k - 1])
        stops = network.pattern_stop_m[network.pattern_rows(pattern)].tolist()
        values: dict[str, Any] = {
            "vehicle_idx": 0,
            "vehicle_id": vehicle_id,
            "lat": lats[k - 1] + share * (lats[k] - lats[k - 1]),
            "lon": lons[k - 1] + share * (lons[k] - lons[k - 1]),
            "measured_at": self.clock.now() - 4,
            "phase": Phase.IN_SERVICE,
            "trip": trip,
            "distance_m": distance_m,
            "offset_m": 2.0,
            "next_stop_pos": next((i for i, m in enumerate(stops) if m >= distance_m), None),
            "deviation_s": 65.0,
            "bearing_deg": 90.0,
        }
        return Progress(**{**values, **more})

    def message(self, text: dict[str, str], priority: int = 1) -> BoardMessage:
        return BoardMessage("m1", priority, text)


@pytest.fixture(scope="session")
def network() -> Network:
    return make_network()


@pytest.fixture
def world(network: Network) -> World:
    return World(network, ManualClock(START), BoardBus(network))


@pytest.fixture
async def client(world: World) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(create_app(world.services()))) as test_client:
        yield test_client


# ---- a real server and a real browser --------------------------------------------------------------------------------

T = TypeVar("T")


class LiveServer:
    """The web on its own thread's loop, so that the browser's synchronous driver can wait in this one."""

    def __init__(self, network: Network, **services: Any) -> None:
        clock = ScaledClock(services.get("speed", 1.0), SystemClock(), at=START)
        self.world = World(network, clock, BoardBus(network))
        self._services = self.world.services(**{"tick_s": 0.2, **services})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server: WebServer = self._run(self._open(0))
        self.url = self.server.url

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _open(self, port: int) -> WebServer:
        return await start_web(WebConfig(host="127.0.0.1", port=port), self._services)

    def call(self, work: Callable[[World], T]) -> T:
        """``work(world)`` on the server's thread."""

        async def inside() -> T:
            return work(self.world)

        return self._run(inside())

    def publish(self, make: Callable[[World], Sequence[Board]]) -> None:
        self.call(lambda world: world.bus.publish(make(world)))

    def stop(self) -> None:
        self._run(self.server.close())

    def start_again(self) -> None:
        """On the same port, as after a restart of the daemon."""
        self.server = self._run(self._open(self.server.port))

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def open_city(network: Network) -> Iterator[Callable[..., LiveServer]]:
    """``open_city(**fields of WebServices)`` serves the city on a free port until the end of the test."""
    servers: list[LiveServer] = []

    def go(**services: Any) -> LiveServer:
        servers.append(LiveServer(network, **services))
        return servers[-1]

    yield go
    for server in servers:
        server.close()


@pytest.fixture
def live(open_city: Callable[..., LiveServer]) -> LiveServer:
    return open_city(simulated=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"no browser at {CHROMIUM}: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page, and what it must not do: speak to other servers, complain in the console."""

    page: Page
    home: str
    foreign: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        def asked(url: str) -> None:
            if not url.startswith((self.home, self.home.replace("http", "ws", 1), "data:", "blob:")):
                self.foreign.append(url)

        self.page.on("request", lambda request: asked(request.url))
        self.page.on("websocket", lambda socket: asked(socket.url))
        self.page.on("pageerror", lambda problem: self.complaints.append(str(problem)))
        self.page.on(
            "console", lambda line: self.complaints.append(line.text) if line.type in ("error", "warning") else None
        )


@pytest.fixture
def visit(browser: Browser, live: LiveServer) -> Iterator[Callable[..., Visit]]:
    """``visit(path, **context options)`` opens a page that is checked at the end of the test."""
    contexts = []
    visits: list[Visit] = []

    def go(path: str = "/", city: LiveServer = live, expect_trouble: bool = False, **options: Any) -> Visit:
        settings = {"viewport": {"width": 1280, "height": 800}, "locale": "zh-CN", **options}
        context = browser.new_context(**settings)
        context.set_default_timeout(15_000)
        contexts.append(context)
        one = Visit(context.new_page(), city.url)
        one.watch()
        if not expect_trouble:
            visits.append(one)
        one.page.goto(city.url + path)
        return one

    yield go
    for context in contexts:
        context.close()
    for one in visits:
        assert one.foreign == []
        assert one.complaints == []
