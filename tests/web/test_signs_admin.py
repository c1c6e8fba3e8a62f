"""The operators' API and live feed over real sockets: who may do what, what is refused, what a page is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType
from aiohttp.test_utils import TestClient, TestServer

from busd.notices import Notices
from busd.shelf import Store
from busd.sign_registry import Role
from busd.signs.control import Actor, SignControl
from busd.web import create_app
from busd.web.signs_office import SignOffice

Client = TestClient[Any, Any]
ROOT = Actor("root", Role.ADMIN)
FAR = {"X-Forwarded-For": "192.0.2.7"}
"""as a proxy on this machine passes on what the outside asks"""


@pytest.fixture
def control(world: Any) -> SignControl:
    notices = Notices()
    notices.bind(world.network)

    def submit(commands: Any) -> None:
        for name, args, _ in commands:
            notices.take(name, args, world.clock.now())

    made = SignControl(Store(), world.clock, lambda: world.network, lambda: notices, submit)
    world.notices = notices
    return made


@pytest.fixture
async def office(world: Any, control: SignControl) -> AsyncIterator[Client]:
    app = create_app(world.services(signs=SignOffice(control)))
    async with TestClient(TestServer(app)) as client:
        yield client


def bearer(control: SignControl, role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {control.registry.add_operator(f'{role}-1', role, 1.0)}"}


async def call(client: Client, method: str, path: str, entry: Any = None, **headers: str) -> tuple[int, Any]:
    data = None if entry is None else json.dumps(entry)
    async with client.request(method, f"/v1/admin/{path}", data=data, headers=headers) as response:
        return response.status, await response.json()


REQUESTS: list[tuple[str, str, Any, str]] = [
    ("GET", "me", None, "viewer"),
    ("GET", "signs", None, "viewer"),
    ("GET", "signs/LS-1", None, "viewer"),
    ("GET", "messages", None, "viewer"),
    ("GET", "modes", None, "viewer"),
    ("GET", "suppressions", None, "viewer"),
    ("GET", "alarms", None, "viewer"),
    ("GET", "audit", None, "viewer"),
    ("POST", "messages", {"text": {"en": "x"}, "targets": ["all"]}, "dispatcher"),
    ("DELETE", "messages/m1", None, "dispatcher"),
    ("POST", "modes", {"target": "sign:LS-1", "mode": "off"}, "dispatcher"),
    ("DELETE", "modes/sign:LS-1", None, "dispatcher"),
    ("POST", "suppressions", {"target": "line:1"}, "dispatcher"),
    ("DELETE", "suppressions/line:1", None, "dispatcher"),
    ("POST", "signs", {"sign": "LS-2"}, "admin"),
    ("POST", "signs/LS-1/token", {}, "admin"),
    ("GET", "operators", None, "admin"),
    ("POST", "operators", {"name": "x", "role": "admin"}, "admin"),
    ("DELETE", "operators/x", None, "admin"),
    ("DELETE", "signs/LS-2", None, "admin"),
]


async def test_each_role_may_what_it_may_and_no_more(office: Client, control: SignControl) -> None:
    control.enter_sign({"sign": "LS-1", "stops": "A"}, ROOT)
    tokens = {role.name.lower(): bearer(control, role.name.lower()) for role in Role}
    for method, path, entry, needed in REQUESTS:
        for role in ("viewer", "dispatcher", "admin"):
            if Role[role.upper()] < Role[needed.upper()]:
                status, answer = await call(office, method, path, entry, **tokens[role])
                assert (status, answer["error"]) == (403, "forbidden"), (method, path, role)
                assert needed in answer["detail"]
        status, answer = await call(office, method, path, entry, **tokens[needed])
        assert status == 200, (method, path, answer)


async def test_nobody_is_nobody(office: Client, control: SignControl) -> None:
    before = control.store.take_changes()
    assert before is None
    for method, path, entry, _ in REQUESTS:
        for headers in (
            FAR,
            {"Authorization": "Bearer wrong"},
            {"Authorization": "Bearer "},
            {"Authorization": "Basic eA=="} | FAR,
        ):
            status, answer = await call(office, method, path, entry, **headers)
            assert (status, answer) == (401, {"error": "unauthenticated"}), (path, headers)
        status, _ = await call(office, method, f"{path}?token=x", entry, **FAR)
        assert status == 401, "a token in an address opens nothing"
    assert control.store.take_changes() is None


async def test_this_machine_is_admin_unless_there_is_an_admin_token(
    world: Any, office: Client, control: SignControl
) -> None:
    status, me = await call(office, "GET", "me", **{"Busd-Operator": "anna%1b%20"})
    assert (status, me["name"], me["role"], me["timezone"]) == (200, "local anna", "admin", "Asia/Shanghai")
    status, _ = await call(office, "GET", "me", Origin="http://elsewhere.example")
    assert status == 401, "a browser is not this machine"
    app = create_app(world.services(signs=SignOffice(control, admin_token="s3cr3t")))
    async with TestClient(TestServer(app)) as strict:
        assert (await call(strict, "GET", "me"))[0] == 401
        status, me = await call(strict, "GET", "me", Authorization="Bearer s3cr3t")
        assert (status, me["name"]) == (200, "admin")


async def test_a_table_is_entered_and_its_bad_lines_are_told(office: Client, control: SignControl) -> None:
    table = "sign,stops,groups\nLS-1,A;B,west\nLS-2,nowhere,west\nLS-3,C,\n"
    async with office.post("/v1/admin/signs", data=table, headers={"Content-Type": "text/csv"}) as response:
        report = await response.json()
    assert (report["added"], [line for line, _ in report["problems"]]) == (2, [3])
    _, answer = await call(office, "GET", "signs?group=west")
    assert [row["sign"] for row in answer["signs"]] == ["LS-1"]
    assert answer["groups"] == {"west": 1}
    async with office.post("/v1/admin/signs", data=b"\xff\xfe", headers={"Content-Type": "text/csv"}) as response:
        assert response.status == 400 and "UTF-8" in (await response.json())["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("messages", b"{"),
        ("messages", b"[" * 100_000),
        ("messages", b'{"text":{"en":"x"},"colour":"red"}'),
        ("messages", b'{"text":"x"}'),
        ("messages", b'{"text":{"en":"x"},"end_at":NaN}'),
        ("messages", b'{"text":{"en":"\\u001b[2J"}}'),
        ("modes", b'{"target":"sign:LS-1","mode":"party"}'),
        ("modes", b'{"target":"sign:LS-1","mode":"text"}'),
        ("suppressions", b'{"target":"all"}'),
        ("signs", b'{"sign":"a\\u0000b"}'),
        ("signs", b'{"sign":"LS-1","stops":["nowhere"]}'),
        ("operators", b'{"name":"x","role":"king"}'),
        ("signs/LS-9/token", b""),
    ],
)
async def test_what_makes_no_sense_is_a_400_in_words(
    office: Client, control: SignControl, path: str, body: bytes
) -> None:
    control.enter_sign({"sign": "LS-1"}, ROOT)
    async with office.post(f"/v1/admin/{path}", data=body) as response:
        answer = await response.json()
    assert (response.status, answer["error"]) == (400, "bad_entry")
    assert len(answer["detail"]) > 10


async def test_things_that_are_not_there(office: Client) -> None:
    for method, path in (
        ("GET", "signs/x"),
        ("DELETE", "signs/x"),
        ("DELETE", "messages/x"),
        ("DELETE", "modes/sign:x"),
        ("DELETE", "suppressions/line:x"),
        ("DELETE", "operators/x"),
        ("POST", "alarms/7/seen"),
    ):
        assert (await call(office, method, path))[0] == 404, path
    assert (await call(office, "POST", "signs/x/commands", {"op": "info"}))[0] == 409
    for query in ("sort=colour", "limit=0", "offset=-1"):
        assert (await call(office, "GET", f"signs?{query}"))[0] == 400, query


async def test_ids_with_odd_letters_go_through_addresses(office: Client) -> None:
    sign = "站/1 ?&#%"
    status, _ = await call(office, "POST", "signs", {"sign": sign, "stops": ["A"]})
    assert status == 200
    from urllib.parse import quote

    path = f"http://{office.host}:{office.port}/v1/admin/signs/{quote(sign, safe='')}"
    from yarl import URL

    async with office.session.get(URL(path, encoded=True)) as response:
        assert (response.status, (await response.json())["sign"]) == (200, sign)


async def test_the_log_is_read_by_what_it_is_about(office: Client) -> None:
    await call(office, "POST", "signs", {"sign": "LS-1", "stops": ["A"]}, **{"Busd-Operator": "anna"})
    await call(office, "POST", "modes", {"target": "sign:LS-1", "mode": "off"}, **{"Busd-Operator": "bo"})
    _, answer = await call(office, "GET", "audit?about=bo")
    (entry,) = answer["audit"]
    assert (entry["who"], entry["what"], entry["target"]) == ("local bo", "mode.set", "sign:LS-1")
    _, answer = await call(office, "GET", "audit?limit=1")
    _, older = await call(office, "GET", f"audit?before={answer['audit'][0]['seq']}")
    assert [entry["what"] for entry in older["audit"]] == ["sign.set"]


async def test_alarms_are_listed_and_acknowledged(world: Any, office: Client, control: SignControl) -> None:
    control.health.opened("LS-1", world.clock.now(), {})
    control.health.closed("LS-1", world.clock.now(), 1006)
    for _ in range(300):
        world.clock.advance(1.0)
        control.health.sweep()
    _, answer = await call(office, "GET", "alarms")
    assert answer["counts"] == {"offline": 1}
    (alarm,) = answer["alarms"]
    status, seen = await call(office, "POST", f"alarms/{alarm['alarm_id']}/seen", **bearer(control, "dispatcher"))
    assert (status, seen["seen_by"]) == (200, "dispatcher-1")
    _, sign = await call(office, "GET", "signs/LS-1")
    assert [a["kind"] for a in sign["alarms"]] == ["offline"]


# ---- the live feed ---------------------------------------------------------------------------------------------------


async def receive(ws: Any, kind: str) -> Any:
    async with asyncio.timeout(10.0):
        while True:
            message = await ws.receive()
            assert message.type is WSMsgType.TEXT, (message.type, ws.close_code)
            told = json.loads(message.data)
            if told["type"] == kind:
                return told


async def closes(ws: Any) -> int:
    async with asyncio.timeout(10.0):
        while not ws.closed:
            await ws.receive()
    return int(ws.close_code)


async def test_a_page_is_told_what_it_shows_and_what_changes(world: Any, office: Client, control: SignControl) -> None:
    for k in range(50):
        control.enter_sign({"sign": f"LS-{k:02d}", "stops": "ABC"[k % 3]}, ROOT)
    world.bus.publish([world.board("A", world.departure("A", "1-8", 130))])
    control.health.opened("LS-03", world.clock.now(), {"rows": 2, "cols": 16, "lang": ["en"]})
    control.health.subscribed("LS-03", ["A"])
    token = bearer(control, "viewer")["Authorization"].removeprefix("Bearer ")
    async with office.ws_connect("/v1/admin/live", headers=FAR) as ws:
        await ws.send_json({"type": "auth", "token": token})
        assert (await receive(ws, "hello"))["role"] == "viewer"
        await ws.send_json({"type": "view", "offset": 2, "limit": 5})
        page = await receive(ws, "page")
        assert (page["total"], page["signs"]) == (50, [f"LS-{k:02d}" for k in range(2, 7)])
        assert sorted(page["rows"]) == page["signs"]
        assert page["counts"] == {"online": 1, "unseen": 49}
        (shown,) = page["rows"]["LS-03"]["boards"]
        lines = ["".join(text for text, _ in runs) for runs, _, _ in shown["pages"][0]["lines"]]
        assert lines[0].startswith("1 ") and lines[0].endswith("2min") and len(lines) == 2
        assert shown["shown"] is False
        control.health.shown("LS-03", "A", "e1", 1, 0.3)
        page = await receive(ws, "page")
        assert list(page["rows"]) == ["LS-03"], "only what has changed"
        assert page["rows"]["LS-03"]["boards"][0]["shown"] is True
        await ws.send_json({"type": "view", "q": "ls-4", "limit": 3})
        page = await receive(ws, "page")
        assert (page["total"], page["signs"]) == (10, ["LS-40", "LS-41", "LS-42"])


async def test_the_mirror_shows_modes_and_takes_a_silent_sign_for_its_word(
    world: Any, office: Client, control: SignControl
) -> None:
    from busd.signs.orders import ModeRequest

    world.bus.publish([world.board("A", world.departure("A", "1-8", 610))])
    control.health.opened("s1", world.clock.now(), {"rows": 4, "cols": 32, "lang": ["en"]})
    control.health.subscribed("s1", ["A"])

    async def shown() -> str:
        async with office.ws_connect("/v1/admin/live") as ws:
            await receive(ws, "hello")
            await ws.send_json({"type": "view"})
            page = await receive(ws, "page")
        (board,) = page["rows"]["s1"]["boards"]
        return "\n".join("".join(text for text, _ in runs) for runs, _, _ in board["pages"][0]["lines"])

    assert "10 min" in await shown()
    control.set_mode(ModeRequest("sign:s1", "text", {"en": "Closed today"}), ROOT)
    assert (await shown()).strip() == "Closed today"
    control.set_mode(ModeRequest("sign:s1", "off"), ROOT)
    assert (await shown()).strip() == ""
    control.clear_mode("sign:s1", ROOT)
    control.health.closed("s1", world.clock.now(), 1006)
    world.clock.advance(60.0)
    assert "min" in await shown(), "its board still lives"
    world.clock.advance(60.0)
    assert "min" not in await shown(), "from now on it shows the timetable"


async def test_the_feed_is_for_those_who_may_look(office: Client, control: SignControl) -> None:
    async with office.ws_connect("/v1/admin/live", headers=FAR) as ws:
        await ws.send_json({"type": "auth", "token": "wrong"})
        assert await closes(ws) == 4401
    async with office.ws_connect("/v1/admin/live", headers=FAR) as ws:
        await ws.send_json({"type": "view"})
        assert await closes(ws) == 4401
    async with office.get("/v1/admin/live", headers={"Origin": "http://elsewhere.example"}) as response:
        assert response.status == 403
    async with office.get("/v1/admin/live") as response:
        assert response.status == 426


@pytest.mark.parametrize(
    "message", ["[]", '{"type":"auth","token":"again"}', '{"type":"view","sort":"colour"}', "x" * 100]
)
async def test_a_page_that_talks_nonsense_loses_its_feed(office: Client, message: str) -> None:
    async with office.ws_connect("/v1/admin/live") as ws:
        await receive(ws, "hello")
        await ws.send_str(message)
        assert await closes(ws) == 4400


async def test_a_page_that_asks_too_often_loses_its_feed(office: Client) -> None:
    async with office.ws_connect("/v1/admin/live") as ws:
        await receive(ws, "hello")
        for k in range(200):
            await ws.send_json({"type": "view", "offset": k})
        assert await closes(ws) == 4005
