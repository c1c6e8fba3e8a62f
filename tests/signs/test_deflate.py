"""permessage-deflate: agreed on as RFC 7692 wants it, packed once for everybody, unpacked by an independent decompressor."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.deflate import SERVER_BITS, deflated_frame
from busd.signs.hub import SignHub, token_authenticator
from busd.signs.messages import CloseCode
from busd.signs.server import SignServer

OFFER = "Sec-WebSocket-Extensions: permessage-deflate{}\r\n"
Make = Callable[..., Any]


class Unpacker:
    """What a small sign has: one raw inflater with a window, for the compressed messages of its connection."""

    def __init__(self, bits: int = SERVER_BITS) -> None:
        self._inflate = zlib.decompressobj(wbits=-bits)

    def messages(self, raw: bytes) -> list[tuple[bool, bytes]]:
        """(compressed, payload) of every text frame."""
        found = []
        while raw:
            first, size, at = raw[0], raw[1], 2
            if size == 126:
                size, at = int.from_bytes(raw[2:4], "big"), 4
            payload, raw = raw[at : at + size], raw[at + size :]
            assert first in (0x81, 0xC1)
            if first == 0xC1:
                payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
            found.append((first == 0xC1, payload))
        return found


def shake(hub: SignHub, peer_class: Any, parameters: str = "", sign: str = "LS-1") -> tuple[Any, str]:
    """A sign that asks for deflate and has said hello; and the answer to its offer."""
    peer = peer_class(hub, shake=False)
    peer.send(peer.request(extra=OFFER.format(parameters)))
    head = peer.take().partition(b"\r\n\r\n")[0].decode()
    answer = next((line for line in head.split("\r\n") if line.lower().startswith("sec-websocket-extensions")), "")
    peer.hello(sign=sign)
    peer.take()
    return peer, answer.partition(": ")[2]


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("", "permessage-deflate; client_no_context_takeover; server_max_window_bits=13"),
        (
            "; client_max_window_bits",
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=13; client_max_window_bits=12",
        ),
        (
            "; server_max_window_bits=10; client_max_window_bits=9",
            "permessage-deflate; client_no_context_takeover; server_max_window_bits=10; client_max_window_bits=9",
        ),
        (
            "; server_no_context_takeover",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=13",
        ),
        ("; server_max_window_bits=8", ""),  # zlib cannot; the connection goes on uncompressed
        ("; nonsense", ""),
    ],
)
def test_what_is_agreed_on(hub: SignHub, peer_class: Any, asked: str, agreed: str) -> None:
    peer, answer = shake(hub, peer_class, asked)
    assert set(answer.split("; ")) == set(agreed.split("; "))
    peer.sub("S1")
    messages = Unpacker().messages(peer.take())
    assert [compressed for compressed, _ in messages] == [False, bool(agreed)]
    assert orjson.loads(messages[1][1])["type"] == "board"


def test_a_board_is_packed_once_and_refers_to_the_one_before(
    hub: SignHub, peer_class: Any, bus: BoardBus, board: Make, clock: ManualClock
) -> None:
    a, b = (shake(hub, peer_class, sign=name)[0] for name in ("a", "b"))
    unpackers = Unpacker(), Unpacker()
    sizes = []
    for rev in range(18, 24):
        if rev == 18:
            a.sub("S1")
            b.sub("S1")
        else:
            clock.advance(2)
            bus.publish([board(1, rev)])
        raws = a.take(), b.take()
        assert raws[0] == raws[1]
        for unpacker, raw in zip(unpackers, raws):
            compressed, payload = unpacker.messages(raw)[-1]
            assert compressed and orjson.loads(payload)["rev"] == rev
        sizes.append(len(raws[0]))
        a.say(type="hb", seq=rev)  # what is not compressed leaves the window alone
        b.say(type="hb", seq=rev)
        a.take(), b.take()
    plain = len(hub.frames.board_frame("S1", ("en", "zh-Hans"), 10, hub.now_ms()) or b"")
    assert max(sizes[1:]) < plain / 8, "the first stands alone, the others tell only what is new"
    encoded = hub.frames.encoded("S1", a.session.variant, hub.now_ms())
    assert encoded is not None and encoded._deflated is not None and len(encoded._deflated) == 1


@pytest.mark.parametrize("asked", ["; server_no_context_takeover", "; server_max_window_bits=9"])
def test_small_windows_and_peers_that_forget(
    hub: SignHub, peer_class: Any, bus: BoardBus, board: Make, clock: ManualClock, asked: str
) -> None:
    peer, _ = shake(hub, peer_class, asked)
    forgets, unpacker = "no_context" in asked, Unpacker(9)
    revisions = []
    peer.sub("S1", "S2")
    for rev in range(18, 22):
        if rev > 18:
            clock.advance(2)
            bus.publish([board(1, rev), board(2, rev)])
        for frame in _split(peer.take()):
            [(_, payload)] = (Unpacker(15) if forgets else unpacker).messages(frame)
            revisions.append(orjson.loads(payload).get("rev"))
    assert revisions == [None, 18, 18, 19, 19, 20, 20, 21, 21]


def _split(raw: bytes) -> list[bytes]:
    frames = []
    while raw:
        size, at = raw[1], 2
        if size == 126:
            size, at = int.from_bytes(raw[2:4], "big"), 4
        frames.append(raw[: at + size])
        raw = raw[at + size :]
    return frames


@given(payloads=st.lists(st.binary(max_size=20_000), min_size=1, max_size=5), bits=st.integers(9, 15))
def test_any_chain_of_messages_is_understood(payloads: list[bytes], bits: int) -> None:
    unpacker, before = Unpacker(bits), b""
    for payload in payloads:
        assert unpacker.messages(deflated_frame(payload, bits, before)) == [(True, payload)]
        before = payload


def packed(payload: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-12)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_compressed_messages_of_a_sign_are_read(hub: SignHub, peer_class: Any) -> None:
    peer, _ = shake(hub, peer_class)
    for seq in (1, 2):
        peer.send(peer.frame(packed(b'{"type":"hb","seq":%d}' % seq), rsv=0x40))
        assert peer.read()[0]["seq"] == seq
    data = packed(b'{"type":"hb","seq":3}')
    peer.send(peer.frame(data[:5], rsv=0x40, fin=False))
    peer.send(peer.frame(data[5:], opcode=0))
    assert peer.read()[0]["seq"] == 3


@pytest.mark.parametrize("cut", [None, 10])
def test_an_inflate_bomb_is_too_big(hub: SignHub, peer_class: Any, cut: int | None) -> None:
    peer, _ = shake(hub, peer_class)
    bomb = packed(b'{"type":"x","a":"' + b" " * 10_000_000 + b'"}')
    assert len(bomb) < 16_000
    if cut is None:
        peer.send(peer.frame(bomb, rsv=0x40))
    else:
        peer.send(peer.frame(bomb[:cut], rsv=0x40, fin=False))
        peer.send(peer.frame(bomb[cut:], opcode=0))
    peer.read()
    assert peer.close_code == CloseCode.TOO_BIG


@pytest.mark.parametrize("junk", [b"\xff\xff\xff\xff", b"\x00", packed(b'{"type":"\xff"}')])
def test_what_cannot_be_unpacked_ends_the_connection(hub: SignHub, peer_class: Any, junk: bytes) -> None:
    peer, _ = shake(hub, peer_class)
    peer.send(peer.frame(junk, rsv=0x40))
    peer.read()
    assert peer.close_code in (1002, 1007, 4400)


@pytest.fixture
async def server(config: SignsConfig, bus: BoardBus, clock: ManualClock) -> AsyncIterator[SignServer]:
    server = SignServer(config, bus, clock, token_authenticator(config))
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize(
    "factory",
    [
        ClientPerMessageDeflateFactory(client_max_window_bits=True),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ClientPerMessageDeflateFactory(server_no_context_takeover=True),
    ],
)
async def test_an_independent_client_with_deflate(
    server: SignServer, bus: BoardBus, clock: ManualClock, board: Make, factory: Any
) -> None:
    url = f"ws://127.0.0.1:{server.port}/v1/sign"
    async with connect(url, subprotocols=["busd.sign.v1"], compression=None, extensions=[factory]) as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        await client.send(orjson.dumps({"type": "hello", "v": 1, "sign": "x", "token": "demo"}), text=True)
        await client.send(orjson.dumps({"type": "sub", "id": 1, "stops": ["S1"]}), text=True)
        types = [orjson.loads(await client.recv())["type"] for _ in range(3)]
        assert types == ["welcome", "subscribed", "board"]
        for rev in range(19, 25):
            clock.advance(2)
            bus.publish([board(1, rev)])
            assert orjson.loads(await client.recv())["rev"] == rev
