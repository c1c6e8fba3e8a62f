"""Captures in every form give the same; recordings are read, cut off, damaged, and sent again over real sockets."""

from __future__ import annotations

import asyncio
import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from google.transit import gtfs_realtime_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from busd.clock import ManualClock
from busd.errors import FeedError
from busd.feeds.nmea import checksum
from busd.feeds.tap import (
    MAGIC,
    Kind,
    Record,
    TapWriter,
    read_tap,
    record_datagrams,
    record_from,
    record_port,
    send_again,
)
from busd.feeds.tools import CODECS, Options, describe, read_capture

NOW = 1_795_303_810.0
OWN = Path(__file__).parents[1] / "vectors" / "jt808.jsonl"
SHARED = Path(__file__).parents[2] / "../shared/data/jt808/vectors.jsonl"
KEYS = {"ok", "reason", "msg_id", "phone", "serial", "version", "positions"}
PLACE = {"lat", "lon", "speed_mps", "bearing_deg", "altitude_m", "measured_at", "positioned", "alarm", "status"}


def decode(codec: str, data: bytes, **options: Any) -> list[dict[str, Any]]:
    return list(describe(codec, read_capture(io.BytesIO(data)), Options(NOW, **options)))


def frames() -> list[dict[str, Any]]:
    return [json.loads(line) for line in OWN.read_text(encoding="utf-8").splitlines()]


def recording(*records: tuple[int, Kind, bytes]) -> bytes:
    file = io.BytesIO()
    writer = TapWriter(file, ManualClock(NOW))
    for record in records:
        writer.write(*record)
    return file.getvalue()


# ---- jt808 -----------------------------------------------------------------------------------------------------------


def test_hex_lines_raw_bytes_and_recordings_say_the_same() -> None:
    good = [bytes.fromhex(vector["wire"]) for vector in frames() if vector["class"] == "good"]
    by_lines = decode("jt808", b"# a capture\n\n" + b"\n".join(wire.hex(" ").encode() for wire in good))
    assert len(by_lines) == len(good) and all(item["ok"] for item in by_lines)
    assert decode("jt808", b"".join(good)) == by_lines
    pieces = [(1, Kind.OPENED, b"")]
    pieces += [(1, Kind.UP, wire[k : k + 9]) for wire in good for k in range(0, len(wire), 9)]
    pieces += [(1, Kind.DOWN, good[0]), (1, Kind.CLOSED, b"")]
    assert decode("jt808", recording(*pieces)) == by_lines


def test_every_frame_has_every_key() -> None:
    for vector in frames():
        for item in decode("jt808", vector["wire"].encode()):
            assert set(item) >= KEYS
            assert item["ok"] == (vector["class"] in ("good", "flagless-2019"))
            if vector["class"] != "good":
                assert item["reason"] == vector["class"]
            for place in item["positions"]:
                assert set(place) >= PLACE | {"items"}
                assert all(extra["clause"] for extra in place["items"])


@pytest.mark.skipif(not SHARED.is_file(), reason="needs ../shared/data/jt808")
def test_published_frames_get_their_class() -> None:
    vectors = [json.loads(line) for line in SHARED.read_text(encoding="utf-8").splitlines()]
    items = decode("jt808", "\n".join(vector["wire_hex"] for vector in vectors).encode())
    assert len(items) == len(vectors)
    for vector, item in zip(vectors, items):
        assert item["ok"] == (vector["class"] in ("good", "flagless-2019"))
        assert (item["reason"] or "good") == vector["class"]


@pytest.mark.parametrize("line", [b"7e0", b"7e7e", b"00", b"0x7e 0x00 0x7e", b"7e0002"])
def test_lines_that_are_no_frame(line: bytes) -> None:
    (item,) = decode("jt808", line)
    assert (item["ok"], item["reason"], item["phone"], item["positions"]) == (False, "not-a-frame", None, [])


def test_noise_in_raw_bytes_does_not_end_it() -> None:
    good = bytes.fromhex(frames()[0]["wire"])
    items = decode("jt808", recording((1, Kind.UP, b"\x00" * 5000), (1, Kind.UP, good)))
    assert [item["ok"] for item in items] == [True]


# ---- the others ------------------------------------------------------------------------------------------------------


def test_nmea_a_line_each() -> None:
    content = "BDRMC,233005,A,3603.6653,N,10350.0582,E,19.44,88.0,211126,,,A"
    good = f"${content}*{checksum(content.encode()):02X}"
    text = f"{good}\r\n{good[:-2]}00\r\n$GPGSV,1\r\n$ID,1208\r\n{good}".encode()
    items = decode("nmea", text, device_id="1207")
    assert [item["ok"] for item in items] == [True, False, True, True, True]
    assert items[0]["line"] == good
    assert items[0]["positions"][0]["vehicle_id"] == "1207"
    assert items[1]["reason"] == "bad-checksum"
    assert items[4]["positions"][0]["vehicle_id"] == "1208"
    assert decode("nmea", recording((1, Kind.UP, text[:50]), (1, Kind.UP, text[50:])), device_id="1207") == items
    assert decode("nmea", text.hex().encode(), device_id="1207") == items


def test_a_gga_that_nothing_follows() -> None:
    """Of the field notes; without an RMC its day is that of the receipt."""
    gga = b"$BDGGA,091830,2233.1274,N,11404.6581,E,1,10,0.9,50.1,M,0.0,M,,*56"
    for text in (gga, gga + b"\r\n", recording((1, Kind.UP, gga), (1, Kind.CLOSED, b""))):
        (item,) = decode("nmea", text)
        (place,) = item["positions"]
        assert (place["lat"], place["lon"]) == (pytest.approx(22.552124, abs=1e-6), pytest.approx(114.077635, abs=1e-6))
    rmc = b"$BDRMC,091830,A,2233.1274,N,11404.6581,E,008.3,203.5,310721,001.2,W*7C"
    rmc = rmc[:-2] + b"%02X" % checksum(rmc[1:-3])
    first, second = decode("nmea", gga + b"\r\n" + rmc)
    assert (len(first["positions"]), len(second["positions"])) == (0, 1)
    assert second["positions"][0]["accuracy_m"] == pytest.approx(4.5)


def test_messages() -> None:
    feed = pb.FeedMessage()
    feed.header.gtfs_realtime_version = "2.0"
    feed.header.timestamp = int(NOW)
    entity = feed.entity.add(id="1")
    entity.vehicle.vehicle.id = "9"
    entity.vehicle.position.latitude, entity.vehicle.position.longitude = 36.0, 103.0
    (item,) = decode("gtfs-rt", feed.SerializeToString())
    assert (item["ok"], item["positions"][0]["vehicle_id"], item["header_at"]) == (True, "9", NOW)
    assert decode("gtfs-rt", feed.SerializeToString().hex().encode()) == [item]
    (item,) = decode("gtfs-rt", b"<html>")
    assert (item["ok"], item["positions"]) == (False, [])
    assert "web page" in item["reason"]

    one = b'{"id": 1, "lat": 36.0, "lon": 103.0}'
    assert [item["ok"] for item in decode("json", one + b"\n" + one + b"\n{}")] == [True, True, False]
    (item,) = decode("json", b"[\n" + one + b",\n" + one + b"]")
    assert len(item["positions"]) == 2
    items = decode("osmand", b"/?id=1&lat=36&lon=103\nid=2&lat=0&lon=0\n")
    assert [(item["ok"], item["reason"]) for item in items] == [(True, None), (False, "zero_island")]
    (item,) = decode("traccar", b'{"device_id": "1",\n "location": {"coords": {"latitude": 36, "longitude": 103}}}')
    assert item["ok"]


def test_hfp_and_siri() -> None:
    topic = "/hfp/v2/journey/ongoing/vp/bus/0018/00423/2159/2/Matinkylä (M)/09:32/2442201/3/60;24/16/58/67"
    place = {"VP": {"veh": 423, "tst": "2026-11-21T23:30:05Z", "lat": 60.15, "long": 24.68, "spd": 21.7}}
    (item,) = decode("hfp", f"{topic} {json.dumps(place)}\n".encode())
    assert item["ok"] and item["topic"] == topic
    assert item["positions"][0]["lat"] == 60.15
    (item,) = decode("siri-vm", b"<html/>")
    assert not item["ok"] and item["reason"]


def test_a_codec_that_is_not_there() -> None:
    with pytest.raises(FeedError, match="there is no codec 'morse'"):
        decode("morse", b"x")
    assert {"jt808", "nmea", "gtfs-rt", "hfp", "siri-vm", "traccar", "osmand", "json"} == set(CODECS)


@given(st.sampled_from(CODECS), st.binary(max_size=200))
def test_no_bytes_crash(codec: str, data: bytes) -> None:
    for item in decode(codec, data):
        assert isinstance(item["ok"], bool)


# ---- recordings ------------------------------------------------------------------------------------------------------


def test_a_recording_may_be_cut_off_anywhere() -> None:
    data = recording((1, Kind.OPENED, b""), (1, Kind.UP, b"abc"), (1, Kind.CLOSED, b""))
    whole = list(read_tap(io.BytesIO(data)))
    assert whole == [
        Record(NOW, 1, Kind.OPENED, b""),
        Record(NOW, 1, Kind.UP, b"abc"),
        Record(NOW, 1, Kind.CLOSED, b""),
    ]
    for size in range(len(MAGIC), len(data)):
        got = list(read_tap(io.BytesIO(data[:size])))
        assert got == whole[: len(got)]


def test_another_file_is_refused() -> None:
    with pytest.raises(FeedError, match="no recording"):
        list(read_tap(io.BytesIO(b"7e00")))
    with pytest.raises(FeedError, match="damaged"):
        list(read_tap(io.BytesIO(MAGIC + struct.pack(">dIBI", NOW, 1, 0, 2**31))))
    with pytest.raises(FeedError, match="damaged"):
        list(read_tap(io.BytesIO(MAGIC + struct.pack(">dIBI", NOW, 1, 77, 0))))


async def answer_in_capitals(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data.upper())
    writer.close()


async def test_recording_a_port_that_passes_on() -> None:
    """Devices get their answers; the recording has both ways, and sent again it gives the same."""
    server = await asyncio.start_server(answer_in_capitals, "127.0.0.1", 0)
    far = server.sockets[0].getsockname()[1]
    file = io.BytesIO()
    writer = TapWriter(file, ManualClock(NOW))
    async with record_port("127.0.0.1", 0, writer, ("127.0.0.1", far)) as port:
        for word in (b"one", b"two"):
            reader, out = await asyncio.open_connection("127.0.0.1", port)
            out.write(word)
            assert await asyncio.wait_for(reader.readexactly(3), 10) == word.upper()
            out.write_eof()
            assert await asyncio.wait_for(reader.read(), 10) == b""
            out.close()
        while sum(record.kind is Kind.CLOSED for record in read_tap(io.BytesIO(file.getvalue()))) < 2:
            await asyncio.sleep(0.01)
    records = list(read_tap(io.BytesIO(file.getvalue())))
    assert [r.data for r in records if r.kind is Kind.UP] == [b"one", b"two"]
    assert [r.data for r in records if r.kind is Kind.DOWN] == [b"ONE", b"TWO"]

    again = io.BytesIO()
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with record_port("127.0.0.1", 0, TapWriter(again, ManualClock(NOW))) as port:
        spread = [record._replace(at=NOW + 10 * k) for k, record in enumerate(records)]
        sent = await send_again(iter(spread), "127.0.0.1", port, ManualClock(NOW), 2.0, sleep)
        while sum(record.kind is Kind.CLOSED for record in read_tap(io.BytesIO(again.getvalue()))) < 2:
            await asyncio.sleep(0.01)
    assert (sent.streams, sent.records, sent.bytes, sent.failed) == (2, 2, 6, 0)
    assert [r.data for r in read_tap(io.BytesIO(again.getvalue())) if r.kind is Kind.UP] == [b"one", b"two"]
    assert waits[0] == 5.0 and waits == sorted(waits)
    server.close()


async def test_recording_a_server() -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    file = io.BytesIO()
    await record_from("127.0.0.1", server.sockets[0].getsockname()[1], TapWriter(file, ManualClock(NOW)))
    kinds = [(record.kind, record.data) for record in read_tap(io.BytesIO(file.getvalue()))]
    assert kinds == [(Kind.OPENED, b""), (Kind.UP, b"hello"), (Kind.CLOSED, b"")]
    server.close()


async def test_datagrams() -> None:
    file, again = io.BytesIO(), io.BytesIO()
    loop = asyncio.get_running_loop()
    async with record_datagrams("127.0.0.1", 0, TapWriter(file, ManualClock(NOW))) as port:
        sender, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port))
        sender.sendto(b"one")
        sender.sendto(b"two")
        while len(list(read_tap(io.BytesIO(file.getvalue())))) < 2:
            await asyncio.sleep(0.01)
        sender.close()
    async with record_datagrams("127.0.0.1", 0, TapWriter(again, ManualClock(NOW))) as port:
        records = read_tap(io.BytesIO(file.getvalue()))
        sent = await send_again(records, "127.0.0.1", port, ManualClock(NOW), 0)
        while len(list(read_tap(io.BytesIO(again.getvalue())))) < 2:
            await asyncio.sleep(0.01)
    assert (sent.streams, sent.records) == (1, 2)
    assert [record.data for record in read_tap(io.BytesIO(again.getvalue()))] == [b"one", b"two"]
