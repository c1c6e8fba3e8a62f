"""Which signs do not simply show their board: off, a text of their own, out of order.

A mode is of a sign, a board of a stop; (stop, epoch, rev) must mean the same bytes to everybody. So a sign with a mode
gets its boards under an epoch of its own, ``<epoch>.<key>``, and a key is never used twice: not even to go back to
``auto``, because on one connection a sign must not be sent back to an earlier epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import msgspec

MODES = ("auto", "off", "text", "out_of_order")


class Mode(msgspec.Struct, frozen=True):
    """``text`` (BCP 47 tag -> words) for ``text`` and ``out_of_order``. ``key`` names the change that brought it."""

    mode: str
    text: dict[str, str]
    key: str

    @classmethod
    def of(cls, mode: str, text: Mapping[str, str], at: float) -> Mode:
        """Signs that are given the same at the same instant share the key, and with it their frames."""
        told = msgspec.json.encode((mode, dict(text), at), order="deterministic")
        return cls(mode, dict(text), hashlib.sha256(told).hexdigest()[:8])


class SignModes:
    """The mode of every sign that has one. `of` is asked when a sign connects; changes are told to the listeners."""

    def __init__(self) -> None:
        self._modes: dict[str, Mode] = {}
        self._listeners: list[Callable[[Mapping[str, Mode]], None]] = []

    def of(self, sign: str) -> Mode | None:
        """None: auto."""
        return self._modes.get(sign)

    def on_change(self, listener: Callable[[Mapping[str, Mode]], None]) -> None:
        """``listener({sign: mode})`` after every change; mode ``auto`` for signs that have none any more."""
        self._listeners.append(listener)

    def replace(self, modes: Mapping[str, Mode], at: float) -> dict[str, Mode]:
        """The complete set from now on; returns (and tells) what differs."""
        changed = {sign: mode for sign, mode in modes.items() if self._modes.get(sign) != mode}
        auto = Mode.of("auto", {}, at)
        changed |= {sign: auto for sign in self._modes if sign not in modes}
        self._modes = dict(modes)
        if changed:
            for listener in tuple(self._listeners):
                listener(changed)
        return changed
