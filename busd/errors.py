"""The exceptions of busd, and the words for reports that were not used.

    BusdError
    ├── ConfigError          a key, type or value in the TOML file; names the path of the key
    ├── JournalError         a journal or snapshot that cannot be used; damage at the tail is repaired, not raised
    ├── HistoryError         a file of history or priors that cannot be used
    ├── FeedError            a source that cannot be read at all (its single bad reports are `Rejected`, not raised)
    └── ProtocolError        (sans-I/O) a peer broke the protocol; only its own connection ends

Noise from outside is data: a bad report is a `Rejected` with a `Reason` and a counter, never an exception.
"""

from __future__ import annotations

from enum import StrEnum


class BusdError(Exception):
    """Base of all errors that busd raises on purpose; the message says what to do next."""


class ConfigError(BusdError):
    """A configuration that cannot be used; the message starts with the path of the key."""


class JournalError(BusdError):
    """A journal or snapshot that cannot be used."""


class HistoryError(BusdError):
    """A file of history or priors that cannot be used."""


class FeedError(BusdError):
    """A source that cannot be read at all."""


class ProtocolError(BusdError):
    """A peer broke the protocol. ``code`` is the protocol's own code for it, where it has one."""

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class Reason(StrEnum):
    """Why a report was not used. One counter each; the values are the labels on /metrics."""

    # of the report itself
    NOT_A_NUMBER = "not_a_number"
    OUT_OF_RANGE = "out_of_range"
    ZERO_ISLAND = "zero_island"
    NOT_POSITIONED = "not_positioned"
    NO_TIME = "no_time"
    FUTURE = "future"
    STALE = "stale"
    # against what is known of the vehicle
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    JUMP = "jump"
    FROZEN = "frozen"
    # of the wire
    BAD_CHECKSUM = "bad-checksum"
    BAD_LENGTH = "bad-length"
    NOT_A_FRAME = "not-a-frame"
    VENDOR_VARIANT = "vendor-variant"
    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    OVERLOAD = "overload"
    QUARANTINED = "quarantined"
