"""Whatever happens, signs that are served together hear the same as signs that are served one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from busd.bus import BoardBus
from busd.clock import ManualClock
from busd.config import SignsConfig
from busd.signs.fanout import fan_out
from busd.signs.frames import FrameCache
from busd.signs.hub import SignHub, token_authenticator
from busd.signs.modes import Mode

SIGNS = ("a", "b", "c")
sign = st.integers(0, len(SIGNS) - 1)
Event = tuple[Any, ...]
events = st.lists(
    st.tuples(st.sampled_from(["news", "news", "board"]), st.integers(1, 3))
    | st.tuples(st.just("wait"), st.sampled_from([0.2, 0.6, 1.1, 12.0, 31.0]))
    | st.tuples(st.sampled_from(["block", "resume", "hb", "again", "leave"]), sign)
    | st.tuples(st.just("pace"), sign, st.sampled_from([1, 2]))
    | st.tuples(st.just("mode"), sign, st.sampled_from(["off", "auto"])),
    max_size=30,
)


class World:
    """A hub with some signs of one stop; ``together``: as the server serves them, else each by its slot."""

    def __init__(self, config: SignsConfig, network: Any, board: Callable[..., Any], peer: Any, together: bool) -> None:
        self.clock, self.bus, self.board = ManualClock(1_795_000_001.0), BoardBus(network), board
        self.rev, self.together = 18, together
        self.bus.publish([board(1, 18)])
        self.hub = SignHub(
            config, self.bus, FrameCache(self.bus), self.clock, token_authenticator(config), lambda: "9f3a1c"
        )
        self.bus.on_flush(self.flush)
        self.peers = [self.connect(peer, name) for name in SIGNS]
        self.heard: list[list[tuple[Any, ...]]] = [[] for _ in SIGNS]
        for one in self.peers:
            assert one.types() == ["welcome", "subscribed", "board"]

    def connect(self, peer: Any, name: str) -> Any:
        one = peer(self.hub)

        def write(data: bytes) -> None:
            one.raw += data

        if self.together:
            one.session.write_now = write
        one.hello(sign=name)
        one.sub("S1")
        return one

    def flush(self) -> None:
        """As the server does: first what is queued, then the new boards."""
        hub = self.hub
        peers = {one.session: one for one in getattr(self, "peers", [])}
        while hub.dirty or hub.changed:
            dirty, hub.dirty = hub.dirty, {}
            for session in dirty:
                if session in peers:
                    peers[session].raw += peers[session].take()
            changed, hub.changed = hub.changed, {}
            for audience in changed:
                if self.together:
                    fan_out(audience, hub, hub.now_ms())
                else:
                    audience.spread()

    def happen(self, event: Event) -> None:
        what, who = event[0], event[1]
        match what:
            case "board" | "news":
                if what == "news":  # what comes after the pace is for the cohort
                    self.happen(("wait", 1.1))
                for _ in range(who):
                    self.rev += 1
                    self.bus.publish([self.board(1, self.rev)])
            case "wait":
                end = self.clock.monotonic() + who
                while self.clock.monotonic() < end - 1e-9:
                    self.clock.advance(0.1)
                    self.turn()
            case "mode":
                self.hub.modes.replace({} if event[2] == "auto" else {SIGNS[who]: Mode("off", {}, "k")}, 0.0)
            case _:
                self.of_one(what, self.peers[who], event)
        self.flush()
        for one, heard in zip(self.peers, self.heard):
            heard += [(m["type"], m.get("epoch"), m.get("rev"), m.get("code")) for m in one.read()]

    def of_one(self, what: str, one: Any, event: Event) -> None:
        if what == "block":
            one.session.write_blocked()
        elif what == "resume":
            one.session.write_resumed()
        elif what == "hb":
            one.say(type="hb", seq=1)
        elif what == "leave":
            one.session.receive_eof()
        else:
            one.sub("S1", id=2, min_interval=event[2] if what == "pace" else 1)

    def turn(self) -> None:
        due = self.hub.wheel.due(self.clock.monotonic())
        for session in due:
            session.on_time(self.clock.monotonic())
        self.flush()
        for session in due:
            if not session.must_abort:
                self.hub.wheel.schedule(session, session.next_deadline())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=events)
def test_together_and_one_by_one_are_the_same(
    script: list[Event], config: SignsConfig, hand_network: Any, board: Callable[..., Any], peer_class: Any
) -> None:
    worlds = [World(config, hand_network, board, peer_class, together) for together in (True, False)]
    for event in script:
        for world in worlds:
            world.happen(event)
        assert worlds[0].heard == worlds[1].heard
    for one, other in zip(worlds[0].peers, worlds[1].peers):
        for session in (one.session, other.session):
            for slot in session.slots.values():
                slot.catch_up()
                session.bytes_out += slot.bytes_out
        assert one.session.bytes_out == other.session.bytes_out
        one.session.connection_lost()
    assert not worlds[0].hub._audiences, "nothing is left of those who have gone"


def test_a_cohort_is_written_the_very_same_frame(
    config: SignsConfig, hand_network: Any, board: Callable[..., Any], peer_class: Any
) -> None:
    world = World(config, hand_network, board, peer_class, together=True)
    world.happen(("wait", 1.1))
    world.happen(("board", 1))
    (audience,) = world.hub._audiences.values()
    (cohort,) = audience.cohorts.values()
    assert len(cohort.members) == len(SIGNS) and not audience.singles
    world.happen(("wait", 1.1))
    world.happen(("board", 1))
    assert [heard[-1][2] for heard in world.heard] == [20] * len(SIGNS)
    world.happen(("block", 0))
    assert len(cohort.members) == len(SIGNS) - 1
    world.happen(("wait", 1.1))
    world.happen(("board", 1))
    assert [heard[-1][2] for heard in world.heard] == [20, 21, 21]


def test_the_refresher_counts_from_the_last_board(
    config: SignsConfig, hand_network: Any, board: Callable[..., Any], peer_class: Any
) -> None:
    config = msgspec.structs.replace(config, ping=60.0)  # else a ping looks after it
    world = World(config, hand_network, board, peer_class, together=True)
    for event in (("news", 1), ("wait", 20.0), ("hb", 0), ("news", 1), ("wait", 15.0)):
        world.happen(event)
    assert [m[0] for m in world.heard[0]] == ["board", "hb", "board"]
    world.happen(("wait", 16.0))
    assert world.heard[0][-1][0] == "same"


def test_the_pace_counts_from_the_last_write(
    config: SignsConfig, hand_network: Any, board: Callable[..., Any], peer_class: Any
) -> None:
    """A machine that is so busy that writing to three signs takes it most of min_interval, once."""
    world = World(config, hand_network, board, peer_class, together=True)
    world.happen(("news", 1))  # now they are a cohort
    (audience,) = world.hub._audiences.values()
    (cohort,) = audience.cohorts.values()
    write = cohort.members[last := list(cohort.members)[-1]]

    def slow(data: bytes) -> None:
        world.clock.advance(0.9)
        write(data)

    cohort.members[last] = slow
    world.happen(("news", 1))
    cohort.members[last] = write
    world.happen(("wait", 0.2))
    world.happen(("board", 1))
    assert world.heard[-1][-1][2] == 20, "it had that one 0.2 s ago"
    world.happen(("wait", 0.9))
    assert world.heard[-1][-1][2] == 21
