"""`busd feed` and `busd devices` as a person runs them; the latter against a daemon with every small door open."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from busd.cli import cli
from busd.clock import SystemClock
from busd.config import load_config
from busd.daemon import Daemon
from busd.feeds.datum import wgs84_to_gcj02
from gtfs.testing import zip_from_map

VECTORS = Path(__file__).parent / "vectors"
FRAME = "7e0200001c0139123456780007000000000000000302263fa1063062c005f001680058261122073005e77e"


def busd(*arguments: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(cli, arguments, input=stdin)


# ---- busd feed -------------------------------------------------------------------------------------------------------


def test_decode_as_json_has_exactly_the_promised_keys() -> None:
    done = busd("feed", "decode", "jt808", "--json", stdin=FRAME.encode() + b"\n" + FRAME[:-4].encode() + b"007e\n")
    assert done.exit_code == 0
    good, bad = (json.loads(line) for line in done.output.splitlines())
    (place,) = good.pop("positions")
    assert good == {
        "ok": True,
        "reason": None,
        "msg_id": "0x0200",
        "phone": "13912345678",
        "serial": 7,
        "version": 2013,
    }
    assert place == {
        "lat": 36.061089,
        "lon": 103.834304,
        "speed_mps": 10.0,
        "bearing_deg": 88.0,
        "altitude_m": 1520.0,
        "measured_at": 1795303805.0,
        "positioned": True,
        "alarm": 0,
        "status": 3,
        "items": [],
    }
    assert bad == {
        "ok": False,
        "reason": "bad-checksum",
        "msg_id": "0x0200",
        "phone": None,
        "serial": None,
        "version": 2013,
        "positions": [],
    }
    everything = json.loads(busd("feed", "decode", "jt808", "--json", "--all", stdin=FRAME.encode()).output)
    assert everything["name"] == "location"


def test_decode_for_people(tmp_path: Path) -> None:
    lines = [json.loads(line)["wire"] for line in (VECTORS / "jt808.jsonl").read_text().splitlines()]
    file = tmp_path / "capture.bin"
    file.write_bytes(bytes.fromhex("".join(lines)))
    done = busd("feed", "decode", "jt808", str(file))
    assert done.exit_code == 0
    assert "good  0x0200 location  version 2013  phone 13912345678" in done.output
    assert "position 36.061089, 103.834304  2026-11-21 23:30:05 UTC" in done.output
    assert "[JT/T 808-2013 8.18]" in done.output
    assert "REFUSED: bad-checksum" in done.output
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("codec", "stdin", "says"),
    [
        ("osmand", b"id=5&lat=36&lon=103&speed=10\n", "vehicle_id: 5"),
        ("json", b'{"id": "\\u001b[2J", "lat": 1, "lon": 2}', "rejected: malformed"),
        ("traccar", b"{", "REFUSED: no JSON"),
        ("nmea", b"$GPRMC,233005,V,,,,,,,211126,,\r\n", "rejected: not_positioned"),
        ("gtfs-rt", b"", ""),
        ("siri-vm", b"<html/>", "REFUSED"),
    ],
)
def test_decode_of_the_other_codecs(codec: str, stdin: bytes, says: str) -> None:
    done = busd("feed", "decode", codec, stdin=stdin)
    assert done.exit_code == 0
    assert says in done.output
    assert "\x1b" not in done.output


def test_mistakes_on_the_command_line(tmp_path: Path) -> None:
    assert busd("feed", "decode", "morse").exit_code == 2
    assert busd("feed", "decode", "siri-vm", "--timezone", "Mars/Base", stdin=b"<Siri/>").exit_code == 1
    assert busd("feed", "tap", "--out", str(tmp_path / "x")).exit_code == 2
    assert busd("feed", "tap", "nowhere", "--out", str(tmp_path / "x")).exit_code == 2
    there = tmp_path / "there"
    there.write_text("")
    assert "exists" in busd("feed", "tap", "h:1", "--out", str(there)).output.lower()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        assert busd("feed", "tap", address, "--out", str(tmp_path / "y")).exit_code == 1
        assert busd("devices", "--url", f"http://{address}").exit_code == 1


async def test_tap_and_replay(tmp_path: Path) -> None:
    file = tmp_path / "day.tap"
    got: list[bytes] = []
    done = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes.fromhex(FRAME))
        writer.close()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())
        writer.close()
        done.set()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    sink = await asyncio.start_server(listen, "127.0.0.1", 0)
    here = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    there = f"127.0.0.1:{sink.sockets[0].getsockname()[1]}"
    taped = await asyncio.to_thread(busd, "feed", "tap", here, "--out", str(file))
    assert taped.exit_code == 0, taped.output
    assert "3 records, 43 bytes" in taped.output
    assert '"phone":"13912345678"' in busd("feed", "decode", "jt808", "--json", str(file)).output
    sent = await asyncio.to_thread(busd, "feed", "replay", str(file), "--to", there, "--speed", "0")
    assert sent.exit_code == 0, sent.output
    await asyncio.wait_for(done.wait(), 10)
    assert got == [bytes.fromhex(FRAME)]
    server.close()
    sink.close()


# ---- busd devices ----------------------------------------------------------------------------------------------------

MAP = """
    A---B---C
            |
            |
            D---E
"""
CONFIG = """
[gtfs]
path = "city.zip"
cache_dir = "cache"
[state]
dir = "state"
[web]
port = {web}
admin_token = "operators only"
[signs]
host = "127.0.0.1"
port = 0
[jt808]
host = "127.0.0.1"
port = 0
[[push]]
name = "phones"
type = "osmand"
[[push]]
name = "other"
token = "a token of some length"
[[nmea]]
name = "receivers"
host = "127.0.0.1"
port = 0
vehicle_id = "imei-9"
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    times: dict[str, Any] = {"start": "06:30:00", "headway_s": 600, "trips": 4, "days": ("20260101", "20271231")}
    (tmp_path / "city.zip").write_bytes(zip_from_map(MAP, {"1": "ABCDE"}, cell_m=200.0, **times))
    path = tmp_path / "busd.toml"
    path.write_text(CONFIG.format(web=port))
    return path


@pytest.fixture
async def daemon(config_file: Path) -> AsyncIterator[Daemon]:
    daemon = Daemon(load_config(config_file, {}), SystemClock())
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    await asyncio.wait_for(asyncio.wait({task, asyncio.create_task(ready.wait())}, return_when="FIRST_COMPLETED"), 60)
    assert not task.done(), task.exception()
    yield daemon
    stop.set()
    await asyncio.wait_for(task, 30)


async def run(arguments: Sequence[str | Path]) -> Result:
    return await asyncio.to_thread(busd, *map(str, arguments))


async def test_devices_of_a_running_daemon(daemon: Daemon, config_file: Path, tmp_path: Path) -> None:
    config = ("--config", config_file)
    table = tmp_path / "buses.csv"
    table.write_text("id,phone,imei,vehicle_id\n356,,,1207\n,13912345678,,1208\n,,12,x\n", encoding="utf-8")
    done = await run(["devices", *config, "import", table])
    assert done.exit_code == 1, "one line is bad"
    assert "2 new, 0 changed, in the running daemon" in done.output
    assert "line 4: '12' is no IMEI" in done.output

    async with aiohttp.ClientSession() as session:
        url = f"{daemon.web.url}/feeds/phones?id=356&lat=36.061&lon=103.834"
        async with session.get(url) as answer:
            assert answer.status == 200
        async with session.post(f"{daemon.web.url}/feeds/other", json={}) as answer:
            assert answer.status == 401
        async with session.get(f"{daemon.web.url}/v1/admin/devices") as answer:
            assert answer.status == 401
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.sendto(b"$GPRMC,,A,3603.6653,N,10350.0582,E,19.44,88.0,,,,A", ("127.0.0.1", daemon.nmea[0].udp_port))
    async with asyncio.timeout(20):
        while len(daemon.roll) < 2:
            await asyncio.sleep(0.01)
    assert sorted(heard.vehicle_id for heard in daemon.roll) == ["1207", "imei-9"]
    assert daemon.journal.seq >= 4, "start, network, two positions"

    done = await run(["devices", *config, "--json"])
    rows = {row["device_id"]: row for row in json.loads(done.output)["devices"]}
    assert rows["356"]["vehicle_id"] == "1207"
    assert (rows["13912345678"]["vehicle_id"], rows["13912345678"]["connected"]) == ("1208", False)
    done = await run(["devices", *config])
    assert done.exit_code == 0
    assert "1207" in done.output and "osmand" not in done.output and "phones" in done.output

    assert (await run(["devices", *config, "set", "plate", "甘A1", "1209"])).exit_code == 0
    assert daemon.registry.find_vehicle("甘A1") == "1209"
    assert (await run(["devices", *config, "set", "imei", "7", "1209"])).exit_code == 1
    assert (await run(["devices", *config, "remove", "plate", "甘A1"])).exit_code == 0
    assert (await run(["devices", *config, "remove", "plate", "甘A1"])).exit_code == 1
    assert "refuses" in (await run(["devices", "--url", daemon.web.url])).output


def test_import_where_no_daemon_runs(config_file: Path, tmp_path: Path) -> None:
    table = tmp_path / "buses.csv"
    table.write_text("plate,vehicle_id\n甘A1,1207\n", encoding="utf-8")
    done = busd("devices", "--config", str(config_file), "import", str(table))
    assert (done.exit_code, "no daemon is running" in done.output) == (0, True)
    assert (tmp_path / "state" / "registry.sqlite").exists()
    table.write_bytes(b"\xff\xfe")
    assert busd("devices", "import", "--config", str(config_file), str(table)).exit_code == 1


async def test_a_shifted_feed_is_named_by_the_daemon(daemon: Daemon, config_file: Path) -> None:
    """200 fixes of a bus whose positions are GCJ-02, posted to a source that is configured as WGS-84."""
    network = daemon.line.engine.network
    rows = network.shape_rows(0)
    lats, lons, metres = (a[rows].tolist() for a in (network.shape_lat, network.shape_lon, network.shape_m))
    now = daemon.clock.now()
    reports = []
    for n in range(200):
        along = metres[-1] * n / 200
        k = next(i for i, m in enumerate(metres) if m > along)
        share = (along - metres[k - 1]) / (metres[k] - metres[k - 1])
        lat = lats[k - 1] + share * (lats[k] - lats[k - 1])
        lon = lons[k - 1] + share * (lons[k] - lons[k - 1])
        lat, lon = wgs84_to_gcj02(lat, lon)
        reports.append({"id": "1", "lat": lat, "lon": lon, "time": now - 200 + n})
    headers = {"Authorization": "Bearer a token of some length"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{daemon.web.url}/feeds/other", json=reports) as answer,
    ):
        assert (answer.status, (await answer.json())["positions"]) == (200, 200)
    async with asyncio.timeout(20):
        while not daemon.datums.suspicions:
            await asyncio.sleep(0.05)
    assert "other" in daemon.datums.suspicions
    done = await run(["devices", "--config", config_file])
    assert "looks shifted like GCJ-02" in " ".join(done.output.split())


async def test_a_terminal_is_shown_with_its_bus_and_its_latency(daemon: Daemon, config_file: Path) -> None:
    from busd.feeds.jt808.frame import encode_frame, phone_bytes
    from busd.feeds.jt808.terminal import encode_auth

    assert daemon.jt808 is not None
    daemon.registry.set_alias("imei", "860000000000001", "1210")
    daemon.registry.enrol("1399", b"code", daemon.clock.now())
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.jt808.port)
    login = encode_auth(b"code", 2019, "860000000000001")
    writer.write(encode_frame(0x0102, phone_bytes("1399", 2019), 1, login, 2019))
    assert await asyncio.wait_for(reader.read(100), 10)
    writer.write(bytes.fromhex(FRAME))  # of another phone: not this terminal's
    assert await asyncio.wait_for(reader.read(100), 10)
    done = await run(["devices", "--config", config_file, "--json", "--connected"])
    (row,) = json.loads(done.output)["devices"]
    assert (row["device_id"], row["vehicle_id"], row["connected"]) == ("1399", "1210", True)
    assert {"ack_s", "rejects", "last_fix_at", "connected_at"} <= set(row)
    shown = await run(["devices", "--config", config_file])
    assert shown.exit_code == 0 and "1210" in shown.output
    writer.close()
