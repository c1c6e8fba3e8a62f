"""What the sign door tells of its signs to whoever keeps an eye on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class SignSink(Protocol):
    """Called by the sessions, on the loop's thread, once something has been checked. Must be quick and never raise.

    ``at`` is epoch seconds of the server's clock."""

    def opened(self, sign: str, at: float, hello: Mapping[str, Any]) -> None:
        """A good hello; the optional fields of it that make sense: fw, hw, rows, cols, lang, caps."""

    def subscribed(self, sign: str, stops: Sequence[str]) -> None:
        """The stops of ``ok``: the complete set."""

    def heard(self, sign: str, at: float) -> None:
        """A sign of life."""

    def shown(self, sign: str, stop: str, epoch: str, rev: int, glass_s: float | None) -> None:
        """A board is on the glass; time to glass where the sign's clock makes sense."""

    def draw_error(self, sign: str, stop: str, error: str) -> None:
        """A board could not be drawn."""

    def telemetry(self, sign: str, at: float, values: Mapping[str, Any]) -> None:
        """``tele`` as it came: any field may be missing or odd."""

    def sent(self, sign: str, bytes_out: int, bytes_in: int) -> None:
        """Bytes on the connection since the last call."""

    def done(self, sign: str, command_id: str, ok: bool, info: Mapping[str, Any]) -> None:
        """The answer to a ``cmd``."""

    def closed(self, sign: str, at: float, code: int) -> None:
        """The sign's session has ended. Not told of a session that a newer one has replaced."""


class NullSink:
    """Nobody listens."""

    def opened(self, sign: str, at: float, hello: Mapping[str, Any]) -> None: ...
    def subscribed(self, sign: str, stops: Sequence[str]) -> None: ...
    def heard(self, sign: str, at: float) -> None: ...
    def shown(self, sign: str, stop: str, epoch: str, rev: int, glass_s: float | None) -> None: ...
    def draw_error(self, sign: str, stop: str, error: str) -> None: ...
    def telemetry(self, sign: str, at: float, values: Mapping[str, Any]) -> None: ...
    def sent(self, sign: str, bytes_out: int, bytes_in: int) -> None: ...
    def done(self, sign: str, command_id: str, ok: bool, info: Mapping[str, Any]) -> None: ...
    def closed(self, sign: str, at: float, code: int) -> None: ...
