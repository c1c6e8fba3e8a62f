"""`busd signs` against a running daemon, and what its orders do to a sign that is connected over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from busd.cli import cli
from busd.clock import SystemClock
from busd.config import Config, parse_config
from busd.daemon import Daemon
from busd.engine import Engine
from busd.journal import read
from busd.types import OperatorCommand
from gtfs.testing import zip_from_map

WAIT_S = 20.0


@cache
def feed() -> bytes:
    return zip_from_map(
        "A---B---C---D",
        {"1": "ABCD", "9": "DCB"},
        start="00:00:00",
        headway_s=300,
        trips=290,
        days=("20200101", "20991231"),
    )


def config_in(folder: Path, **web: Any) -> Config:
    """The timetable is the same for all: the first test compiles it, the others find it in the cache."""
    (folder / "feed.zip").write_bytes(feed())
    data = {
        "gtfs": {"path": "feed.zip", "cache_dir": str(folder.parent / "sign-commands-cache")},
        "state": {"dir": "state", "snapshot_s": 3600},
        "web": {"port": 0, **web},
        "signs": {"host": "127.0.0.1", "port": 0, "shared_token": "common"},
        "jt808": {"enabled": False},
    }
    return parse_config(data, folder)


@contextlib.asynccontextmanager
async def running(config: Config) -> AsyncIterator[Daemon]:
    stop, ready = asyncio.Event(), asyncio.Event()
    daemon = Daemon(config, SystemClock())
    task = asyncio.create_task(daemon.run(stop, lambda _: ready.set()))
    started = asyncio.create_task(ready.wait())
    await asyncio.wait({task, started}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    try:
        yield daemon
    finally:
        stop.set()
        await asyncio.wait_for(task, WAIT_S)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The daemon's log would end up in what the commands print: they share this process."""
    with capture_logs():
        yield


class Shell:
    """`busd signs ...` on this machine, in a terminal of 80 columns."""

    def __init__(self, daemon: Daemon) -> None:
        self.url = daemon.web.url

    async def __call__(self, *args: str, code: int = 0, token: str = "") -> str:
        def run() -> Any:
            env = {"BUSD_TOKEN": token, "COLUMNS": "80", "TERM": "dumb"}
            return CliRunner().invoke(cli, ["signs", "--url", self.url, *args], env=env, prog_name="busd")

        result = await asyncio.to_thread(run)
        assert result.exit_code == code, result.output
        assert not result.exception or isinstance(result.exception, SystemExit), result.exception
        return str(result.output)


class Sign:
    """A sign on a pole: says hello, shows what it is told."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws

    async def until(self, true: Callable[[dict[str, Any]], bool], kind: str = "board") -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            while True:
                message = json.loads((await self.ws.receive()).data)
                if message["type"] == kind and true(message):
                    return dict(message)

    async def say(self, **message: Any) -> None:
        await self.ws.send_json(message)


@contextlib.asynccontextmanager
async def sign_of(daemon: Daemon, sign: str, stop: str, token: str = "common") -> AsyncIterator[Sign]:
    url = f"http://127.0.0.1:{daemon.signs.port}/v1/sign"
    async with aiohttp.ClientSession() as session, session.ws_connect(url, protocols=["busd.sign.v1"]) as ws:
        it = Sign(ws)
        await it.say(type="hello", v=1, sign=sign, token=token, lang=["en"], rows=4, cols=32, caps=["cmd"])
        await it.say(type="sub", id=1, stops=[stop])
        yield it


async def test_an_order_reaches_the_signs_and_the_riders_and_the_journal(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    async with running(config) as daemon, sign_of(daemon, "LS-1", "B") as sign, sign_of(daemon, "LS-2", "A") as other:
        busd = Shell(daemon)
        board = await sign.until(lambda b: True)
        assert board["msgs"] == [] and "mode" not in board
        await other.until(lambda b: True)
        message_id = (
            await busd("message", "set", "--zh", "9路绕行", "--en", "Line 9 diverted", "--on", "line:9")
        ).strip()
        board = await sign.until(lambda b: bool(b["msgs"]))
        assert (board["msgs"][0]["id"], board["msgs"][0]["text"]) == (message_id, {"en": "Line 9 diverted"})
        async with aiohttp.ClientSession() as session, session.get(f"{daemon.web.url}/v1/boards/B") as response:
            assert (await response.json())["msgs"][0]["text"]["zh-Hans"] == "9路绕行"
        listed = await busd("message")
        assert "9路绕行" in listed and "line:9" in listed and all(len(line) <= 80 for line in listed.splitlines())
        await busd("message", "set", "--en", "Leave now", "--emergency", "--takeover", "--for", "2h")
        board = await other.until(lambda b: b.get("mode") == "text")
        assert board["text"] == {"en": "Leave now"} and board["msgs"][0]["prio"] == 2
        await busd("message", "end", "m2")
        board = await other.until(lambda b: b.get("mode", "auto") == "auto")
        assert board["msgs"] == []
        assert "no message 'm2'" in await busd("message", "end", "m2", code=1)
    names = [entry.name for _, entry in read(config.state.dir / "journal") if isinstance(entry, OperatorCommand)]
    assert names == ["message", "message", "message.end"]
    async with running(config) as daemon, sign_of(daemon, "LS-1", "B") as sign:
        board = await sign.until(lambda b: True)
        assert [message["id"] for message in board["msgs"]] == [message_id], "it stands after a restart"


async def test_a_mode_is_of_one_sign_and_its_way_back_is_a_new_epoch(tmp_path: Path) -> None:
    async with (
        running(config_in(tmp_path)) as daemon,
        sign_of(daemon, "LS-1", "B") as sign,
        sign_of(daemon, "LS-2", "B") as other,
    ):
        busd = Shell(daemon)
        first = await sign.until(lambda b: True)
        same = await other.until(lambda b: True)
        assert (first["epoch"], first["rev"]) == (same["epoch"], same["rev"])
        await busd("mode", "set", "sign:LS-1", "text", "--en", "Closed", "--zh", "停用")
        shut = await sign.until(lambda b: b.get("mode") == "text")
        assert shut["text"] == {"en": "Closed"} and shut["epoch"] != first["epoch"]
        assert "Closed" in await busd("mode")
        assert "text" in await busd("show", "LS-1")
        await busd("mode", "clear", "sign:LS-1")
        back = await sign.until(lambda b: "mode" not in b or b["mode"] == "auto")
        assert back["epoch"] not in (first["epoch"], shut["epoch"])
        await busd("mode", "set", "all", "off", "--for", "1h")
        await sign.until(lambda b: b.get("mode") == "off")
        await other.until(lambda b: b.get("mode") == "off")


async def test_the_life_of_a_sign_from_its_entry_to_its_removal(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as daemon:
        busd = Shell(daemon)
        assert "busd signs token LS-7" in await busd(
            "add", "LS-7", "--stop", "B", "--group", "west", "--place", "Pole 4"
        )
        token = (await busd("token", "LS-7")).strip()
        assert "1 unseen" in await busd()
        async with sign_of(daemon, "LS-7", "B", "common") as sign:
            assert (await sign.until(lambda b: True, "bye"))["code"] == 4401, "it has a token of its own now"
        async with sign_of(daemon, "LS-7", "B", token) as sign:
            board = await sign.until(lambda b: True)
            shown = {"stop": "B", "epoch": board["epoch"], "rev": board["rev"], "shown_at": board["at"] + 400}
            await sign.say(type="ack", **shown)
            await sign.say(type="tele", volt=11.0, rssi=-83)
            async with asyncio.timeout(WAIT_S):
                while json.loads(await busd("--json"))["counts"] != {"low_battery": 1}:
                    await asyncio.sleep(0.05)
            row = json.loads(await busd("show", "LS-7", "--json"))
            assert row["shown"] == {"B": [board["epoch"], board["rev"]]} and row["glass"]["samples"] == 1
            assert row["tele"] == {"volt": 11.0, "rssi": -83}
            text = await busd("show", "LS-7")
            assert "low battery" in text and "Pole 4" in text and "p95" in text

            async def answer() -> None:
                order = await sign.until(lambda m: True, "cmd")
                assert (order["op"], order["args"]) == ("brightness", {"level": 60})
                await sign.say(type="done", id=order["id"], ok=True, info={"level": 60})

            answering = asyncio.create_task(answer())
            assert "done" in await busd("send", "LS-7", "brightness", "level=60")
            await answering
            await busd("block", "LS-7")
        async with sign_of(daemon, "LS-7", "B", token) as sign:
            assert (await sign.until(lambda b: True, "bye"))["code"] == 4403
        listed = await busd("--state", "offline")
        assert "LS-7" in listed and all(len(line) <= 80 for line in listed.splitlines())
        log = await busd("audit", "--about", "LS-7")
        for deed in ("sign.set", "sign.token", "sign.brightness", "sign.block"):
            assert deed in log
        assert token not in log
        await busd("remove", "LS-7")
        assert "no sign" in await busd("show", "LS-7", code=1)


async def test_suppression_is_until_the_end_of_the_service_day(tmp_path: Path) -> None:
    async with running(config_in(tmp_path)) as daemon:
        busd = Shell(daemon)
        assert "line:1/0: timetable only" in await busd(
            "suppress", "set", "1", "--direction", "0", "--reason", "GPS 坏了"
        )
        assert "GPS" in await busd("suppress")
        assert list(daemon.line.engine.notices.suppressions) == ["1/0"]
        assert "no line '77'" in await busd("suppress", "set", "77", code=1)
        assert "service day" in await busd("suppress", "set", "1", "--for", "3d", code=1)
        await busd("suppress", "end", "1/0")
        assert daemon.line.engine.notices.suppressions == {}


async def test_a_table_with_bad_lines_says_which(tmp_path: Path) -> None:
    table = tmp_path / "signs.csv"
    table.write_text("sign,name,stops,groups\nLS-1,西关什字,A;B,west\nLS-2,,nowhere,\nLS-3,,C,west\n", encoding="utf-8")
    async with running(config_in(tmp_path)) as daemon:
        busd = Shell(daemon)
        told = await busd("import", str(table), code=1)
        assert "2 new, 0 changed" in told and "line 3: no stop 'nowhere'" in told
        assert "LS-2" not in await busd("--group", "west")


async def test_people_have_roles_and_errors_say_what_to_do(tmp_path: Path) -> None:
    async with running(config_in(tmp_path, admin_token="s3cr3t")) as daemon:
        busd = Shell(daemon)
        assert "BUSD_TOKEN" in await busd(code=1)
        viewer = (await busd("operator", "add", "anna", token="s3cr3t")).strip()
        assert "anna" in await busd("operator", token="s3cr3t")
        assert "0 signs" in await busd(token=viewer)
        refused = await busd("mode", "set", "all", "off", token=viewer, code=1)
        assert "takes dispatcher" in refused
        await busd("operator", "remove", "anna", token="s3cr3t")
        assert "refuses" in await busd(token=viewer, code=1)
        for args, what in (
            (("message", "set", "--on", "all"), "no text"),
            (("message", "set", "--en", "x", "--until", "noonish"), "is no time"),
            (("message", "set", "--en", "x", "--until", "20:00", "--for", "1h"), "not both"),
            (("mode", "set", "all", "off", "--for", "ever"), "30m, 2h, 1d"),
            (("message", "set", "--text", "Hello"), "LANG=TEXT"),
        ):
            assert what in await busd(*args, token="s3cr3t", code=2), args
        assert "is no target" in await busd("mode", "set", "everything", "off", token="s3cr3t", code=1)
    assert "is `busd run` up?" in await busd(token="s3cr3t", code=1)


async def test_a_snapshot_that_is_lost_costs_no_message(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    async with running(config) as daemon:
        await Shell(daemon)("message", "set", "--en", "Diverted", "--on", "stop:C")
    for file in (config.state.dir / "journal").iterdir():
        file.unlink()
    async with running(config) as daemon, sign_of(daemon, "LS-1", "C") as sign:
        board = await sign.until(lambda b: True)
        assert [message["text"] for message in board["msgs"]] == [{"en": "Diverted"}]
        assert isinstance(daemon.line.engine, Engine)


@pytest.mark.skipif(sys.platform == "win32", reason="terminals")
def test_every_command_explains_itself() -> None:
    runner = CliRunner()
    todo: list[list[str]] = [["signs"]]
    while todo:
        path = todo.pop()
        result = runner.invoke(cli, [*path, "--help"])
        assert result.exit_code == 0 and len(result.output.splitlines()) >= 4, path
        command: Any = cli
        for part in path:
            command = command.get_command(None, part)
        todo += [[*path, name] for name in getattr(command, "commands", {})]
