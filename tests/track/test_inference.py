"""Vehicles that name no trip: what is inferred of them, from maps and fixes."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.days import Timetable
from busd.engine import Engine, grid
from busd.parameters import Parameters
from busd.track.service import Service
from busd.types import NetworkLoaded, Phase, PositionReceived, Progress, Started, Tick, TripHint, VehiclePosition
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import MapFrame, frame_of_map, network_from_map

MAP = """
A---B---C---D---E
                |
                F
"""
FRAME = frame_of_map(MAP, cell_m=150.0)
DAY = "20260302"
SPEED = 8.0


class Fleet:
    """An engine and buses that drive between letters of the map."""

    def __init__(self, network: Network, frame: MapFrame = FRAME, **tracking: float) -> None:
        self.network, self.frame = network, frame
        p = msgspec.structs.replace(Parameters(), tracking=msgspec.structs.replace(Parameters().tracking, **tracking))
        self.engine = Engine(lambda digest: network, p, boards=False)
        self.start = service_day_start(DAY, network.timezone)
        self.at = self.start + 7 * 3600
        self.engine.apply(Started(self.at, "e"))
        self.engine.apply(NetworkLoaded(self.at, network.digest))

    def report(self, at: float, vehicle: str, place: tuple[float, float], hint: TripHint | None = None) -> Progress:
        position = VehiclePosition("t", vehicle, *place, self.start + at, self.start + at, hint=hint)
        self.engine.apply(PositionReceived(self.start + at, position))
        self.engine.apply(Tick(grid(self.start + at)))
        return next(p for p in self.engine.progress() if p.vehicle_id == vehicle)

    def drive(
        self,
        at: float,
        vehicle: str,
        letters: str,
        step_s: float = 20.0,
        speed: float = SPEED,
        hint: TripHint | None = None,
    ) -> list[Progress]:
        """Along straight lines from letter to letter, a report every ``step_s``."""
        xy = [self.frame.cells[letter] for letter in letters]
        legs = [float(np.hypot(b[0] - a[0], b[1] - a[1])) for a, b in itertools.pairwise(xy)]
        out, gone = [], 0.0
        while gone <= sum(legs):
            k, rest = 0, gone
            while k < len(legs) - 1 and rest > legs[k]:
                rest -= legs[k]
                k += 1
            place = self.frame.between(letters[k], letters[k + 1], rest / legs[k])
            out.append(self.report(at + gone / speed, vehicle, place, hint))
            gone += step_s * speed
        return out

    def trip(self, progress: Progress) -> str:
        return "" if progress.trip is None else self.network.trip_id[progress.trip.trip_idx]


def test_line_and_direction_come_from_the_way_the_bus_goes() -> None:
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE", "1b": "EDCBA"}, trips=3, headway_s=600, cell_m=150.0))
    there = fleet.drive(8 * 3600, "bus1", "ABCDE")
    assert {fleet.trip(p) for p in there[3:-2]} == {"1-0"}
    back = fleet.drive(8 * 3600 + 605, "bus2", "EDCBA")
    assert {fleet.trip(p) for p in back[3:-2]} == {"1b-1"}


def test_a_branch_is_known_once_the_bus_has_taken_it() -> None:
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE", "2": "ABCDEF"}, trips=1, cell_m=150.0))
    seen = fleet.drive(8 * 3600, "bus1", "ABCDEF")
    assert fleet.trip(seen[-2]) == "2-0"


def test_one_run_belongs_to_one_bus() -> None:
    """Two buses of a line, both late by half a headway: the second is not on the run of the first."""
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE"}, trips=4, headway_s=600, cell_m=150.0))
    first = fleet.drive(8 * 3600 + 200, "bus1", "ABCDE")
    second = fleet.drive(8 * 3600 + 260, "bus2", "ABCDE")
    assert fleet.trip(first[-3]) == "1-0"
    assert fleet.trip(second[-3]) != "1-0"


def test_buses_of_a_line_are_in_the_order_of_their_runs() -> None:
    """First seen on the way, all late: the first fits the second's run best, and takes it before the second is seen."""
    frame = frame_of_map(MAP, cell_m=1000.0)
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE"}, trips=3, headway_s=720, cell_m=1000.0), frame)
    shown = {}
    for i in range(24):
        at = 8 * 3600 + 2000 + 30 * i
        for vehicle, late_s in (("first", 700), ("third", -20), ("second", 560)):
            run = ("first", "second", "third").index(vehicle)
            share = (2000 + 30 * i - late_s - 720 * run) * SPEED / 16000
            if 0.02 < share < 0.95 and (vehicle == "first" or i > 1):
                shown[vehicle] = fleet.trip(fleet.report(at, vehicle, frame.between("A", "E", share)))
    assert shown == {"first": "1-0", "second": "1-1", "third": "1-2"}


def test_a_bus_far_from_every_line_is_on_no_run() -> None:
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE"}, trips=3, headway_s=600, cell_m=150.0))
    for i in range(30):
        progress = fleet.report(8 * 3600 + 30 * i, "ferry", FRAME.beside("A", 3000.0 + 100 * i, 5000.0))
    assert progress.trip is None
    assert progress.phase in (Phase.DEADHEAD, Phase.OTHER)


def test_a_bus_that_waits_before_its_departure_is_in_layover() -> None:
    fleet = Fleet(network_from_map(MAP, {"1": "ABCDE"}, trips=3, headway_s=600, cell_m=150.0))
    for i in range(10):
        progress = fleet.report(8 * 3600 - 400 + 30 * i, "bus1", FRAME.beside("A", 20.0, 10.0 + i % 3))
    assert fleet.trip(progress) == "1-0"
    assert progress.phase is Phase.LAYOVER


BLOCK_MAP = """
A---B---C---D---E---G
                |   |
                F---H
"""


def test_a_bus_that_stands_at_its_last_stop_has_arrived_though_its_shape_goes_on_round_the_block() -> None:
    """It cuts the loop short, or the shape is drawn wrong: once the timetable fits no more, it is the next run's."""
    lines = {"1": "ABCDEGHFE", "1/back": "EDCBA"}
    network = network_from_map(BLOCK_MAP, lines, trips=4, headway_s=3000, cell_m=150.0)
    fleet = Fleet(network, frame_of_map(BLOCK_MAP, cell_m=150.0))
    there = fleet.drive(8 * 3600, "bus1", "ABCDE")
    assert {fleet.trip(p) for p in there[3:-2]} == {"1-0"}
    for i in range(80):
        progress = fleet.report(8 * 3600 + 320 + 30 * i, "bus1", fleet.frame.beside("E", 3.0, i % 3))
    assert fleet.trip(progress) == "1/back-1"
    assert progress.phase is Phase.LAYOVER
    assert progress.probability is not None


def test_a_bus_that_stays_at_its_last_stop_waits_for_its_next_run() -> None:
    """Its next run leaves so late that going home is as likely, when it arrives."""
    lines = {"1": "ABCDE", "1/back": "EDCBA"}
    network = network_from_map(MAP, lines, trips=2, headway_s=2700, cell_m=150.0)
    fleet = Fleet(network, next_early_s=60.0)
    assert fleet.trip(fleet.drive(8 * 3600, "bus1", "ABCDE")[-2]) == "1-0"
    shown = [
        fleet.trip(fleet.report(8 * 3600 + 320 + 60 * i, "bus1", fleet.frame.beside("E", 3.0, i % 3)))
        for i in range(20)
    ]
    assert shown[0] == "1-0"
    assert set(shown[10:]) == {"1/back-1"}


TWO_STREETS = """
A---B---C---D---E---F---G---H---I
        |   |       |       |
        p---q-------r-------s
                    |
                    |
                    |
                    |
                    u
"""


def test_a_bus_on_the_next_street_is_on_a_detour_of_its_run() -> None:
    """Nobody names its trip; it leaves its line for the street beside it, and comes back: it is the same run."""
    network = network_from_map(TWO_STREETS, {"1": "ABCDEFGHI"}, cell_m=120.0)
    fleet = Fleet(network, frame_of_map(TWO_STREETS, cell_m=120.0))
    shown = fleet.drive(8 * 3600, "bus1", "ABCpqrsHI")
    assert {fleet.trip(p) for p in shown[3:-2]} == {"1-0"}
    assert {p.phase for p in shown[4:-2]} == {Phase.IN_SERVICE}
    assert len({p.distance_m for p in shown[7:-6]}) == 1, "beside its shape it has no new place on it"


@pytest.mark.parametrize(
    ("way", "why"),
    [
        ("ABCpqru", "it has gone home beyond the next street"),
        ("ABCpq", "it stands in the next street"),
        ("ABCpqpqpqpqpqpq", "it drives to and fro in the next street"),
    ],
)
def test_a_bus_that_makes_no_way_beside_its_line_has_left_it(way: str, why: str) -> None:
    network = network_from_map(TWO_STREETS, {"1": "ABCDEFGHI"}, cell_m=120.0)
    fleet = Fleet(network, frame_of_map(TWO_STREETS, cell_m=120.0))
    shown = fleet.drive(8 * 3600, "bus1", way)
    assert fleet.trip(shown[4]) == "1-0"
    for i in range(20):
        last = fleet.report(8 * 3600 + 20 * (len(shown) + i), "bus1", fleet.frame.beside(way[-1], i % 2, 0.0))
    assert fleet.trip(last) == "", why


GARAGE = """
A---B---C---D---E
            |
            |
            g
"""


def test_where_one_bus_has_parked_all_know_a_garage() -> None:
    """Of one that has just come in, nothing but the place says so; and it has left the line for good."""
    network = network_from_map(GARAGE, {"1": "ABCDE"}, trips=2, headway_s=3600, cell_m=120.0)
    fleet = Fleet(network, frame_of_map(GARAGE, cell_m=120.0))
    for i in range(60):
        parked = fleet.report(7.2 * 3600 + 20 * i, "bus1", fleet.frame.beside("g", i % 3, 0.0))
    assert parked.phase is Phase.OTHER
    for i in range(3):
        seen = fleet.report(8 * 3600 + 20 * i, "bus2", fleet.frame.beside("g", 40.0 * i, 0.0))
        assert seen.phase is Phase.OTHER
    way = fleet.drive(9 * 3600, "bus3", "ABCDg")
    assert fleet.trip(way[8]) == "1-1"
    assert (fleet.trip(way[-1]), way[-1].phase) == ("", Phase.OTHER)


def test_a_run_of_a_service_without_a_day_is_found_where_nothing_else_fits() -> None:
    """Shuttles and extra buses are often in no calendar. Those of another day, or too many of them, are not looked at."""
    calendar = "service_id,monday,tuesday,wednesday,thursday,friday,saturday,sunday,start_date,end_date\n"
    never, sunday = "daily,0,0,0,0,0,0,0,20260101,20261231\n", "daily,0,0,0,0,0,0,1,20260101,20261231\n"
    for days, most, expected in ((never, 1.0, "1-0"), (never, 0.5, ""), (sunday, 1.0, "")):
        network = network_from_map(MAP, {"1": "ABCDE"}, cell_m=150.0, tables={"calendar.txt": calendar + days})
        fleet = Fleet(network, unplanned_share=most)
        there = fleet.drive(8 * 3600, "bus1", "ABCDE")
        assert {fleet.trip(p) for p in there[3:-2]} == {expected}
        other = Fleet(network, unplanned_share=most)
        named = other.drive(8 * 3600, "bus1", "ABCDE", hint=TripHint(trip_id="of another timetable"))
        assert {other.trip(p) for p in named} == {""}, "its source names trips, and does not name this one"


def test_a_trip_that_does_not_fit_is_not_believed_for_long() -> None:
    network = network_from_map(MAP + "\n\nX---Y---Z", {"1": "ABCDE", "2": "XYZ"}, trips=3, headway_s=600, cell_m=150.0)
    frame = frame_of_map(MAP + "\n\nX---Y---Z", cell_m=150.0)
    fleet = Fleet(network, frame)
    wrong = TripHint(trip_id="2-0")
    last = None
    for i in range(16):
        place = frame.between("A", "E", min(i * 0.06, 1.0))
        last = fleet.report(8 * 3600 + 20 * i, "bus1", place, wrong)
    assert last is not None and fleet.trip(last) == "1-0"


def test_a_trip_that_fits_the_street_and_never_the_timetable_is_doubted() -> None:
    """Its source names the trip of a later bus of the line, which takes it over when it comes; one that is late is not
    taken for the bus behind it."""
    network = network_from_map(MAP, {"1": "ABCDE"}, trips=3, headway_s=2700, cell_m=150.0)
    fleet = Fleet(network)
    early = fleet.drive(8 * 3600, "bus1", "ABCDE", hint=TripHint(trip_id="1-1"))
    assert [fleet.trip(p) for p in early[2:5]] == ["1-1"] * 3, "near its terminal it may be waiting"
    assert {fleet.trip(p) for p in early[9:-1]} == {"1-0"}
    right = fleet.drive(8 * 3600 + 2700, "bus2", "ABCDE", hint=TripHint(trip_id="1-1"))
    assert {fleet.trip(p) for p in right[1:-1]} == {"1-1"}
    late = fleet.drive(8 * 3600 + 2 * 2700 + 2500, "bus3", "ABCDE", hint=TripHint(trip_id="1-2"))
    assert {fleet.trip(p) for p in late[1:-1]} == {"1-2"}


def test_what_a_source_has_lost_survives_its_being_right_again_and_a_restart() -> None:
    network = network_from_map(MAP, {"1": "ABCDE"}, trips=4, headway_s=2700, cell_m=150.0)
    fleet = Fleet(network)
    fleet.drive(8 * 3600, "bus1", "ABCDE", hint=TripHint(trip_id="1-3"))
    lost = [float(fleet.engine.tracker.inference.hypotheses.beliefs.doubted[0])]
    for k in (1, 2):
        seen = fleet.drive(8 * 3600 + 2700 * k, "bus1", "ABCDE", hint=TripHint(trip_id=f"1-{k}"))
        assert {fleet.trip(p) for p in seen[2:-1]} == {f"1-{k}"}
        fleet.engine = Engine.restore(fleet.engine.snapshot(), lambda digest: network)
        fleet.engine.makes_boards = False
        lost.append(float(fleet.engine.tracker.inference.hypotheses.beliefs.doubted[0]))
    assert lost[0] > lost[1] > lost[2] > 0.0, "each run that it keeps gives a little back"


def test_what_is_believed_survives_a_restart_exactly() -> None:
    network = network_from_map(MAP, {"1": "ABCDE", "1b": "EDCBA"}, trips=4, headway_s=300, cell_m=150.0)
    one, other = Fleet(network), Fleet(network)
    for fleet in (one, other):
        fleet.drive(8 * 3600, "bus1", "ABC")
    other.engine = Engine.restore(other.engine.snapshot(), lambda digest: network)
    other.engine.makes_boards = False
    for at, place in ((140, FRAME.between("C", "D", 0.3)), (170, FRAME.at("D")), (200, FRAME.between("D", "E", 0.9))):
        assert one.report(8 * 3600 + at, "bus1", place) == other.report(8 * 3600 + at, "bus1", place)
    assert one.engine.snapshot() == other.engine.snapshot()


@given(st.integers(0, 6000), st.integers(0, 3000), st.integers(0, 4))
def test_runs_of_a_pattern_in_a_window_are_those_of_the_slow_twin(low: int, width: int, pattern: int) -> None:
    network = NETWORK
    service = SERVICE
    pattern %= len(network.pattern_route)
    base = service_day_start(DAY, network.timezone) + 28000
    _, found = service.runs_of_patterns(np.array([pattern]), np.array([base + low]), np.array([base + low + width]))
    slow = [
        n
        for n in range(service.count)
        if service.pattern[n] == pattern and base + low <= service.starts_at[n] <= base + low + width
    ]
    assert sorted(found.tolist()) == slow


@given(st.floats(-200, 2600), st.floats(-500, 300), st.integers(0, 5000))
def test_runs_that_start_near_a_point_are_those_of_the_slow_twin(x: float, y: float, low: int) -> None:
    network, service = NETWORK, SERVICE
    base = service_day_start(DAY, network.timezone) + 28000
    _, found = service.runs_near(
        np.array([x]), np.array([y]), 400.0, np.array([base + low]), np.array([base + low + 1200])
    )
    first = network.pattern_stop[network.pattern_stop_offset[service.pattern]]
    near = np.hypot(network.stop_x[first] - x, network.stop_y[first] - y) <= 400.0
    within = (service.starts_at >= base + low) & (service.starts_at <= base + low + 1200)
    assert sorted(found.tolist()) == np.flatnonzero(near & within).tolist()


def _service(network: Network) -> Service:
    p = Parameters()
    timetable = Timetable(network, p.boards.max_late_s, p.boards.horizon_s)
    timetable.advance(service_day_start(DAY, network.timezone) + 8 * 3600)
    return Service(network, timetable.days.values())


NETWORK = network_from_map(MAP, {"1": "ABCDE", "1b": "EDCBA", "2": "ABCDEF"}, trips=9, headway_s=420, cell_m=150.0)
SERVICE = _service(NETWORK)
assert SERVICE.count >= 27


@pytest.mark.parametrize("behind_s", [-60.0, 0.0, 240.0])
def test_being_early_weighs_more_than_being_late(behind_s: float) -> None:
    from busd.track.evidence import Punctuality

    fit = Punctuality(Parameters().tracking).fit
    late, early = fit(np.array([abs(behind_s) + 60.0])), fit(np.array([-abs(behind_s) - 60.0]))
    assert late[0] > early[0]


def test_scales_are_learned_from_the_fleet() -> None:
    from busd.track.evidence import Punctuality

    learned = Punctuality(Parameters().tracking)
    rng = np.random.default_rng(5)
    for _ in range(400):
        deviation = (
            np.where(rng.random(50) < 0.45, -1, 1) * 400 * np.abs(rng.standard_t(Parameters().tracking.freedom, 50))
        )
        learned.observe(deviation, np.ones(50))
    assert 330 < learned.early_s < 450 and 400 < learned.late_s < 520
