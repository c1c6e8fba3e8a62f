"""A simulated terminal against the real gateway's session, without sockets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from busd.config import Jt808Config
from busd.feeds.jt808.frame import Frame, FrameReader, encode_frame, phone_bytes
from busd.feeds.jt808.session import Session
from busd.registry import DeviceRegistry
from busd.types import TripHint, VehiclePosition
from replay.city.gps import Report, phone, plate
from replay.city.record import simulate
from replay.city.terminal import ANSWER_TIMEOUT_S, BATCH_REPORTS, HEARTBEAT_S, HINT_ITEMS, Terminal
from replay.city.timetable import Plan


@pytest.fixture(scope="module")
def reports(plan: Plan, midnight: float) -> list[Report]:
    """Of bus 20 (a frequency line), all of them positioned and on a trip."""
    start = midnight + 9 * 3600
    found = simulate(plan, 7, start, start + 600, 10).reports
    return [replace(r, positioned=True) for r in found if r.vehicle == 20 and r.hint is not None]


class Platform:
    """One gateway over several connections."""

    def __init__(self, **config: object) -> None:
        self.registry = DeviceRegistry()
        self.config = Jt808Config(hint_items=HINT_ITEMS, **config)  # type: ignore[arg-type]
        self.codes = 0
        self.positions: list[tuple[VehiclePosition, bool]] = []
        self.connect()

    def connect(self) -> None:
        self.session = Session(self.config, self.registry, self._code)

    def _code(self) -> bytes:
        self.codes += 1
        return f"code{self.codes}".encode()

    def exchange(self, terminal: Terminal, at: float, now: float = 0.0) -> None:
        """Both sides talk until neither has anything left to say; ``now`` is the terminal's uptime."""
        while data := terminal.data_to_send():
            self.session.receive_data(data, at)
            for event in self.session.events():
                position = getattr(event, "position", None)
                if position is not None:
                    self.positions.append((position, getattr(event, "historical", False)))
            terminal.receive_data(self.session.data_to_send(), now)


@pytest.mark.parametrize("vehicle", [20, 21], ids=["2013", "2019"])
def test_registers_then_reports(reports: list[Report], vehicle: int) -> None:
    platform, terminal = Platform(), Terminal(vehicle)
    at = reports[0].measured_at
    terminal.connected(0.0)
    assert not terminal.online
    platform.exchange(terminal, at)
    assert terminal.online
    sent = [replace(report, vehicle=vehicle) for report in reports[:3]]
    for report in sent:
        terminal.report(report, 0.0)
        platform.exchange(terminal, report.measured_at + 0.4)
    assert terminal.acknowledged == 3 and terminal.refused == 0
    for (position, historical), report in zip(platform.positions, sent, strict=True):
        assert not historical
        assert position.vehicle_id == plate(vehicle)
        assert (position.lat, position.lon) == (report.lat, report.lon)
        assert position.measured_at == report.measured_at
        assert position.speed_mps == pytest.approx(report.speed_mps, abs=0.02)
        assert position.hint == report.hint
        assert position.odometer_m == pytest.approx(report.truth.odometer_m, abs=51.0)


def test_a_frequency_run_is_named_by_trip_date_and_start(reports: list[Report]) -> None:
    hint = reports[0].hint
    assert hint is not None and hint.start_s is not None
    assert hint == TripHint(trip_id=hint.trip_id, service_date="20260302", start_s=hint.start_s)


def test_nothing_is_lost_with_the_link(reports: list[Report]) -> None:
    platform, terminal = Platform(), Terminal(20)
    terminal.connected(0.0)
    platform.exchange(terminal, reports[0].measured_at)
    terminal.report(reports[0], 1.0)
    terminal.data_to_send()  # on the wire, and lost with it
    terminal.disconnected()
    away = reports[1:20]
    for report in away:
        terminal.report(report, 2.0)
    assert terminal.stored == 20
    platform.connect()
    terminal.connected(3.0)
    at = reports[19].measured_at + 1.0
    platform.exchange(terminal, at)
    assert platform.codes == 1, "the old code is still good"
    while terminal.stored:
        terminal.tick(4.0)
        platform.exchange(terminal, at)
    times = [position.measured_at for position, _ in platform.positions]
    assert times == [report.measured_at for report in reports[:20]]
    assert terminal.acknowledged == 20
    historical = [old for _, old in platform.positions]
    assert historical[0] and not historical[-1], "the newest one is where the bus is now"
    assert len(historical) > BATCH_REPORTS


def test_registers_again_when_its_code_is_not_known() -> None:
    platform, terminal = Platform(), Terminal(20)
    terminal.connected(0.0)
    platform.exchange(terminal, 1e9)
    terminal.disconnected()
    other = Platform()
    terminal.connected(1.0)
    other.exchange(terminal, 1e9)
    assert not terminal.online and terminal.refused == 1
    terminal.disconnected()
    other.connect()
    terminal.connected(2.0)
    other.exchange(terminal, 1e9)
    assert terminal.online


def test_a_refused_terminal_stays_offline() -> None:
    platform, terminal = Platform(mode="closed"), Terminal(20)
    terminal.connected(0.0)
    platform.exchange(terminal, 1e9)
    assert (terminal.online, terminal.refused) == (False, 1)


def test_heartbeats_and_silence(reports: list[Report]) -> None:
    platform, terminal = Platform(), Terminal(20)
    terminal.connected(0.0)
    platform.exchange(terminal, 1e9)
    terminal.tick(HEARTBEAT_S - 1.0)
    assert terminal.data_to_send() == b""
    terminal.tick(HEARTBEAT_S)
    heartbeat = terminal.data_to_send()
    (frame,) = FrameReader().receive_data(heartbeat)
    assert isinstance(frame, Frame) and frame.message_id == 0x0002
    assert not terminal.is_stuck(HEARTBEAT_S + ANSWER_TIMEOUT_S)
    assert terminal.is_stuck(HEARTBEAT_S + ANSWER_TIMEOUT_S + 1.0)


def test_answers_commands_it_does_not_know() -> None:
    terminal = Terminal(20)
    terminal.receive_data(encode_frame(0x8201, phone_bytes(phone(20)), 77), 0.0)
    (frame,) = FrameReader().receive_data(terminal.data_to_send())
    assert isinstance(frame, Frame)
    assert (frame.message_id, frame.body) == (0x0001, b"\x00\x4d\x82\x01\x03")
