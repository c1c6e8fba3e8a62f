"""The HTTP doors: what good requests get, and that bad ones get a clear answer and nothing else."""

from __future__ import annotations

import gzip
import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.signs.frames import FrameCache
from busd.signs.render import board_json
from busd.types import Basis, Board, DatedTrip, Phase
from busd.web import WebServices, create_app
from busd.web.catalogue import Catalogue
from gtfs.testing import network_from_map

Client = TestClient[Any, Any]


async def body(client: Client, path: str, **headers: str) -> Any:
    async with client.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


# ---- stops and lines -------------------------------------------------------------------------------------------------


async def test_stops_list_every_stop_with_names_and_lines(client: Client) -> None:
    stops = {stop["id"]: stop for stop in await body(client, "/v1/stops")}
    assert len(stops) == 13
    assert stops["C"] == {
        "id": "C",
        "name": {"zh-Hans": "西关什字", "bo": "ཞི་ཀོན་འབབ་ཚུགས།", "en": "Xiguan Cross"},
        "lat": pytest.approx(36.06, abs=0.01),
        "lon": pytest.approx(103.87, abs=0.05),
        "lines": ["1", "旅游3路"],
        "heads": [
            {"zh-Hans": "东岗", "en": "Donggang"},
            {"zh-Hans": "西站什字", "en": "Xizhan Cross", "bo": "ཞི་ཀྲན་འབབ་ཚུགས།"},
            {"zh-Hans": "南关什字", "en": "Nanguan Cross"},
        ],
        "code": "1002",
    }


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("q=Railway", "L"),
        ("q=railway+STATION", "L"),
        ("q=station+railway", "L"),
        ("q=火车", "L"),
        ("q=མེ་འཁོར", "L"),
        ("q=1011", "L"),
        ("q=Ｌanzhou", "E"),  # a full-width letter, as Chinese keyboards give
        ("near=36.06,103.83", "A"),
        ("q=cross&near=36.06,103.83", "A"),
    ],
)
async def test_search_finds(client: Client, query: str, first: str) -> None:
    assert (await body(client, f"/v1/stops?{query}"))[0]["id"] == first


async def test_a_last_stop_leads_nowhere_but_back(client: Client) -> None:
    stops = {stop["id"]: stop for stop in await body(client, "/v1/stops")}
    assert [head["en"] for head in stops["F"]["heads"]] == ["Xizhan Cross"]


async def test_search_without_a_match_is_an_empty_list(client: Client) -> None:
    assert await body(client, "/v1/stops?q=no+such+place") == []


async def test_near_is_sorted_and_says_how_far(client: Client) -> None:
    stops = await body(client, "/v1/stops?near=36.06,103.83&limit=5")
    far = [stop["distance_m"] for stop in stops]
    assert len(far) == 5
    assert far == sorted(far)
    assert far[0] < 5
    assert far[1] == pytest.approx(800, rel=0.01)  # two rows of 400 m below


@pytest.mark.parametrize(
    "path",
    [
        "/v1/stops?near=1",
        "/v1/stops?near=a,b",
        "/v1/stops?near=nan,1",
        "/v1/stops?near=91,0",
        "/v1/stops?near=0,181",
        "/v1/stops?near=1,2,3",
        "/v1/stops?limit=0",
        "/v1/stops?limit=1001",
        "/v1/stops?limit=-1",
        "/v1/stops?limit=1.5",
        "/v1/stops?limit=",
        "/v1/stops?limit=５",
        "/v1/stops?q=a&q=b",
        "/v1/stops?q=" + "x" * 101,
        "/v1/vehicles?bbox=1,2,3",
        "/v1/vehicles?bbox=2,2,1,3",
        "/v1/vehicles?bbox=inf,2,1,3",
        "/v1/vehicles?bbox=0,0,95,1",
        "/v1/boards/C?max_deps=0",
        "/v1/boards/C?max_deps=31",
        "/v1/boards/C?max_deps=x",
        "/v1/boards/C?lang=",
        "/v1/boards/C?lang=zh_Hans",
        "/v1/boards/C?lang=en,",
        "/v1/boards/C?lang=%3Cscript%3E",
        "/v1/boards/C?lang=" + ",".join(["en"] * 9),
    ],
)
async def test_bad_queries_are_400(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 400
        answer = await response.json()
        assert answer["error"] == "bad_query"
        assert answer["detail"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/v1/boards/nowhere", "unknown_stop"),
        ("/v1/boards/nowhere.png", "unknown_stop"),
        ("/v1/boards/C%2Epng", "unknown_stop"),
        ("/v1/boards/nowhere/events", "unknown_stop"),
        ("/v1/boards/..%2F..%2Fetc%2Fpasswd", "unknown_stop"),
        ("/v1/lines/nowhere", "unknown_line"),
        ("/v1/vehicles?line=nowhere", "unknown_line"),
        ("/v1/nothing", "not_found"),
        ("/static/no.js", "not_found"),
        ("/static/../server.py", "not_found"),
        ("/static/..%2Fserver.py", "not_found"),
        ("/static/%2e%2e/server.py", "not_found"),
        ("/nothing", "not_found"),
    ],
)
async def test_what_is_not_there_is_404(client: Client, path: str, word: str) -> None:
    async with client.get(URL(path, encoded=True)) as response:
        assert response.status == 404
        assert (await response.json())["error"] == word


async def test_other_methods_are_405(client: Client) -> None:
    for path in ("/", "/v1/stops", "/v1/boards/C", "/v1/live"):
        async with client.post(path, data=b"x") as response:
            assert response.status == 405
            assert "GET" in response.headers["Allow"]


async def test_lines_are_in_the_order_people_count(client: Client) -> None:
    lines = await body(client, "/v1/lines")
    assert [line["line"] for line in lines] == ["1", "K2", "旅游3路"]
    assert lines[0]["color"] == "0055A4"
    assert [head["en"] for head in lines[0]["heads"]] == ["Donggang", "Xizhan Cross"]


async def test_line_has_its_patterns_and_shapes(client: Client) -> None:
    line = await body(client, "/v1/lines/%E6%97%85%E6%B8%B83%E8%B7%AF")
    assert line["line"] == "旅游3路"
    there, back = line["patterns"]
    assert (there["stops"], back["stops"]) == (["M", "I", "C", "D"], ["D", "C", "I", "M"])
    assert there["trips"] == 40
    shape = line["shapes"][str(there["shape"])]
    assert shape["type"] == "LineString"
    assert len(shape["coordinates"]) == len(shape["m"]) == 4
    assert shape["m"][0] == 0
    assert there["stop_m"] == [round(m) for m in shape["m"]]


async def test_map_has_one_simplified_line_per_direction(client: Client) -> None:
    features = (await body(client, "/v1/map"))["features"]
    assert [f["properties"]["route"] for f in features] == ["1", "1", "K2", "K2", "旅游3路", "旅游3路"]
    assert len(features[0]["geometry"]["coordinates"]) == 2  # a straight street of six stops


@pytest.mark.parametrize("path", ["/v1/stops", "/v1/lines/1", "/v1/map", "/static/js/app.js"])
async def test_fixed_bodies_have_tags_and_gzip(client: Client, path: str) -> None:
    client.session._auto_decompress = False
    async with client.get(path, headers={"Accept-Encoding": "identity"}) as response:
        plain, tag = await response.read(), response.headers["ETag"]
        assert "Content-Encoding" not in response.headers
        assert "Accept-Encoding" in response.headers["Vary"]
    async with client.get(path, headers={"Accept-Encoding": "br, gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert response.headers["ETag"] != tag
        assert gzip.decompress(await response.read()) == plain
        zipped_tag = response.headers["ETag"]
    async with client.get(path, headers={"Accept-Encoding": "gzip;q=0"}) as response:
        assert "Content-Encoding" not in response.headers
    for known in (tag, zipped_tag, f"W/{tag}", f'"other", {tag}', "*"):
        async with client.get(path, headers={"If-None-Match": known}) as response:
            assert response.status == 304
            assert await response.read() == b""
    async with client.get(path, headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200
    async with client.head(path, headers={"Accept-Encoding": "identity"}) as response:
        assert (response.status, int(response.headers["Content-Length"])) == (200, len(plain))


# ---- boards ----------------------------------------------------------------------------------------------------------


async def test_board_is_the_bytes_of_the_signs(client: Client, world: Any) -> None:
    board = world.board("C", world.departure("C", "1-8", 300, stops_away=2))
    world.bus.publish([board])
    now_ms = int(world.clock.now() * 1000)
    async with client.get("/v1/boards/C") as response:
        assert response.status == 200
        assert await response.read() == board_json(board, world.network, (), 10, now_ms)
        assert response.headers["ETag"] == 'W/"e1-1"'
        assert response.headers["Cache-Control"] == "max-age=30"
        assert response.headers["Busd-Now"] == str(now_ms)
        assert response.headers["Busd-Ttl"] == "90"
        assert "Accept-Encoding" in response.headers["Vary"]


async def test_board_unchanged_is_304_with_the_four_headers(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", world.departure("C", "1-8", 300))])
    async with client.get("/v1/boards/C") as response:
        tag = response.headers["ETag"]
    world.clock.advance(40.0)
    async with client.get("/v1/boards/C", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
        assert await response.read() == b""
        assert response.headers["ETag"] == tag
        assert response.headers["Cache-Control"] == "max-age=30"
        assert response.headers["Busd-Now"] == str(int(world.clock.now() * 1000))
        assert response.headers["Busd-Ttl"] == "90"
    world.bus.publish([world.board("C", world.departure("C", "1-8", 240))])
    async with client.get("/v1/boards/C", headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] == 'W/"e1-2"'


async def test_board_head_has_no_body(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", world.departure("C", "1-8", 300))])
    async with client.head("/v1/boards/C") as response:
        assert response.status == 200
        assert response.headers["ETag"] == 'W/"e1-1"'
        assert await response.read() == b""


async def test_board_is_cut_to_languages_and_length(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", *(world.departure("C", f"1-{i}", 300 + 60 * i) for i in range(5)), ttl_s=30.0)])
    board = await body(client, "/v1/boards/C?lang=en&max_deps=2")
    assert board["name"] == {"en": "Xiguan Cross"}
    assert len(board["deps"]) == 2
    assert board["deps"][0]["head"] == {"en": "Donggang"}


async def test_board_before_its_first_revision_is_503(client: Client) -> None:
    async with client.get("/v1/boards/B") as response:
        assert response.status == 503
        assert (await response.json()) == {"error": "no_board_yet"}
        assert response.headers["Retry-After"]


async def test_board_identity_is_available_and_gzip_on_request(client: Client, world: Any) -> None:
    world.bus.publish([world.board("C", *(world.departure("C", f"1-{i}", 300 + 60 * i) for i in range(9)))])
    client.session._auto_decompress = False
    async with client.get("/v1/boards/C", headers={"Accept-Encoding": "identity"}) as response:
        plain = await response.read()
        assert "Content-Encoding" not in response.headers
    async with client.get("/v1/boards/C", headers={"Accept-Encoding": "gzip"}) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert orjson.loads(gzip.decompress(await response.read())) == orjson.loads(plain)


async def test_stop_ids_may_hold_anything() -> None:
    odd = "中/文 站?#%2F.png"
    rows = f'stop_id,stop_name,stop_lat,stop_lon\n"{odd}",<b>站</b>,36.06,103.83\nB,B,36.06,103.85\n'
    times = "trip_id,stop_sequence,stop_id,arrival_time,departure_time\n" + "".join(
        f'1-{k},1,"{odd}",08:{k}0:00,08:{k}0:00\n1-{k},2,B,08:{k}5:00,08:{k}5:00\n' for k in range(3)
    )
    network = network_from_map("A-B", {"1": "AB"}, tables={"stops.txt": rows, "stop_times.txt": times})
    bus = BoardBus(network)
    services = WebServices(bus=bus, frames=FrameCache(bus), clock=ManualClock(1_795_000_000.0))
    stop_idx = network.find_stop(odd)
    assert stop_idx is not None
    bus.publish([Board(stop_idx, "e", 1, 1_795_000_000.0, 90.0, "schedule", [], [])])
    async with TestClient(TestServer(create_app(services))) as client:
        path = URL(f"/v1/boards/{quote(odd, safe='').replace('.png', '%2Epng')}", encoded=True)
        async with client.get(path) as response:
            assert response.status == 200
            assert (await response.json())["stop"] == odd


# ---- buses, health, metrics, headers ---------------------------------------------------------------------------------


async def test_vehicles_have_their_place_on_the_line(client: Client, world: Any) -> None:
    world.vehicles.append(world.progress("1207", "1-8", 700, occupancy=2, label="甘A·12345"))
    (bus,) = await body(client, "/v1/vehicles")
    assert bus["lat"] == pytest.approx(36.06, abs=1e-3)
    del bus["lat"], bus["lon"]
    assert bus == {
        "id": "1207",
        "route": "1",
        "line": "1",
        "head": {"zh-Hans": "东岗", "en": "Donggang"},
        "at": int(world.clock.now()) - 4,
        "phase": "In service",
        "label": "甘A·12345",
        "bearing": 90,
        "dist": 700,
        "shape": bus["shape"],
        "next": "B",
        "dev": 65,
        "occ": "few_seats",
        "age": 4,
    }
    line = await body(client, "/v1/lines/1")
    assert str(bus["shape"]) in line["shapes"]


async def test_vehicles_without_a_trip_are_not_shown(client: Client, world: Any) -> None:
    world.vehicles.append(world.progress("1", "1-8", 700, trip=None, phase=Phase.DEADHEAD))
    world.vehicles.append(world.progress("2", "1-8", 700, trip=DatedTrip(10**6, "20261118")))
    world.vehicles.append(world.progress("3", "1-8", 700, off_route=True))
    (bus,) = await body(client, "/v1/vehicles")
    assert bus["id"] == "3"
    assert bus["off_route"] is True
    assert "dist" not in bus


async def test_vehicles_can_be_chosen(client: Client, world: Any) -> None:
    world.vehicles += [world.progress("1", "1-8", 100), world.progress("2", "K2-8", 100)]
    assert [v["id"] for v in await body(client, "/v1/vehicles?line=K2")] == ["2"]
    assert [v["id"] for v in await body(client, "/v1/vehicles?bbox=36.055,103.8,36.07,103.9")] == ["1"]
    assert await body(client, "/v1/vehicles?bbox=0,0,1,1") == []


async def test_healthz_tells_and_decides(client: Client, world: Any) -> None:
    async with client.get("/healthz") as response:
        assert response.status == 200
        assert await response.json() == world.health
        assert response.headers["Cache-Control"] == "no-store"
    world.health["ok"] = False
    async with client.get("/healthz") as response:
        assert response.status == 503
        assert (await response.json())["ok"] is False


async def test_metrics_count_requests_by_pattern(client: Client) -> None:
    await client.get("/v1/boards/secret-stop")
    await client.get("/no/such/secret")
    async with client.get("/metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    assert 'busd_web_requests_total{route="/v1/boards/{stop}",status="404"}' in text
    assert "secret" not in text


async def test_config_says_what_the_page_must_know(client: Client, world: Any) -> None:
    config = await body(client, "/v1/config")
    assert config["timezone"] == "Asia/Shanghai"
    assert config["simulated"] is False
    assert config["now"] == int(world.clock.now() * 1000)
    south, west, north, east = config["bbox"]
    assert south < north
    assert west < east


@pytest.mark.parametrize("path", ["/", "/static/js/app.js", "/v1/stops", "/v1/nothing", "/metrics"])
async def test_every_answer_has_the_security_headers(client: Client, path: str) -> None:
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["Server"] == "busd"


async def test_page_and_vendored_files_come_whole(client: Client) -> None:
    async with client.get("/") as response:
        assert response.content_type == "text/html"
        page = await response.text()
    assert "http://" not in page
    assert "https://" not in page
    async with client.get("/static/vendor/leaflet/LICENSE") as response:
        assert "Volodymyr Agafonkin" in await response.text()
    async with client.get("/static/vendor/leaflet/leaflet.js") as response:
        assert response.headers["Cache-Control"] == "max-age=604800"
        assert 'version="1.9.4"' in await response.text()


async def test_the_three_catalogues_of_words_fit_together(client: Client) -> None:
    words = {tag: await body(client, f"/static/i18n/{tag}.json") for tag in ("zh-Hans", "en", "bo")}
    assert set(words["zh-Hans"]) == set(words["en"])
    assert set(words["bo"]) <= set(words["en"])

    def holes(phrase: Any) -> set[str]:
        text = phrase if isinstance(phrase, str) else json.dumps(phrase)
        return {part.split("}")[0] for part in text.split("{")[1:] if "}" in part and part.split("}")[0].isalpha()}

    for key, phrase in words["en"].items():
        for tag in ("zh-Hans", "bo"):
            if key in words[tag]:
                assert holes(words[tag][key]) <= holes(phrase), (tag, key)


async def test_a_new_timetable_is_served_as_soon_as_the_boards_speak_of_it(client: Client, world: Any) -> None:
    assert len(await body(client, "/v1/stops")) == 13
    world.bus.rebind(network_from_map("X-Y", {"9": "XY"}))
    assert [stop["id"] for stop in await body(client, "/v1/stops")] == ["X", "Y"]
    assert [line["id"] for line in await body(client, "/v1/lines")] == ["9"]


def test_vehicle_whose_board_is_scheduled_needs_no_prediction(world: Any) -> None:
    departure = world.departure("C", "1-8", 300, basis=Basis.SCHEDULE)
    board = orjson.loads(board_json(world.board("C", departure), world.network, (), 10, 0))
    assert board["deps"][0]["src"] == "schedule"
    assert Catalogue(world.network).stop_at(0, 99) is None
