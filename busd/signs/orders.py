"""What operators order, as they said it: messages, sign modes, suppressions. Checked here, kept on shelves.

An order is turned into what boards and signs need by control.py; the words here are those of the operator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from busd.log import strip_control
from busd.sign_registry import BadEntry
from busd.signs.modes import MODES
from busd.signs.targets import Target, parse_target

MAX_ORDERS = 500
"""of each kind at a time: every message is looked at whenever one begins or ends"""
MAX_TEXT = 500
MAX_LANGS = 8
MAX_TARGETS = 200
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TAG = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")


class MessageOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text on the boards of its targets, in as many languages as there are, at the times it is meant for."""

    message_id: str
    targets: tuple[str, ...]
    text: dict[str, str]
    priority: int = 0
    """0 information, 1 disruption, 2 emergency"""
    takeover: bool = False
    """signs show nothing else"""
    start_at: float | None = None
    end_at: float | None = None
    days: tuple[str, ...] = ()
    set_by: str = ""
    set_at: float = 0.0


class ModeOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the signs of a target do instead of showing their board."""

    target: str
    mode: str
    text: dict[str, str] = {}
    until_at: float | None = None
    set_by: str = ""
    set_at: float = 0.0


class SuppressionOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """No predictions of a line (and direction) until the end of the service day, or another instant."""

    target: str
    until_at: float
    reason: str = ""
    set_by: str = ""
    set_at: float = 0.0


# ---- checks of what comes from outside: BadEntry says what is wrong --------------------------------------------------


class MessageRequest(msgspec.Struct, forbid_unknown_fields=True):
    text: dict[str, str]
    targets: list[str] = []
    priority: int = 0
    takeover: bool = False
    start_at: float | None = None
    end_at: float | None = None
    days: list[str] = []
    message_id: str | None = None

    def order(self, message_id: str, by: str, at: float) -> MessageOrder:
        if self.priority not in (0, 1, 2):
            raise BadEntry("priority is 0 (information), 1 (disruption) or 2 (emergency)")
        if self.takeover and self.priority != 2:
            raise BadEntry("only an emergency (priority 2) may take over the signs")
        if self.end_at is not None and self.end_at <= max(at, self.start_at or 0.0):
            raise BadEntry("the end lies before the start, or is over")
        unknown = [day for day in self.days if day.lower() not in DAYS]
        if unknown:
            raise BadEntry(f"{unknown[0][:20]!r} is no day: {', '.join(DAYS)}")
        targets = parse_targets(self.targets or ["all"])
        return MessageOrder(
            message_id,
            tuple(map(str, targets)),
            check_text(self.text),
            self.priority,
            self.takeover,
            self.start_at,
            self.end_at,
            tuple(day for day in DAYS if day in {name.lower() for name in self.days}),
            by,
            at,
        )


class ModeRequest(msgspec.Struct, forbid_unknown_fields=True):
    target: str
    mode: str
    text: dict[str, str] = {}
    until_at: float | None = None

    def order(self, by: str, at: float) -> ModeOrder:
        """``auto`` is an order too: it lets one sign go on while its group is off."""
        if self.mode not in MODES:
            raise BadEntry(f"{self.mode[:20]!r} is no mode: {', '.join(MODES)}")
        if self.mode == "text" and not self.text:
            raise BadEntry("the mode text needs a text")
        if self.text and self.mode not in ("text", "out_of_order"):
            raise BadEntry(f"the mode {self.mode} has no text")
        if self.until_at is not None and self.until_at <= at:
            raise BadEntry("that time is over")
        text = check_text(self.text) if self.text else {}
        return ModeOrder(str(parse_target(self.target)), self.mode, text, self.until_at, by, at)


class SuppressionRequest(msgspec.Struct, forbid_unknown_fields=True):
    target: str
    until_at: float | None = None
    reason: str = ""

    def order(self, by: str, at: float, day_ends_at: float) -> SuppressionOrder:
        target = parse_target(self.target)
        if target.kind != "line":
            raise BadEntry("predictions are suppressed for a line: line:NAME, or line:NAME/0 for one direction")
        until_at = self.until_at if self.until_at is not None else day_ends_at
        if not at < until_at <= day_ends_at:
            raise BadEntry("a suppression ends with the service day at the latest, so that nobody forgets it")
        return SuppressionOrder(str(target), until_at, strip_control(self.reason)[:MAX_TEXT], by, at)


def read_request(data: bytes, kind: type[Any]) -> Any:
    """JSON -> one of the requests above; `BadEntry` names the field."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadEntry(str(error)[:300]) from None


def parse_targets(texts: Sequence[str]) -> list[Target]:
    if len(texts) > MAX_TARGETS:
        raise BadEntry(f"{MAX_TARGETS} targets at most; make a group of the signs")
    return list(dict.fromkeys(map(parse_target, texts)))


def check_text(text: dict[str, str]) -> dict[str, str]:
    """A Text of busd.sign.v1 without anything that would move a cursor or turn the writing around."""
    if not 0 < len(text) <= MAX_LANGS:
        raise BadEntry(f"a text has 1 to {MAX_LANGS} languages")
    for tag, words in text.items():
        if not _TAG.fullmatch(tag):
            raise BadEntry(f"{strip_control(tag)[:40]!r} is no language tag (BCP 47: zh-Hans, en, bo)")
        if strip_control(words) != words:
            raise BadEntry(f"the text in {tag} has control characters or line ends")
        if not 0 < len(words.strip()) <= MAX_TEXT:
            raise BadEntry(f"the text in {tag} must have 1 to {MAX_TEXT} characters")
    return {tag: words.strip() for tag, words in text.items()}
