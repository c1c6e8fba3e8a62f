"""What the engine promises beyond the stories: snapshots, new timetables, deadlines, service days."""

from __future__ import annotations

import random

import pytest

from busd.engine import Engine, grid
from busd.errors import JournalError
from busd.parameters import Parameters, Predicting
from busd.tracking_parameters import Assigning
from busd.types import (
    Basis,
    Board,
    NetworkLoaded,
    Output,
    PositionReceived,
    Predicted,
    Rejected,
    Started,
    Tick,
    TripHint,
    VehicleEvent,
    VehiclePosition,
)
from gtfs.calendar import service_day_start
from gtfs.network import Network
from gtfs.testing import frame_of_map, network_from_map
from replay.digest import OutputDigest
from replay.grid import GridDriver

MAP = "A---B---C---D---E"
LINES = {"1": "ABCDE", "1/back": "EDCBA"}
NETWORK = network_from_map(MAP, LINES, trips=20, headway_s=300)
OTHER = network_from_map(MAP, {"1": "ABCDE", "2": "ACE"}, trips=20, headway_s=240)
PLACES = frame_of_map(MAP)
START = service_day_start("20260302", "Asia/Shanghai")


def networks(digest: str) -> Network:
    return {NETWORK.digest: NETWORK, OTHER.digest: OTHER}[digest]


def started(network: Network = NETWORK, at: float = START + 7.9 * 3600, parameters: Parameters | None = None) -> Engine:
    engine = Engine(networks, parameters)
    engine.apply(Started(at, "e1"))
    engine.apply(NetworkLoaded(at, network.digest))
    return engine


def day(seed: int, until: float = 1800) -> list[VehiclePosition]:
    """Ten buses out and back with noise, late and early, some reports twice, some wrong."""
    dice = random.Random(seed)
    out = []
    for k in range(10):
        line, way = ("1", "ABCDE") if k % 2 == 0 else ("1/back", "EDCBA")
        late = dice.uniform(-60, 240)
        for t in range(0, 260, 15):
            leg = min(t / 50, 3.999)
            place = PLACES.between(way[int(leg)], way[int(leg) + 1], leg % 1)
            lat, lon = place[0] + dice.gauss(0, 5e-5), place[1] + dice.gauss(0, 5e-5)
            at = START + 8 * 3600 + (k // 2) * 300 + late + t + dice.random()
            if dice.random() < 0.02:
                lat += 1.0
            hint = TripHint(trip_id=f"{line}-{k // 2}")
            out.append(VehiclePosition("t", f"bus{k}", lat, lon, at, at, speed_mps=8.0, hint=hint))
            if dice.random() < 0.05:
                out.append(out[-1])
    return sorted((p for p in out if p.received_at < START + 8 * 3600 + until), key=lambda p: p.received_at)


def run(engine: Engine, positions: list[VehiclePosition], drain: bool = True) -> tuple[str, list[Output]]:
    digest, outputs = OutputDigest(), list[Output]()

    def sink(entry: object, told: list[Output]) -> None:
        digest.add(told)
        outputs.extend(told)

    driver = GridDriver(engine, sink)
    driver.feed_all(positions)
    if drain:
        driver.drain()
    return digest.hexdigest(), outputs


def boards(engine: Engine) -> list[Board]:
    return [
        Board(b.stop_idx, b.epoch, b.rev, b.at, b.ttl_s, b.state, list(b.departures), b.lines, b.messages)
        for b in engine.boards()
    ]


@pytest.mark.parametrize("cut", [0, 1, 40, 90])
def test_a_restored_engine_goes_on_as_if_there_had_been_no_stop(cut: int) -> None:
    positions = day(seed=3)
    whole = started()
    run(whole, positions[:cut], drain=False)
    again = Engine.restore(whole.snapshot(), networks)
    assert boards(again) == boards(whole)
    assert run(again, positions[cut:])[0] == run(whole, positions[cut:])[0]
    assert boards(again) == boards(whole)


def test_a_snapshot_with_waiting_fixes_loses_none() -> None:
    engine, twin = started(), started()
    for position in day(seed=4)[:5]:
        for one in (engine, twin):
            one.apply(PositionReceived(position.received_at, position))
    engine = Engine.restore(engine.snapshot(), networks)
    at = grid(day(seed=4)[4].received_at)
    a, b = OutputDigest(), OutputDigest()
    a.add(engine.apply(Tick(at)))
    b.add(twin.apply(Tick(at)))
    assert a.count == b.count > 0 and a.hexdigest() == b.hexdigest()


def test_a_snapshot_of_other_parameters_is_refused() -> None:
    data = started().snapshot()
    with pytest.raises(JournalError, match="parameters"):
        Engine.restore(data, networks, Parameters(predicting=Predicting(horizon_s=1800)))


def test_a_new_timetable_keeps_revisions_rising_and_finds_the_buses_again() -> None:
    engine = started()
    positions = day(seed=5)
    run(engine, positions[:60], drain=False)
    before = {NETWORK.stop_id[b.stop_idx]: b.rev for b in engine.boards()}
    at = grid(positions[59].received_at) + 0.1
    engine.apply(NetworkLoaded(at, OTHER.digest))
    for board in engine.boards():
        assert board.rev > before[OTHER.stop_id[board.stop_idx]]
        assert all(d.basis is Basis.SCHEDULE for d in board.departures)
    _, outputs = run(engine, [p for p in positions[60:] if p.received_at > at])
    assert any(isinstance(o, Predicted) for o in outputs)


def test_nothing_is_known_after_a_new_start() -> None:
    engine = started()
    run(engine, day(seed=6)[:60], drain=False)
    at = engine.last_at + 1
    engine.apply(Started(at, "e2"))
    engine.apply(NetworkLoaded(at, NETWORK.digest))
    assert engine.live_vehicles == 0
    assert {b.rev for b in engine.boards()} == {1} and {b.epoch for b in engine.boards()} == {"e2"}


def test_a_start_that_keeps_changes_only_the_epoch() -> None:
    engine = started()
    run(engine, day(seed=6)[:60], drain=False)
    before = boards(engine)
    engine.apply(Started(engine.last_at, "e2", keeps=True))
    after = boards(engine)
    assert {b.epoch for b in after} == {"e2"}
    assert [(b.rev, b.departures) for b in after] == [(b.rev, b.departures) for b in before]


def test_after_a_drain_only_the_timetable_is_left() -> None:
    engine = started()
    run(engine, day(seed=7))
    assert engine.live_vehicles == 0
    assert all(d.basis is Basis.SCHEDULE for b in engine.boards() for d in b.departures)


def test_every_prediction_made_is_passed_or_withdrawn_and_never_in_the_past() -> None:
    _, outputs = run(started(), day(seed=8))
    tables = [o.table for o in outputs if isinstance(o, Predicted)]
    assert tables
    for table in tables:
        known = table.arrival_p50 == table.arrival_p50
        assert (table.arrival_p50[known] >= table.made_at - 1e-6).all()
        assert (table.arrival_p10[known] <= table.arrival_p50[known]).all()
        assert (table.arrival_p90[known] >= table.arrival_p50[known]).all()
        assert (table.departure_p50[known] >= table.arrival_p50[known] - 1e-6).all()
        assert (table.arrival_p50[known][1:] >= table.arrival_p50[known][:-1]).all()


def test_a_report_of_every_kind_of_badness_is_rejected_with_its_reason() -> None:
    engine = started()
    at = START + 8 * 3600
    bad = [
        VehiclePosition("t", "x", 0.0, 0.0, at, at),
        VehiclePosition("t", "x", float("nan"), 103.0, at, at),
        VehiclePosition("t", "x", 36.0, 103.8, at + 7200, at),
        VehiclePosition("t", "x", 36.0, 103.8, at - 86400, at),
    ]
    told = [engine.apply(PositionReceived(at, p)) for p in bad]
    assert [[o.reason for o in out if isinstance(o, Rejected)] for out in told] == [
        ["zero_island"],
        ["not_a_number"],
        ["future"],
        ["stale"],
    ]


def test_a_late_bus_delays_the_next_trip_of_its_block_by_what_the_layover_leaves() -> None:
    times = "trip_id,stop_sequence,stop_id,arrival_time,departure_time\n"
    for trip, stops, start in (("out", "ABCDE", 28800), ("home", "EDCBA", 29220)):
        for i, stop in enumerate(stops):
            clock = f"{(start + 50 * i) // 3600:02d}:{(start + 50 * i) // 60 % 60:02d}:{(start + 50 * i) % 60:02d}"
            times += f"{trip},{i + 1},{stop},{clock},{clock}\n"
    trips = "trip_id,route_id,service_id,trip_headsign,direction_id,block_id,shape_id\n"
    trips += "out,1,daily,E,0,b1,1\nhome,1,daily,A,1,b1,1/back\n"
    network = network_from_map(MAP, LINES, trips=1, tables={"stop_times.txt": times, "trips.txt": trips})
    engine = Engine(lambda digest: network)
    at = START + 28800
    engine.apply(Started(at - 60, "e"))
    engine.apply(NetworkLoaded(at - 60, network.digest))
    # leaves A five minutes late: arrives at E at 08:08:20 instead of 08:03:20; the next trip is due at 08:07:00
    place = PLACES.between("A", "B", 0.5)
    position = VehiclePosition("t", "bus1", *place, at + 325, at + 325, speed_mps=8.0, hint=TripHint(trip_id="out"))
    engine.apply(PositionReceived(at + 325, position))
    tables = {
        network.trip_id[o.table.trip.trip_idx]: o.table
        for o in engine.apply(Tick(grid(at + 325)))
        if isinstance(o, Predicted)
    }
    # it comes in 80 s after its next departure, and turns in 90 s, which is what is assumed before turns are learned
    comes = tables["out"].arrival_p50[-1] - at
    assert comes == pytest.approx(200 + 300, abs=15)
    assert tables["home"].departure_p50[0] - at == pytest.approx(comes + 90, abs=10)


@pytest.mark.parametrize(("clock", "date"), [("00:10:00", "20260301"), ("25:10:00", "20260302")])
def test_a_trip_after_midnight_belongs_to_the_service_day_it_started_on(clock: str, date: str) -> None:
    network = network_from_map(MAP, {"1": "ABCDE"}, trips=1, start="24:05:00" if date == "20260301" else "25:05:00")
    engine = Engine(lambda digest: network)
    h, m, _ = (int(x) for x in clock.split(":"))
    at = START + h * 3600 + m * 60
    engine.apply(Started(at - 60, "e"))
    engine.apply(NetworkLoaded(at - 60, network.digest))
    position = VehiclePosition("t", "b", *PLACES.at("B"), at, at, speed_mps=8.0, hint=TripHint(trip_id="1-0"))
    engine.apply(PositionReceived(at, position))
    tables = [o.table for o in engine.apply(Tick(at)) if isinstance(o, Predicted)]
    assert [t.trip.service_date for t in tables] == [date]


def test_two_buses_that_claim_one_run_in_one_tick_end_with_one_holder() -> None:
    engine = started(parameters=Parameters(assigning=Assigning(hold_s=0.0)))
    at = START + 8 * 3600
    outputs: list[Output] = []
    for k in range(6):
        for bus in ("bus1", "bus2"):
            place = PLACES.between("A", "B", 0.1 * k + (0.05 if bus == "bus2" else 0.0))
            position = VehiclePosition("t", bus, *place, at, at, speed_mps=8.0, hint=TripHint(trip_id="1-0"))
            outputs += engine.apply(PositionReceived(at, position))
        outputs += engine.apply(Tick(grid(at)))
        at += 10
    holders = {p.vehicle_id for p in engine.progress() if p.trip is not None}
    assert len(holders) == 1
    assert any(isinstance(o, VehicleEvent) and o.kind in ("assignment taken", "conflict") for o in outputs)
