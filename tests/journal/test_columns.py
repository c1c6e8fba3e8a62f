"""Columns give back exactly what was packed, and are small."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.journal.columns import pack, unpack
from busd.types import (
    AnyInput,
    NetworkLoaded,
    OperatorCommand,
    PositionReceived,
    PriorsLoaded,
    Started,
    Tick,
    TripHint,
    VehiclePosition,
)

Inputs = Callable[..., list[AnyInput]]

texts = st.text(st.characters(codec="utf-8"), max_size=8)
instants = st.one_of(
    st.integers(1_795_000_000_0, 1_795_001_000_0).map(lambda t: t / 10), st.floats(1.7e9, 1.9e9), st.floats()
)
degrees = st.one_of(st.integers(-180_000_000, 180_000_000).map(lambda d: d / 1e6), st.floats(width=32), st.floats())
numbers = st.one_of(st.none(), st.integers(0, 359).map(float), st.integers(0, 999).map(lambda v: v / 36), st.floats())
flags = st.sampled_from([None, True, False])
hints = st.builds(
    TripHint,
    trip_id=st.none() | texts,
    service_date=st.none() | st.just("20261118"),
    start_s=st.none() | st.integers(0, 100_000),
    direction_id=st.none() | st.integers(0, 1),
)
positions = st.builds(
    VehiclePosition,
    source=st.sampled_from(["jt808", "gtfs-rt", "另"]),
    vehicle_id=st.sampled_from(["1", "2", "3", "甘A1"]) | texts,
    lat=degrees,
    lon=degrees,
    measured_at=instants,
    received_at=instants,
    bearing_deg=numbers,
    speed_mps=numbers,
    accuracy_m=numbers,
    odometer_m=numbers,
    door_open=flags,
    ignition=flags,
    occupancy=st.none() | st.integers(0, 6),
    hint=st.none() | hints,
    label=st.none() | texts,
    clock=st.sampled_from(["device", "corrected", "receiver"]),
    report_id=st.none() | texts,
)
inputs = st.one_of(
    st.builds(PositionReceived, at=instants, position=positions, historical=st.booleans()),
    st.builds(Tick, at=instants),
    st.builds(Started, at=instants, epoch=texts),
    st.builds(NetworkLoaded, at=instants, digest=texts),
    st.builds(PriorsLoaded, at=instants, digest=texts),
    st.builds(
        OperatorCommand,
        at=instants,
        name=texts,
        args=st.dictionaries(texts, st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts),
    ),
)


@given(st.lists(inputs, max_size=60))
@settings(max_examples=150, deadline=None)
def test_comes_back_to_the_bit(entries: list[AnyInput]) -> None:
    back = list(unpack(pack(entries)))
    assert repr(back) == repr(entries)  # NaN is itself, 0.0 is not -0.0


def test_a_few_odd_values_do_not_spoil_a_column(traffic: Inputs) -> None:
    entries = traffic(3000)
    odd = [i for i, e in enumerate(entries) if isinstance(e, PositionReceived)][7:2000:500]
    for i in odd:
        entry = entries[i]
        assert isinstance(entry, PositionReceived)
        position = msgspec.structs.replace(entry.position, lat=36.1 / 3, measured_at=float("nan"))
        entries[i] = msgspec.structs.replace(entry, position=position)
    packed = pack(entries)
    assert repr(list(unpack(packed))) == repr(entries)
    assert len(packed) < len(pack(traffic(3000))) + 80 * len(odd)


def test_a_day_of_a_thousand_positions_a_second_stays_below_3_gb(traffic: Inputs) -> None:
    """3 GB / 86.4 million = 34 bytes a position, ticks included. 2,000 buses that report every 2 s."""
    entries = traffic(20_000, vehicles=2000, interval_s=2.0)
    assert len(pack(entries)) / 20_000 < 25
    assert list(unpack(pack(entries))) == entries
