"""What all sign sessions share: boards, frames, configuration, timers, and who is connected. No I/O."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from busd.bus import BoardBus
from busd.clock import Clock
from busd.config import SignsConfig
from busd.signs.audience import Audience
from busd.signs.commands import CommandBook
from busd.signs.frames import FrameCache
from busd.signs.modes import Mode, SignModes
from busd.signs.sink import NullSink, SignSink
from busd.signs.timers import TimerWheel
from busd.signs.worth import Worth

if TYPE_CHECKING:
    from busd.signs.channel import Channel
    from busd.signs.protocol import SignSession
    from busd.signs.slot import Slot

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
    """One per server. Sessions register themselves here; the rim drives `wheel` and `commands`, writes for what is in
    `dirty` and for the audiences in `changed`."""

    def __init__(
        self,
        config: SignsConfig,
        bus: BoardBus,
        frames: FrameCache,
        clock: Clock,
        authenticate: Authenticate,
        new_session_id: Callable[[], str],
        sink: SignSink | None = None,
        modes: SignModes | None = None,
    ) -> None:
        self.config = config
        self.bus = bus
        self.frames = frames
        self.clock = clock
        self.authenticate = authenticate
        self.may_connect: Callable[[str], bool] = lambda sign: True
        """asked about a sign with a good token; False closes with 4403"""
        self.may_watch: Callable[[str, str], bool] = lambda sign, stop_id: True
        """(sign, stop) of every ``sub``; False is answered by ``forbidden``"""
        self.new_session_id = new_session_id
        self.speed = float(getattr(clock, "speed", 1.0))
        """of the time that boards speak of (`ScaledClock`): a ttl ends in that time"""
        self.http = config.http
        """base URL of the HTTP doors, as told to every sign"""
        self.http_port = 0
        """of the rider web, for signs that are told no base URL; 0 = there is none"""
        self.sink: SignSink = sink or NullSink()
        self.modes = modes or SignModes()
        self.modes.on_change(self._modes_changed)
        self.commands = CommandBook(self)
        self.is_urgent = Worth()
        self.wheel: TimerWheel[Channel] = TimerWheel()
        self.signs: dict[str, SignSession] = {}
        """sign id -> its one session; the newest wins"""
        self.dirty: dict[Channel, None] = {}
        """sessions that have something to write, in order"""
        self.changed: dict[Audience, None] = {}
        """stops whose new board has not been handed on yet, in order"""
        self._audiences: dict[str, Audience] = {}
        self.answers_sent: Counter[str] = Counter()
        """messages other than boards and sames by type; like the numbers below since the rim last took them"""
        self.boards_sent = 0
        self.sames_sent = 0
        self.conflated = 0
        self.bytes_sent = 0

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def http_base(self, host: str) -> str:
        """Where a sign that knows this machine as ``host`` finds the HTTP doors and packs; empty = nowhere."""
        return self.http or (f"http://{host}:{self.http_port}" if host and self.http_port else "")

    @property
    def lang(self) -> str:
        """The language of signs that name none."""
        return self.config.lang or self.bus.network.default_lang

    # ---- audiences ---------------------------------------------------------------------------------------------------

    def audience(self, stop_id: str) -> Audience:
        """The audience of a stop, which hears of its boards from now on. A slot that goes says `part`."""
        audience = self._audiences.get(stop_id)
        if audience is None:
            audience = self._audiences[stop_id] = Audience(self, stop_id)
            self.bus.watch(stop_id, audience)
        return audience

    def part(self, slot: Slot) -> None:
        audience = slot.audience
        audience.part(slot)
        if audience.is_empty and self._audiences.get(audience.stop_id) is audience:
            del self._audiences[audience.stop_id]
            self.changed.pop(audience, None)
            self.bus.unwatch(audience.stop_id, audience)

    def spread(self) -> None:
        """Let every slot owe what its stop has new. A rim that can write at once has a shorter way."""
        changed, self.changed = self.changed, {}
        for audience in changed:
            audience.spread()

    def _modes_changed(self, modes: Mapping[str, Mode]) -> None:
        for sign, mode in modes.items():
            session = self.signs.get(sign)
            if session is not None:
                session.set_mode(mode)
