"""What all sign sessions share: boards, frames, configuration, timers, and who is connected. No I/O."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from busd.bus import BoardBus
from busd.clock import Clock
from busd.config import SignsConfig
from busd.signs.frames import FrameCache
from busd.signs.timers import TimerWheel

if TYPE_CHECKING:
    from busd.signs.channel import Channel
    from busd.signs.protocol import SignSession

Authenticate = Callable[[str, str], bool]
"""(sign id, token) -> may this sign connect? Must take the same time whatever is wrong."""


def token_authenticator(config: SignsConfig) -> Authenticate:
    """A sign with an entry in ``tokens`` needs that token; any other sign needs ``shared_token``, if there is one."""
    own = {sign: token.encode() for sign, token in config.tokens.items()}
    shared = config.shared_token.encode()

    def authenticate(sign: str, token: str) -> bool:
        expected = own.get(sign, shared)
        # An unknown sign costs the same comparison as a known one, so the time tells nothing about which ids exist.
        matches = hmac.compare_digest(expected, token.encode("utf-8", "replace"))
        return matches and bool(expected)

    return authenticate


class SignHub:
    """One per server. Sessions register themselves here; the rim drives `wheel` and writes for what is in `dirty`."""

    def __init__(
        self,
        config: SignsConfig,
        bus: BoardBus,
        frames: FrameCache,
        clock: Clock,
        authenticate: Authenticate,
        new_session_id: Callable[[], str],
    ) -> None:
        self.config = config
        self.bus = bus
        self.frames = frames
        self.clock = clock
        self.authenticate = authenticate
        self.new_session_id = new_session_id
        self.wheel: TimerWheel[Channel] = TimerWheel()
        self.signs: dict[str, SignSession] = {}
        """sign id -> its one session; the newest wins"""
        self.dirty: dict[Channel, None] = {}
        """sessions that have something to write, in order"""
        self.answers_sent: Counter[str] = Counter()
        """messages other than boards and sames by type; like the numbers below since the rim last took them"""
        self.boards_sent = 0
        self.sames_sent = 0
        self.conflated = 0
        self.bytes_sent = 0

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    @property
    def lang(self) -> str:
        """The language of signs that name none."""
        return self.config.lang or self.bus.network.default_lang
