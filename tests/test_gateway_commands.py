"""`busd devices conflicts | release | send` against a daemon whose terminals are on real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from busd.cli import cli
from busd.clock import SystemClock
from busd.config import load_config
from busd.daemon import Daemon
from busd.feeds.jt808.frame import Frame, FrameReader, encode_frame, phone_bytes
from busd.feeds.jt808.message import decode_registration_answer
from busd.feeds.jt808.terminal import encode_auth, encode_location, encode_registration
from gtfs.testing import zip_from_map

PHONE = "13912345678"
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
duplicate_policy = "quarantine"
"""
Answers = Callable[[Frame], list[tuple[int, bytes]]]


class TerminalDouble:
    """A terminal of 2019 on a socket. ``answers`` says what it sends for a command of the platform."""

    def __init__(self, clock: SystemClock, answers: Answers = lambda frame: []) -> None:
        self.clock = clock
        self.answers = answers
        self.commands: list[Frame] = []
        self._raw = phone_bytes(PHONE, 2019)
        self._serial = 0
        self._frames = FrameReader()
        self._got: asyncio.Queue[Frame] = asyncio.Queue()

    async def login(self, port: int, code: bytes = b"") -> bytes:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.task = asyncio.create_task(self._listen())
        if not code:
            self.send(0x0100, encode_registration("A1", 2019, "T1"))
            granted = decode_registration_answer((await self._answer()).body)
            assert granted is not None
            code = granted[2]
        self.send(0x0102, encode_auth(code, 2019))
        assert (await self._answer()).body[-1] == 0
        return code

    async def report(self, lat: float) -> None:
        self.send(0x0200, encode_location(lat, 103.83, measured_at=self.clock.now()))
        assert (await self._answer()).body[-1] == 0

    def send(self, message_id: int, body: bytes) -> None:
        self._serial += 1
        self.writer.write(encode_frame(message_id, self._raw, self._serial, body, 2019))

    async def _answer(self) -> Frame:
        return await asyncio.wait_for(self._got.get(), 20)

    async def _listen(self) -> None:
        while data := await self.reader.read(4096):
            for frame in self._frames.receive_data(data):
                assert isinstance(frame, Frame)
                if frame.message_id in (0x8001, 0x8100):
                    self._got.put_nowait(frame)
                    continue
                self.commands.append(frame)
                for message_id, body in self.answers(frame):
                    self.send(message_id, body)

    async def close(self) -> None:
        self.writer.close()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    times: dict[str, Any] = {"start": "06:30:00", "headway_s": 600, "trips": 4, "days": ("20260101", "20271231")}
    (tmp_path / "city.zip").write_bytes(zip_from_map("A---B---C", {"1": "ABC"}, cell_m=200.0, **times))
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


@pytest.fixture
async def make_terminal() -> AsyncIterator[Callable[..., TerminalDouble]]:
    made: list[TerminalDouble] = []

    def make(answers: Answers = lambda frame: []) -> TerminalDouble:
        made.append(TerminalDouble(SystemClock(), answers))
        return made[-1]

    yield make
    for terminal in made:
        await terminal.close()


@pytest.fixture
def busd(config_file: Path) -> Callable[..., Any]:
    async def run(*arguments: str, columns: int = 100) -> Result:
        whole = ("devices", "--config", str(config_file), *arguments)
        return await asyncio.to_thread(CliRunner(env={"COLUMNS": str(columns)}).invoke, cli, whole)

    return run


def last_line(done: Result) -> Any:
    """JSON; before it may be what the daemon logs in the same process."""
    return json.loads(done.output.splitlines()[-1])


def obedient(frame: Frame) -> list[tuple[int, bytes]]:
    """Does what it is told; but refuses the parameter 0x0001."""
    serial = frame.serial.to_bytes(2, "big")
    if frame.message_id == 0x8201:
        return [(0x0201, serial + encode_location(36.061, 103.83, 10.0, measured_at=SystemClock().now()))]
    if frame.message_id in (0x8104, 0x8106):
        items = bytes.fromhex("0000002904" + "0000000a" + "0000008303") + "甘A".encode("gbk")
        return [(0x0104, serial + b"\2" + items)]
    refused = frame.message_id == 0x8103 and frame.body[1:5] == b"\0\0\0\1"
    return [(0x0001, serial + frame.message_id.to_bytes(2, "big") + bytes((int(refused),)))]


async def test_commands_and_their_answers(daemon: Daemon, make_terminal: Any, busd: Any) -> None:
    assert daemon.jt808 is not None
    terminal = make_terminal(obedient)
    await terminal.login(daemon.jt808.port)

    done = await busd("send", "0" + PHONE, "locate", "--json")
    answer = last_line(done)
    assert (done.exit_code, answer["ok"], answer["message_id"], answer["phone"]) == (0, True, "0x8201", PHONE)
    assert (answer["position"]["lat"], answer["position"]["vehicle_id"]) == (36.061, "A1")
    assert "A1 at 36.061000, 103.830000, 36 km/h" in (await busd("send", PHONE, "locate")).output

    assert "0x8300: ok" in (await busd("send", PHONE, "text", "下一站", "bus 3")).output
    assert terminal.commands[-1].body == bytes((12, 1)) + "下一站 bus 3".encode("gbk")
    assert "nothing answers" in (await busd("send", PHONE, "time")).output
    parameters = last_line(await busd("send", PHONE, "parameters", "--json"))["parameters"]
    assert parameters == {"0x0029": {"value": 10, "hex": "0000000a"}, "0x0083": {"value": "甘A", "hex": "b8ca41"}}
    assert "甘A" in (await busd("send", PHONE, "parameters", "0x0029", "0x83")).output
    assert terminal.commands[-1].message_id == 0x8106
    assert (await busd("send", PHONE, "parameters", "0x0029=10", "0x83=甘A", "0xF001=hex:0102")).exit_code == 0
    assert terminal.commands[-1].body == bytes.fromhex("0300000029040000000a0000008303b8ca410000f001020102")
    assert [frame.message_id for frame in terminal.commands[2:5]] == [0x8300, 0x8004, 0x8104]

    refused = await busd("send", PHONE, "parameters", "1=30")
    assert (refused.exit_code, "0x8103: failure" in refused.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("1999", "locate"), "no terminal has the phone 1999"),
        ((PHONE, "locate", "--timeout", "0.2"), f"terminal {PHONE} has not answered within 0.2 s"),
        ((PHONE, "text", "😀"), "GBK has not"),
        ((PHONE, "text"), "what is the text?"),
        ((PHONE, "locate", "now"), "takes nothing more: 'now'"),
        ((PHONE, "parameters", "1", "2=3"), "not both"),
        ((PHONE, "parameters", "x"), "'x' is no id of a parameter"),
        ((PHONE, "parameters", "1=hex:x"), "is no hex"),
        ((PHONE, "parameters", "1=99999999999"), "does not fit 4 bytes"),
        ((PHONE, "parameters", "99999999999"), "is no DWORD"),
    ],
)
async def test_what_goes_wrong_with_a_command(
    daemon: Daemon, make_terminal: Any, busd: Any, arguments: tuple[str, ...], says: str
) -> None:
    assert daemon.jt808 is not None
    await make_terminal().login(daemon.jt808.port)
    done = await busd("send", *arguments)
    assert done.exit_code in (1, 2)
    assert says in " ".join(done.output.split())
    assert "Traceback" not in done.output


async def test_a_terminal_that_is_not_there_any_more(daemon: Daemon, make_terminal: Any, busd: Any) -> None:
    assert daemon.jt808 is not None

    def hang_up(frame: Frame) -> list[tuple[int, bytes]]:
        terminal.writer.close()
        return []

    terminal = make_terminal(hang_up)
    await terminal.login(daemon.jt808.port)
    assert "the connection ended before" in (await busd("send", PHONE, "locate")).output
    assert f"terminal {PHONE} is not connected" in (await busd("send", PHONE, "locate")).output


async def test_a_conflict_is_shown_and_released(daemon: Daemon, make_terminal: Any, busd: Any) -> None:
    assert daemon.jt808 is not None
    assert "0 conflicts" in (await busd("conflicts")).output
    one, two = make_terminal(), make_terminal()
    code = await one.login(daemon.jt808.port)
    await one.report(36.0)
    await two.login(daemon.jt808.port, code)
    await two.report(36.5)
    shown = await busd("conflicts")
    assert PHONE in shown.output and "second-connection" in shown.output and "positions held back" in shown.output
    (conflict,) = last_line(await busd("conflicts", "--json"))["conflicts"]
    assert (conflict["phone"], conflict["is_quarantined"]) == (PHONE, True)
    assert "QUARANTINED" in (await busd()).output
    released = await busd("release", "0" + PHONE)
    assert (released.exit_code, released.output.splitlines()[-1]) == (0, f"released {PHONE}")
    again = await busd("release", PHONE)
    assert (again.exit_code, f"there is no conflict of the phone {PHONE}" in again.output) == (1, True)
    before = daemon.journal.seq
    await two.report(36.5001)
    assert daemon.journal.seq > before


async def test_the_door_is_the_operators(daemon: Daemon) -> None:
    base = f"{daemon.web.url}/v1/admin/devices"
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/conflicts") as answer:
            assert answer.status == 401
        for path in ("release", "command"):
            async with session.post(f"{base}/phone/{PHONE}/{path}", json={"command": "locate"}) as answer:
                assert answer.status == 401
    headers = {"Authorization": "Bearer operators only"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for body, status in (
            (b"", 400),
            (b"[" * 10_000, 400),
            (b'{"command": "explode"}', 400),
            (b'{"command": "locate", "timeout_s": 1e9}', 400),
            (b'{"command": "locate", "what": 1}', 400),
            (b" " * 20_000, 413),
            (b'{"command": "locate"}', 404),
        ):
            async with session.post(f"{base}/phone/{PHONE}/command", data=body) as answer:
                assert (answer.status, body[:30]) == (status, body[:30])
                assert (await answer.json())["error"]


@pytest.mark.parametrize("columns", [80, 120])
async def test_the_list_reads_well(daemon: Daemon, make_terminal: Any, busd: Any, columns: int) -> None:
    assert daemon.jt808 is not None
    daemon.registry.list_device(PHONE, "1207")
    terminal = make_terminal()
    await terminal.login(daemon.jt808.port)
    await terminal.report(36.061)
    shown = (await busd(columns=columns)).output
    assert max(map(len, shown[shown.index("1 devices") :].splitlines())) <= columns
    for whole in ("1207", PHONE, "127.0.0.1", " ago", "ms"):
        assert whole in shown
