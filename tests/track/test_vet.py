"""Each policy of vet.py, and the escapes that keep one bad report from shutting a vehicle out."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.errors import Reason
from busd.track.fleet import Vehicles
from busd.track.vet import vet_against_last, vet_alone
from busd.tracking_parameters import Vetting
from busd.types import VehiclePosition

P = Vetting()
NOW = 1_772_400_000.0


def position(lat: float = 36.06, lon: float = 103.83, at: float = NOW, speed: float | None = None) -> VehiclePosition:
    return VehiclePosition("t", "bus1", lat, lon, at, at, speed_mps=speed)


class Fleet:
    """A vehicle table that accepts what the vetting lets through."""

    def __init__(self) -> None:
        self.vehicles = Vehicles()

    def tell(self, report: VehiclePosition) -> Reason | None:
        row = self.vehicles.row(report)
        reason = vet_against_last(report, self.vehicles, row, P)
        if reason is None:
            self.vehicles.lat[row], self.vehicles.lon[row] = report.lat, report.lon
            self.vehicles.measured_at[row] = report.measured_at
        return reason


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (position(lat=math.nan), Reason.NOT_A_NUMBER),
        (position(lon=math.inf), Reason.NOT_A_NUMBER),
        (position(at=math.nan), Reason.NOT_A_NUMBER),
        (position(lat=116.3, lon=39.9), Reason.OUT_OF_RANGE),
        (position(lon=-180.1), Reason.OUT_OF_RANGE),
        (position(lat=0.0, lon=0.0), Reason.ZERO_ISLAND),
        (position(at=NOW + 61), Reason.FUTURE),
        (position(at=NOW - 601), Reason.STALE),
        (position(at=NOW + 59), None),
        (position(), None),
    ],
)
def test_what_a_report_says_of_itself(report: VehiclePosition, reason: Reason | None) -> None:
    assert vet_alone(report, NOW, P) == reason


def test_an_old_report_of_a_batch_is_not_stale() -> None:
    assert vet_alone(position(at=NOW - 7200), NOW, P, historical=True) is None


def test_resent_and_reordered_reports() -> None:
    fleet = Fleet()
    assert fleet.tell(position()) is None
    assert fleet.tell(position()) == Reason.DUPLICATE
    assert fleet.tell(position(lat=36.0601)) == Reason.OUT_OF_ORDER  # another place at the same instant
    assert fleet.tell(position(at=NOW - 10)) == Reason.OUT_OF_ORDER


def test_a_jump_away_and_back_is_one_rejected_report() -> None:
    fleet = Fleet()
    told = [fleet.tell(position(at=NOW + t, lat=lat)) for t, lat in ((0, 36.06), (10, 36.08), (20, 36.061))]
    assert told == [None, Reason.JUMP, None]


def test_a_jump_that_stays_is_believed_at_the_third_report() -> None:
    fleet = Fleet()
    fleet.tell(position())
    told = [fleet.tell(position(at=NOW + t, lat=36.2 + t * 1e-5)) for t in (10, 20, 30, 40)]
    assert told == [Reason.JUMP, Reason.JUMP, None, None]


def test_jumps_that_disagree_are_never_believed() -> None:
    fleet = Fleet()
    fleet.tell(position())
    told = [fleet.tell(position(at=NOW + 10 * k, lat=36.2 + 0.3 * (k % 2))) for k in range(1, 8)]
    assert set(told) == {Reason.JUMP}


def test_after_a_long_silence_anything_is_believed() -> None:
    fleet = Fleet()
    fleet.tell(position())
    assert fleet.tell(position(at=NOW + 601, lat=37.5)) is None


def test_the_same_digits_while_driving_are_a_frozen_receiver() -> None:
    fleet = Fleet()
    told = [fleet.tell(position(at=NOW + 10 * k, speed=8.0)) for k in range(6)]
    assert told == [None, None, None, Reason.FROZEN, Reason.FROZEN, Reason.FROZEN]
    assert fleet.tell(position(at=NOW + 70, lat=36.0602, speed=8.0)) is None


def test_a_parked_bus_is_not_frozen() -> None:
    fleet = Fleet()
    assert {fleet.tell(position(at=NOW + 10 * k, speed=0.0)) for k in range(50)} == {None}


@given(st.floats(), st.floats(), st.floats())
def test_no_number_passes_that_the_engine_cannot_use(lat: float, lon: float, at: float) -> None:
    report = position(lat, lon, at)
    if vet_alone(report, NOW, P) is None:
        assert -90 <= lat <= 90 and -180 <= lon <= 180
        assert NOW - P.stale_s <= at <= NOW + P.future_s
