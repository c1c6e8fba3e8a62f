"""A terminal on a bench: builds frames, drives a `Session` or a socket, reads the answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings

from busd.config import Jt808Config
from busd.feeds.jt808.events import Event
from busd.feeds.jt808.frame import Frame, FrameReader, encode_frame, phone_bytes
from busd.feeds.jt808.message import MessageId, decode_answer, decode_registration_answer
from busd.feeds.jt808.session import Session
from busd.feeds.jt808.terminal import encode_auth, encode_location, encode_registration
from busd.registry import DeviceRegistry

settings.register_profile("busd", deadline=None)  # the machine that runs the tests is shared
settings.load_profile("busd")

NOW = 1_795_400_000.0


@dataclass
class Terminal:
    """One simulated terminal; serials run on, answers are checked for layout and phone."""

    phone: str = "13912345678"
    version: int = 2013
    plate: str = "甘A12345D"
    terminal_id: str = "T000042"
    code: bytes = b""
    serial: int = 6
    answers: FrameReader = field(default_factory=FrameReader)

    @property
    def raw(self) -> bytes:
        return phone_bytes(self.phone, self.version)

    def frame(self, message_id: int, body: bytes = b"", **options: Any) -> bytes:
        self.serial = (self.serial + 1) & 0xFFFF
        return encode_frame(message_id, self.raw, self.serial, body, self.version, **options)

    def register(self) -> bytes:
        return self.frame(MessageId.REGISTER, encode_registration(self.plate, self.version, self.terminal_id))

    def authenticate(self, code: bytes | None = None) -> bytes:
        return self.frame(MessageId.AUTHENTICATE, encode_auth(self.code if code is None else code, self.version))

    def location(self, at: float = NOW, lat: float = 36.061089, lon: float = 103.834304, **options: Any) -> bytes:
        return self.frame(MessageId.LOCATION, encode_location(lat, lon, 10.0, 88.0, 1520.0, at, **options))

    def read(self, data: bytes) -> list[Frame]:
        """Answers in these bytes; they must be good frames of this terminal's layout."""
        frames = self.answers.receive_data(data)
        for item in frames:
            assert isinstance(item, Frame), item
            assert item.phone_raw == self.raw
            assert item.is_2019 == (self.version >= 2019)
        return [item for item in frames if isinstance(item, Frame)]

    def results(self, data: bytes) -> list[tuple[int, int, int]]:
        """(serial, message id, result) of every general answer in ``data``."""
        found = [decode_answer(item.body) for item in self.read(data) if item.message_id == MessageId.PLATFORM_ANSWER]
        return [answer for answer in found if answer is not None]

    def take_code(self, data: bytes) -> int:
        """Reads 0x8100; keeps the code and gives the result."""
        (item,) = [item for item in self.read(data) if item.message_id == MessageId.REGISTER_ANSWER]
        answer = decode_registration_answer(item.body)
        assert answer is not None and answer[0] == self.serial
        self.code = answer[2] or self.code
        return answer[1]


class Bench:
    """A session with its registry; ``say`` feeds bytes and gives (events, answer bytes)."""

    def __init__(self, **config: Any) -> None:
        self.config = Jt808Config(port=0, host="127.0.0.1", **config)
        self.registry = DeviceRegistry()
        self.codes = (b"code-%04d" % n for n in itertools.count(1))
        self.session = self.new_session()

    def new_session(self) -> Session:
        return Session(self.config, self.registry, lambda: next(self.codes))

    def say(self, data: bytes, at: float = NOW) -> tuple[list[Event], bytes]:
        self.session.receive_data(data, at)
        return self.session.events(), self.session.data_to_send()

    def login(self, terminal: Terminal) -> None:
        assert terminal.take_code(self.say(terminal.register())[1]) == 0
        assert [answer[2] for answer in terminal.results(self.say(terminal.authenticate())[1])] == [0]


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def make_terminal() -> type[Terminal]:
    return Terminal


@pytest.fixture
def make_bench() -> type[Bench]:
    return Bench


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def now() -> float:
    return NOW
