"""Remote care of signs: a ``cmd`` waits for its sign, is repeated until the ``done`` comes, and ends at its deadline.

A sign executes an id once, however often it hears it; an id is never used twice, not even by a restarted server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from busd.errors import BusdError
from busd.metrics import SIGN_COMMANDS
from busd.signs.messages import Done, cmd_frame
from busd.signs.timers import TimerWheel

if TYPE_CHECKING:
    from busd.signs.hub import SignHub

OPS = ("info", "params", "brightness", "test", "reload", "reboot", "upgrade", "reset")
REPEAT_S = 60.0
"""Without an answer for so long the same id may be sent again."""
DEADLINE_S = 3600.0
MAX_OF_SIGN = 16
MAX_COMMANDS = 100_000
MAX_BYTES = 4096
MAX_INFO_ITEMS = 64


class CommandRefused(BusdError):
    """This command cannot be given; the message says why."""


class Command:
    """One order to one sign that has no answer yet."""

    __slots__ = ("expires_at", "frame", "id", "op", "sent_at", "sign", "timer_bucket", "times_sent")

    def __init__(self, command_id: str, sign: str, op: str, frame: bytes, expires_at: float) -> None:
        self.id = command_id
        self.sign = sign
        self.op = op
        self.frame = frame
        self.expires_at = expires_at
        """monotonic s"""
        self.sent_at: float | None = None
        self.times_sent = 0
        self.timer_bucket = 0


class CommandBook:
    """All commands that are not over. How one ends is told to the hub's sink: ``done`` with what the sign answered, or
    with ``ok`` false and ``{"error": ...}``: ``expired`` (the deadline came), ``unsupported`` (the sign takes none)."""

    def __init__(self, hub: SignHub) -> None:
        self._hub = hub
        self._of_sign: dict[str, dict[str, Command]] = {}
        self._count = 0
        self.wheel: TimerWheel[Command] = TimerWheel()

    def __len__(self) -> int:
        return self._count

    def order(self, sign: str, op: str, args: Mapping[str, Any] | None = None, deadline_s: float = DEADLINE_S) -> str:
        """Send ``op`` to ``sign`` now, or when it connects within ``deadline_s``; returns the command's id.

        `CommandRefused` for an unknown op, arguments that are no small JSON object, and too many commands at a time.
        """
        if op not in OPS:
            raise CommandRefused(f"{op[:40]!r} is no command of signs: {', '.join(OPS)}")
        waiting = self._of_sign.get(sign, {})
        if len(waiting) >= MAX_OF_SIGN or self._count >= MAX_COMMANDS:
            raise CommandRefused(f"{len(waiting)} commands to this sign have no answer yet")
        command_id = f"c{self._hub.new_session_id()}"
        try:
            frame = cmd_frame(command_id, op, dict(args or {}))
        except TypeError as error:
            raise CommandRefused(f"these arguments cannot be sent: {error}") from None
        if len(frame) > MAX_BYTES:
            raise CommandRefused(f"arguments of more than {MAX_BYTES} bytes")
        mono = self._hub.clock.monotonic()
        command = Command(command_id, sign, op, frame, mono + max(0.0, deadline_s))
        self._of_sign.setdefault(sign, {})[command_id] = command
        self._count += 1
        SIGN_COMMANDS.labels("ordered").inc()
        self._look(command, mono)
        return command_id

    def waiting(self, sign: str) -> list[Command]:
        """Commands to ``sign`` without an answer, oldest first."""
        return list(self._of_sign.get(sign, {}).values())

    def sign_is_here(self, sign: str) -> None:
        """It has said hello."""
        mono = self._hub.clock.monotonic()
        for command in self.waiting(sign):
            self._look(command, mono)

    def answered(self, sign: str, done: Done) -> None:
        """A ``done`` that answers nothing is ignored and counted."""
        command = self._of_sign.get(sign, {}).get(done.id)
        if command is None:
            SIGN_COMMANDS.labels("unknown").inc()
            return
        info = dict(list(done.info.items())[:MAX_INFO_ITEMS]) if isinstance(done.info, dict) else {}
        self._end(command, done.ok, info, "done" if done.ok else "failed")

    def on_time(self, mono: float) -> None:
        """Repeat and give up what is due."""
        for command in self.wheel.due(mono):
            self._look(command, mono)

    def _look(self, command: Command, mono: float) -> None:
        session = self._hub.signs.get(command.sign)
        if mono >= command.expires_at:
            return self._end(command, False, {"error": "expired"}, "expired")
        at = command.expires_at
        if session is not None:
            if not session.takes_commands:
                return self._end(command, False, {"error": "unsupported"}, "unsupported")
            if command.sent_at is None or mono >= command.sent_at + REPEAT_S:
                session.send_command(command.frame)
                command.sent_at = mono
                command.times_sent += 1
                SIGN_COMMANDS.labels("sent").inc()
            at = min(at, command.sent_at + REPEAT_S)
        return self.wheel.schedule(command, at)

    def _end(self, command: Command, ok: bool, info: Mapping[str, Any], result: str) -> None:
        self.wheel.forget(command)
        waiting = self._of_sign[command.sign]
        del waiting[command.id]
        if not waiting:
            del self._of_sign[command.sign]
        self._count -= 1
        SIGN_COMMANDS.labels(result).inc()
        self._hub.sink.done(command.sign, command.id, ok, info)
