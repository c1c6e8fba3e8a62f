"""NMEA 0183: sentences whose contents are known, any chunking of a stream, and what no peer may do to us."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds import KINDS
from busd.feeds.datum import wgs84_to_gcj02
from busd.feeds.nmea import MAX_LINE, Session, checksum, decode
from busd.types import Rejected, VehiclePosition

VECTORS = Path(__file__).parents[1] / "vectors" / "nmea.jsonl"
NOTES = Path(__file__).parents[2] / "../shared/feeds.md"
NOW = 1_795_303_810.0
OPTIONAL = ("speed_mps", "bearing_deg", "accuracy_m")


def sentence(content: str) -> bytes:
    return f"${content}*{checksum(content.encode()):02X}\r\n".encode()


RMC = sentence("GNRMC,233005,A,3603.6653,N,10350.0582,E,19.44,88.0,211126,,,A")
GGA = sentence("GNGGA,233005,3603.6653,N,10350.0582,E,1,10,0.9,1520.0,M,-40.1,M,,")


def vectors() -> list[Any]:
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return [pytest.param(v, id=f"{v['id']} {v['what']}") for v in map(json.loads, lines)]


@pytest.mark.parametrize("vector", vectors())
def test_vector(vector: dict[str, Any]) -> None:
    got = decode(
        "\r\n".join(vector["lines"]).encode(),
        source="n",
        received_at=vector["received_at"],
        device_id=vector.get("device_id", "bus"),
        checksum_required=vector.get("checksum_required", False),
    )
    assert [r.reason for r in got.rejects] == vector["expect"]["rejects"]
    assert len(got.positions) == len(vector["expect"]["positions"])
    for position, want in zip(got.positions, vector["expect"]["positions"]):
        for key in {*want, *OPTIONAL}:
            value = want.get(key)
            have = getattr(position, key)
            assert have == (pytest.approx(value, abs=1e-8) if isinstance(value, float) else value), key
        assert position.received_at == vector["received_at"]


def test_the_sentences_of_the_field_notes() -> None:
    if not NOTES.is_file():
        pytest.skip("needs ../shared/feeds.md")
    section = NOTES.read_text(encoding="utf-8").partition("## 4. NMEA")[2].partition("## 5.")[0]
    found = re.findall(r"`(\$[^`]+\*[0-9A-F]{2})`(?: -> (-?[0-9.]+), (-?[0-9.]+))?", section)
    assert len(found) >= 5
    for line, lat, lon in found:
        got = decode(line.encode(), source="n", received_at=NOW, device_id="b", checksum_required=True)
        assert (len(got.positions), got.rejects) == (1, [])
        if lat:
            assert (got.positions[0].lat, got.positions[0].lon) == pytest.approx((float(lat), float(lon)), abs=1e-6)


def test_the_datum_of_the_source_is_taken_off() -> None:
    lat, lon = wgs84_to_gcj02(36.5, 104.5)
    content = f"GPRMC,233005,A,36{(lat - 36) * 60:07.4f},N,104{(lon - 104) * 60:07.4f},E,0,0,211126,,"
    (got,) = decode(sentence(content), source="n", received_at=NOW, datum="gcj02", device_id="b").positions
    assert (got.lat, got.lon) == pytest.approx((36.5, 104.5), abs=2e-6)
    with pytest.raises(ValueError, match="unknown datum"):
        decode(b"", source="n", received_at=NOW, datum="mars")


def events(data: bytes, sizes: list[int], **options: Any) -> tuple[list[VehiclePosition | Rejected], str | None]:
    session = Session("n", **options)
    at = 0
    for size in [*sizes, len(data)]:
        session.receive_data(data[at : at + size], NOW)
        at += size
    return session.events(), session.closing


PIECES = st.lists(
    st.sampled_from(
        [RMC, GGA, b"1207," + RMC, b"$ID,9\n", RMC[:-4] + b"\r\n", b"x" * 300 + b"\n", b"x" * 600, b"\n", b"$"]
    )
    | st.binary(max_size=20),
    max_size=12,
)


@given(PIECES, st.lists(st.integers(0, 300), max_size=20))
def test_any_chunking_gives_the_same(pieces: list[bytes], sizes: list[int]) -> None:
    data = b"".join(pieces)
    assert events(data, sizes) == events(data, [])


@given(st.binary(max_size=2000))
def test_no_bytes_crash_and_little_is_held(data: bytes) -> None:
    session = Session("n", device_id="b")
    for k in range(0, len(data), 7):
        session.receive_data(data[k : k + 7], NOW)
        assert len(session._rest) <= MAX_LINE + 1
    session.end_datagram(NOW)
    session.events()


def test_a_stream_without_a_line_end_is_one_reject_and_no_memory() -> None:
    session = Session("n", device_id="b")
    for _ in range(1000):
        session.receive_data(b"$GPRMC," + b"1" * 1000, NOW)
        assert len(session._rest) <= MAX_LINE + 1
    assert [e.reason for e in session.events() if isinstance(e, Rejected)] == ["bad-length"]
    session.receive_data(b"\n" + RMC, NOW)
    assert [type(e) for e in session.events()] == [VehiclePosition]


def test_a_scanner_is_given_up_and_a_noisy_receiver_is_not() -> None:
    got, closing = events(b"GET / HTTP/1.1\r\n" * 30, [], device_id="b")
    assert (closing, len(got)) == ("junk", 21)
    noisy = (RMC + RMC + b"noise\n") * 200
    got, closing = events(noisy, [], device_id="b")
    assert closing is None
    assert sum(isinstance(e, VehiclePosition) for e in got) == 400


def test_datagrams_need_no_line_end() -> None:
    session = Session("n", device_id="b")
    session.receive_data(GGA + RMC.rstrip(), NOW)
    assert session.events() == []
    session.end_datagram(NOW)
    (position,) = session.events()
    assert isinstance(position, VehiclePosition)
    assert position.accuracy_m == 4.5


def test_it_is_in_the_registry() -> None:
    assert KINDS["nmea"].load_codec() is decode
