"""The signs of a city and the people who run them: who is known, in which groups, and what proves who somebody is.

Tokens are long random strings that are made here, so one SHA-256 is enough to store them. They are shown once, when they
are made, and compared in constant time.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

import msgspec

from busd.errors import BusdError
from busd.log import strip_control
from busd.shelf import Store

MAX_SIGNS = 100_000
MAX_STOPS = 32
"""of one sign, as the protocol allows"""
MAX_GROUPS = 32
COLUMNS = ("sign", "name", "stops", "groups", "place", "token")
"""of the CSV; several stops or groups in one cell stand with ``;`` between them"""
_GROUP = re.compile(r"[\w.-]{1,64}")
_NOBODY = b"\0" * 32


class BadEntry(BusdError):
    """What an operator has given cannot be used; the message says what to do."""


class Role(IntEnum):
    """Each may do what the ones before it may."""

    VIEWER = 1
    """looks"""
    DISPATCHER = 2
    """messages, modes, suppressions, acknowledges alarms"""
    ADMIN = 3
    """signs, tokens, people"""


class SignRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A sign that an operator has entered."""

    sign: str
    name: str = ""
    stops: tuple[str, ...] = ()
    """stop ids it is meant to show; what it really shows it says itself"""
    groups: tuple[str, ...] = ()
    place: str = ""
    """where it hangs, for whoever has to go there"""
    added_at: float = 0.0
    token: bytes = b""
    """SHA-256; empty = none of its own"""
    is_blocked: bool = False
    """may not connect"""


class Operator(msgspec.Struct, frozen=True):
    """Somebody, or some program, that works with the signs."""

    name: str
    role: str
    token: bytes
    """SHA-256"""
    added_at: float = 0.0


class ImportReport(msgspec.Struct):
    """What became of a table; ``problems`` are (line, what is wrong with it)."""

    added: int = 0
    changed: int = 0
    same: int = 0
    problems: list[tuple[int, str]] = msgspec.field(default_factory=list)


def new_token() -> str:
    """160 random bits that survive being typed from paper."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(8)) for _ in range(4))


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def check_name(kind: str, text: str, most: int = 128) -> str:
    """``text`` if it can be an id: 1 to ``most`` characters, none of them a control character."""
    text = text.strip()
    if not 0 < len(text) <= most:
        raise BadEntry(f"{kind} must have 1 to {most} characters")
    if strip_control(text) != text:
        raise BadEntry(f"{kind} {strip_control(text)!r} has control characters")
    return text


class SignRegistry:
    """Signs and operators of one installation, on the shelves of ``store``."""

    def __init__(self, store: Store) -> None:
        self.signs = store.shelf("sign", SignRecord)
        self.operators = store.shelf("operator", Operator)

    # ---- signs -------------------------------------------------------------------------------------------------------

    def find(self, sign: str) -> SignRecord | None:
        return self.signs.find(sign)

    def groups(self) -> dict[str, int]:
        """Group -> how many signs."""
        count: dict[str, int] = {}
        for record in self.signs:
            for group in record.groups:
                count[group] = count.get(group, 0) + 1
        return dict(sorted(count.items()))

    def enter(self, entry: Mapping[str, str], at: float, knows_stop: Callable[[str], bool]) -> SignRecord:
        """Add a sign, or change the columns that are given (`COLUMNS`; an empty cell empties). `BadEntry` says what is
        wrong; then nothing has been changed."""
        sign = check_name("sign", entry.get("sign", ""))
        old = self.signs.find(sign)
        if old is None and len(self.signs) >= MAX_SIGNS:
            raise BadEntry(f"more than {MAX_SIGNS} signs")
        record = old or SignRecord(sign, added_at=at)
        changes: dict[str, object] = {}
        for column in ("name", "place"):
            if column in entry:
                changes[column] = check_name(column, entry[column], 200) if entry[column].strip() else ""
        if "stops" in entry:
            changes["stops"] = stops = split(entry["stops"])
            if len(stops) > MAX_STOPS:
                raise BadEntry(f"sign {sign} has {len(stops)} stops; {MAX_STOPS} at most")
            unknown = [stop for stop in stops if not knows_stop(stop)]
            if unknown:
                raise BadEntry(f"no stop {strip_control(unknown[0])!r} in the timetable")
        if "groups" in entry:
            changes["groups"] = groups = split(entry["groups"])
            bad = [group for group in groups if not _GROUP.fullmatch(group)]
            if bad or len(groups) > MAX_GROUPS:
                raise BadEntry(
                    f"{strip_control(bad[0])!r} is no group: letters, digits, . _ -" if bad else "too many groups"
                )
        if entry.get("token"):
            changes["token"] = digest(check_name("token", entry["token"], 256))
        record = msgspec.structs.replace(record, **changes)
        if record != old:
            self.signs.put(sign, record)
        return record

    def import_csv(self, text: str, at: float, knows_stop: Callable[[str], bool]) -> ImportReport:
        """Columns `COLUMNS`, of which ``sign`` must be there. A bad line does not cost the others."""
        report = ImportReport()
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), restval="")
        try:
            fields = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = fields
            unknown = [name for name in fields if name not in COLUMNS]
            if "sign" not in fields or unknown:
                what = f"there is no column {unknown[0]!r}" if unknown else "the column sign is missing"
                report.problems.append((1, f"{strip_control(what)}; the columns are {', '.join(COLUMNS)}"))
                return report
            for row in reader:
                entry = {name: str(row.get(name) or "") for name in fields}
                known = self.signs.find(entry["sign"].strip())
                try:
                    record = self.enter(entry, at, knows_stop)
                except BadEntry as error:
                    report.problems.append((reader.line_num, str(error)))
                    continue
                if known is None:
                    report.added += 1
                elif known == record:
                    report.same += 1
                else:
                    report.changed += 1
        except csv.Error as error:
            report.problems.append((reader.line_num, str(error)))
        return report

    def remove(self, sign: str) -> SignRecord | None:
        return self.signs.drop(sign)

    def give_token(self, sign: str) -> str:
        """A new token for a sign, which is the only one it may use from now on. `BadEntry` for an unknown sign."""
        record = self.signs.find(sign)
        if record is None:
            raise BadEntry(f"no sign {sign!r}; add it first: busd signs add {sign}")
        token = new_token()
        self.signs.put(sign, msgspec.structs.replace(record, token=digest(token)))
        return token

    def authenticator(self, otherwise: Callable[[str, str], bool]) -> Callable[[str, str], bool]:
        """(sign id, token) -> may it connect? Signs without a token of their own are left to ``otherwise`` (the tokens
        of the configuration). The same work is done for every sign, known or not."""

        def authenticate(sign: str, token: str) -> bool:
            record = self.signs.find(sign)
            own = record.token if record is not None else b""
            matches = hmac.compare_digest(digest(token), own or _NOBODY)
            configured = otherwise(sign, token)
            return matches if own else configured

        return authenticate

    def may_connect(self, sign: str) -> bool:
        """False for a sign that an operator has blocked."""
        record = self.signs.find(sign)
        return record is None or not record.is_blocked

    # ---- people ------------------------------------------------------------------------------------------------------

    def add_operator(self, name: str, role: str, at: float, token: str | None = None) -> str:
        """A new operator, or a new token and role for one there is; returns the token, a random one if none is given."""
        name = check_name("name", name, 64)
        if role.upper() not in Role.__members__:
            raise BadEntry(f"{role!r} is no role: viewer, dispatcher or admin")
        token = token or new_token()
        self.operators.put(name, Operator(name, role.lower(), digest(token), at))
        return token

    def find_operator(self, token: str) -> Operator | None:
        """Whose token this is; every operator is compared with, so that the time tells nothing."""
        shown, found = digest(token), None
        for operator in self.operators:
            if hmac.compare_digest(shown, operator.token):
                found = operator
        return found


def split(cell: str | Iterable[str]) -> tuple[str, ...]:
    """``a; b c`` -> "a", "b c", each once: ids of stops may have spaces and commas in them."""
    words = cell.split(";") if isinstance(cell, str) else cell
    return tuple(dict.fromkeys(word.strip() for word in words if word.strip()))
