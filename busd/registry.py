"""Devices and tokens: which terminal is in which bus, and what proves that a device is the one it says it is.

Everything lives in memory; SQLite (WAL) keeps it over a restart. Nobody waits for the disk: changes are collected and
written behind in one transaction (`take_changes` on the loop, `write_changes` in any thread), so five thousand terminals
that register at once cost one transaction. A crash may lose the last second of registrations; such a terminal is told
that its code is wrong and registers again, as the protocol has it.

Codes and tokens are long random strings, so one SHA-256 is enough to store them; they are compared in constant time.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from busd.device_store import Changes, DeviceStore, Row

MAX_DEVICES = 100_000
"""Enrolled at most: whoever floods the open door with made-up phones fills a table, not the memory."""

MAX_ALIASES = 200_000
ALIAS_KINDS = ("imei", "id", "plate")
"""What names a device besides the phone of a terminal: the modem's number, a tracker's own id, the number plate."""

_PHONE = re.compile(r"[0-9a-f]{1,20}")
_IMEI = re.compile(r"[0-9]{14,17}")
_NOBODY = b"\0" * 32


class Device(msgspec.Struct, gc=False):
    """A terminal. Changed only through the registry, except for what is known of this run alone."""

    phone: str
    """hex digits without leading zeros: the identity"""
    vehicle_id: str | None = None
    """the bus, where an operator has said so"""
    plate: str = ""
    """what the terminal said at its registration"""
    terminal_id: str = ""
    """maker's number of the terminal, from its registration"""
    code_hash: bytes = b""
    """SHA-256 of the authentication code; empty = has none"""
    listed: bool = False
    """an operator has entered this phone"""
    first_seen_at: float | None = None
    last_seen_at: float | None = None

    # of this run, never stored
    alias: str | None = None
    """the bus, where an operator has said so of its plate or IMEI"""
    live_at: float = float("-inf")
    """the newest fix that was passed on as the live one"""
    newest_at: float = float("-inf")
    """the latest measured_at of a live fix, as it was before a limit: nothing later was ever sent"""
    recent: list[int] = msgspec.field(default_factory=list)
    """hashes of the latest reports, oldest first: a resent one is acknowledged again but stored once"""
    has_doors: bool = False
    """a door bit has been seen: until then a closed door may be one that is not wired"""
    clock_skew_s: float = 0.0
    """what its clock is wrong by, when that is a plain number of hours"""
    driver: str = ""
    """who has logged on"""

    @property
    def name(self) -> str:
        """The vehicle id of its positions: an operator's word, else the plate, else the phone."""
        return self.vehicle_id or self.alias or self.plate or self.phone


class ImportReport(msgspec.Struct):
    """What became of a table of devices; ``problems`` are (line, what is wrong with it)."""

    added: int = 0
    changed: int = 0
    problems: list[tuple[int, str]] = msgspec.field(default_factory=list)


class DeviceRegistry:
    """All devices and tokens of one installation. ``path`` None keeps them in memory only.

    Methods never touch the disk, except `write_changes`, `flush` and `close`. Phones are taken in any writing:
    upper case, with leading zeros."""

    def __init__(self, path: Path | None = None, max_devices: int = MAX_DEVICES) -> None:
        self._devices: dict[str, Device] = {}
        self._tokens: dict[tuple[str, str], bytes] = {}
        self._aliases: dict[tuple[str, str], str] = {}
        self._changed: set[str] = set()
        self._changed_aliases: set[tuple[str, str]] = set()
        self._changed_tokens: set[tuple[str, str]] = set()
        self._max_devices = max_devices
        self._store = None if path is None else DeviceStore(path)
        if self._store is None:
            return
        for kind, key, vehicle in self._store.aliases():
            self._aliases[kind, key] = vehicle
        for phone, vehicle_id, plate, terminal_id, code_hash, listed, first, last in self._store.devices():
            self._devices[phone] = Device(phone, vehicle_id, plate, terminal_id, code_hash, bool(listed), first, last)
            self._devices[phone].alias = self._aliases.get(("plate", plate))
        for kind, owner, stored in self._store.tokens():
            self._tokens[kind, owner] = stored

    # ---- terminals ---------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._devices)

    def devices(self) -> Iterator[Device]:
        return iter(self._devices.values())

    def find_device(self, phone: str) -> Device | None:
        return self._devices.get(normal_phone(phone))

    def enrol(self, phone: str, code: bytes, at: float, plate: str = "", terminal_id: str = "") -> Device | None:
        """The terminal has this code from now on and no other; None if the registry is full."""
        phone = normal_phone(phone)
        device = self._devices.get(phone)
        if device is None:
            if len(self._devices) >= self._max_devices:
                return None
            device = self._devices[phone] = Device(phone, first_seen_at=at)
        device.code_hash = digest(code)
        device.plate = plate or device.plate
        device.alias = self._aliases.get(("plate", device.plate)) or device.alias
        device.terminal_id = terminal_id or device.terminal_id
        device.first_seen_at = at if device.first_seen_at is None else device.first_seen_at
        device.last_seen_at = at
        self._changed.add(phone)
        return device

    def check_code(self, phone: str, code: bytes) -> Device | None:
        """The device if this is its code. Takes as long for an unknown phone as for a wrong code."""
        device = self._devices.get(normal_phone(phone))
        known = device.code_hash if device is not None and device.code_hash else _NOBODY
        return device if hmac.compare_digest(digest(code), known) else None

    def forget_code(self, phone: str) -> None:
        device = self._devices.get(normal_phone(phone))
        if device is not None:
            device.code_hash = b""
            self._changed.add(device.phone)

    def seen(self, device: Device, at: float) -> None:
        """Remembers when a terminal came or went; not for every frame."""
        device.last_seen_at = at
        self._changed.add(device.phone)

    def list_device(self, phone: str, vehicle_id: str | None = None, plate: str = "") -> bool:
        """An operator's entry; true if the phone was not listed before. ValueError for what is no phone."""
        if not _PHONE.fullmatch(phone.strip().lower()):
            raise ValueError(f"{phone[:40]!r} is no phone: 1 to 20 digits")
        phone = normal_phone(phone)
        device = self._devices.get(phone)
        if device is None:
            device = self._devices[phone] = Device(phone)
        new = not device.listed
        device.listed = True
        device.vehicle_id = vehicle_id or device.vehicle_id
        device.plate = plate or device.plate
        self._changed.add(phone)
        return new

    def list_devices(self, terminals: Mapping[str, str]) -> None:
        """Phone -> vehicle id, as a configuration has them."""
        for phone, vehicle_id in terminals.items():
            self.list_device(phone, vehicle_id)

    def remove_device(self, phone: str) -> bool:
        """Forgets a terminal, its code included: it has to register again. False if it was not known."""
        phone = normal_phone(phone)
        known = self._devices.pop(phone, None) is not None
        if known:
            self._changed.add(phone)
        return known

    def import_csv(self, text: str) -> ImportReport:
        """Columns ``phone``, ``imei``, ``id``, ``plate`` (at least one of them) and ``vehicle_id``: every device a line
        names is in that bus. A line with a phone alone lists the phone. A bad line does not cost the others."""
        report = ImportReport()
        reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), restval="")
        try:
            fields = [(name or "").strip().lower() for name in reader.fieldnames or ()]
            if not {"phone", *ALIAS_KINDS} & set(fields):
                report.problems.append((1, f"there is none of the columns phone, {', '.join(ALIAS_KINDS)}"))
                return report
            reader.fieldnames = fields
            for record in reader:
                try:
                    new = self.enter({key: str(record.get(key) or "").strip() for key in fields})
                except ValueError as error:
                    report.problems.append((reader.line_num, str(error)))
                    continue
                report.added += new
                report.changed += not new
        except csv.Error as error:
            report.problems.append((reader.line_num, str(error)))
        return report

    def enter(self, entry: Mapping[str, str]) -> bool:
        """One operator's entry: ``phone``, ``imei``, ``id``, ``plate``, ``vehicle_id``, as far as they are given. True if
        any of it is new. ValueError says what is wrong; then nothing has been changed."""
        phone, vehicle_id = entry.get("phone", ""), entry.get("vehicle_id", "")
        named = [(kind, entry[kind]) for kind in ALIAS_KINDS if entry.get(kind)]
        if phone and not _PHONE.fullmatch(phone.strip().lower()):
            raise ValueError(f"{phone[:40]!r} is no phone: 1 to 20 digits")
        if not phone and not named:
            raise ValueError(f"none of phone, {', '.join(ALIAS_KINDS)} is given")
        if not phone and not vehicle_id:
            raise ValueError("no vehicle_id")
        for kind, key in [*named, ("vehicle_id", vehicle_id)]:
            if len(key) > 64 or not key.isprintable():
                raise ValueError(f"{key[:40]!r} is no {kind}")
            if kind == "imei" and not _IMEI.fullmatch(key):
                raise ValueError(f"{key[:40]!r} is no IMEI: 14 to 17 digits")
        new = False
        if phone:
            new = self.list_device(phone, vehicle_id or None, entry.get("plate", ""))
        if vehicle_id:
            for kind, key in named:
                new = self.set_alias(kind, key, vehicle_id) or new
        return new

    # ---- other names of devices ----------------------------------------------------------------------------------------

    def aliases(self) -> Iterator[tuple[str, str, str]]:
        """(kind, key, vehicle id), kind one of `ALIAS_KINDS`."""
        for (kind, key), vehicle_id in self._aliases.items():
            yield kind, key, vehicle_id

    def set_alias(self, kind: str, key: str, vehicle_id: str) -> bool:
        """True if the name was not known before. ValueError for a kind there is not, or if there are too many."""
        if kind not in ALIAS_KINDS:
            raise ValueError(f"no such kind of name: {kind!r}; there are {', '.join(ALIAS_KINDS)}")
        new = (kind, key) not in self._aliases
        if new and len(self._aliases) >= MAX_ALIASES:
            raise ValueError(f"more than {MAX_ALIASES} names of devices")
        self._aliases[kind, key] = vehicle_id
        self._changed_aliases.add((kind, key))
        self._name_again(kind, key, vehicle_id)
        return new

    def remove_alias(self, kind: str, key: str) -> bool:
        """False if there was no such name."""
        if self._aliases.pop((kind, key), None) is None:
            return False
        self._changed_aliases.add((kind, key))
        self._name_again(kind, key, None)
        return True

    def identify(self, device: Device, imei: str) -> None:
        """The terminal has told its IMEI (JT/T 808-2019, authentication): an operator may have named its bus by that."""
        vehicle_id = self._aliases.get(("imei", imei))
        if vehicle_id is not None:
            device.alias = vehicle_id

    def find_vehicle(self, device_id: str) -> str | None:
        """The vehicle id that an operator has entered for whatever a device calls itself; None = nothing entered."""
        for kind in ALIAS_KINDS:
            vehicle_id = self._aliases.get((kind, device_id))
            if vehicle_id is not None:
                return vehicle_id
        device = self._devices.get(normal_phone(device_id))
        return device.vehicle_id or device.alias if device is not None and device.listed else None

    def _name_again(self, kind: str, key: str, vehicle_id: str | None) -> None:
        if kind == "plate":
            for device in self._devices.values():
                if device.plate == key:
                    device.alias = vehicle_id

    # ---- tokens of signs and whatever else shows one ------------------------------------------------------------------

    def set_token(self, kind: str, owner: str, token: str) -> None:
        """``kind`` e.g. ``sign``; owner ``*`` stands for all of the kind."""
        self._tokens[kind, owner] = digest(token.encode())
        self._changed_tokens.add((kind, owner))

    def remove_token(self, kind: str, owner: str) -> None:
        self._tokens.pop((kind, owner), None)
        self._changed_tokens.add((kind, owner))

    def check_token(self, kind: str, owner: str, token: str) -> bool:
        """Own token first, then that of ``*``; constant time."""
        shown = digest(token.encode("utf-8", "replace"))
        own = hmac.compare_digest(shown, self._tokens.get((kind, owner), _NOBODY))
        common = hmac.compare_digest(shown, self._tokens.get((kind, "*"), _NOBODY))
        return own or (common and (kind, owner) not in self._tokens)

    # ---- disk --------------------------------------------------------------------------------------------------------

    def take_changes(self) -> Changes | None:
        """What is to be written, once; None if nothing is."""
        if not (self._changed or self._changed_tokens or self._changed_aliases):
            return None
        changes = Changes(
            [_row(self._devices[phone]) for phone in self._changed if phone in self._devices],
            [(*key, self._tokens.get(key)) for key in self._changed_tokens],
            [phone for phone in self._changed if phone not in self._devices],
            [(*key, self._aliases.get(key)) for key in self._changed_aliases],
        )
        self._changed.clear()
        self._changed_tokens.clear()
        self._changed_aliases.clear()
        return changes

    def write_changes(self, changes: Changes) -> None:
        """One transaction, in the calling thread. sqlite3.Error leaves the table as it was: give the changes back."""
        if self._store is not None:
            self._store.write(changes)

    def give_back(self, changes: Changes) -> None:
        """After a write that failed: they are changes again."""
        self._changed.update(row[0] for row in changes.devices)
        self._changed.update(changes.gone)
        self._changed_aliases.update((alias[0], alias[1]) for alias in changes.aliases)
        self._changed_tokens.update((token[0], token[1]) for token in changes.tokens)

    def flush(self) -> None:
        """Writes what has changed, now and here."""
        changes = self.take_changes()
        if changes is not None:
            self.write_changes(changes)

    def close(self) -> None:
        """Writes and closes; the registry must not be used afterwards."""
        self.flush()
        if self._store is not None:
            self._store.close()
            self._store = None


def normal_phone(phone: str) -> str:
    """One writing for one terminal: lower case, no leading zeros."""
    return phone.strip().lower().lstrip("0") or "0"


def digest(secret: bytes) -> bytes:
    """How a code or token is stored."""
    return hashlib.sha256(secret).digest()


def _row(device: Device) -> Row:
    return (
        device.phone,
        device.vehicle_id,
        device.plate,
        device.terminal_id,
        device.code_hash,
        int(device.listed),
        device.first_seen_at,
        device.last_seen_at,
    )
