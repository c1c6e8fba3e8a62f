"""``GET /v1/packs/{id}``: the whole, parts of it, and what never changes."""

from __future__ import annotations

import gzip
import hashlib
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from busd.signs.packs import PackRef, PackShelf
from busd.web import create_app

Client = TestClient[Any, Any]


@pytest.fixture
async def door(world: Any) -> Any:
    shelf = PackShelf(lambda: world.network, world.clock)
    ref = await shelf.make("C")
    async with TestClient(TestServer(create_app(world.services(packs=shelf)))) as client:
        yield client, ref


async def test_the_whole_pack(door: tuple[Client, PackRef]) -> None:
    client, ref = door
    async with client.get(f"/v1/packs/{ref.id}", headers={"Accept-Encoding": "identity"}) as response:
        body = await response.read()
        assert response.status == 200 and hashlib.sha256(body).hexdigest() == ref.id
        assert response.headers["ETag"] == f'"{ref.id}"'
        assert response.headers["Cache-Control"] == "max-age=31536000, immutable"
        assert response.content_type == "application/json"
    async with client.head(f"/v1/packs/{ref.id}", headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200 and int(response.headers["Content-Length"]) == ref.size
    for tag in (f'"{ref.id}"', f'W/"{ref.id}"', "*"):
        async with client.get(f"/v1/packs/{ref.id}", headers={"If-None-Match": tag}) as response:
            assert response.status == 304 and await response.read() == b""


async def test_gzip_where_it_is_accepted(door: tuple[Client, PackRef]) -> None:
    client, ref = door
    async with client.get(
        f"/v1/packs/{ref.id}", headers={"Accept-Encoding": "gzip"}, auto_decompress=False
    ) as response:
        data = await response.read()
        assert response.headers["Content-Encoding"] == "gzip"
        assert len(data) < ref.size / 3
        assert hashlib.sha256(gzip.decompress(data)).hexdigest() == ref.id


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [("bytes=0-99", 0, 99), ("bytes=100-", 100, None), ("bytes=-50", -50, None), ("bytes=5-99999999", 5, None)],
)
async def test_parts(door: tuple[Client, PackRef], wanted: str, first: int, last: int | None) -> None:
    client, ref = door
    async with client.get(f"/v1/packs/{ref.id}", headers={"Accept-Encoding": "identity"}) as response:
        whole = await response.read()
    async with client.get(f"/v1/packs/{ref.id}", headers={"Range": wanted}) as response:
        part = await response.read()
        assert response.status == 206
        assert part == whole[first : None if last is None else last + 1]
        begin = len(whole) + first if first < 0 else first
        assert response.headers["Content-Range"] == f"bytes {begin}-{begin + len(part) - 1}/{len(whole)}"
        assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("odd", ["bytes=9-5", "bytes=-", "bytes=0-1,4-5", "lines=1-2", "bytes=a-b"])
async def test_odd_ranges_mean_the_whole(door: tuple[Client, PackRef], odd: str) -> None:
    client, ref = door
    headers = {"Range": odd, "Accept-Encoding": "identity"}
    async with client.get(f"/v1/packs/{ref.id}", headers=headers) as response:
        assert response.status == 200 and len(await response.read()) == ref.size


async def test_ranges_outside_and_of_another_pack(door: tuple[Client, PackRef]) -> None:
    client, ref = door
    async with client.get(f"/v1/packs/{ref.id}", headers={"Range": f"bytes={ref.size}-"}) as response:
        assert response.status == 416 and response.headers["Content-Range"] == f"bytes */{ref.size}"
    headers = {"Range": "bytes=0-9", "If-Range": '"other"', "Accept-Encoding": "identity"}
    async with client.get(f"/v1/packs/{ref.id}", headers=headers) as response:
        assert response.status == 200 and len(await response.read()) == ref.size


@pytest.mark.parametrize("unknown", ["0" * 64, "x", "../etc", "0" * 63, "A" * 64])
async def test_unknown_packs(door: tuple[Client, PackRef], unknown: str) -> None:
    client, _ = door
    async with client.get(f"/v1/packs/{unknown}") as response:
        assert response.status == 404
