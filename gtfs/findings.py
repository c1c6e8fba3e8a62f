"""Problems of a feed as counted findings: a million equal faults cost one counter and a few examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

EXAMPLES_KEPT = 5
MAX_TEXT = 200


class Severity(StrEnum):
    ERROR = "error"
    """something of the feed was left out or had to be guessed"""
    WARNING = "warning"
    """used as it is, but probably not what was meant"""
    INFO = "info"


CODES: dict[str, tuple[Severity, str]] = {
    # the zip and its files
    "unreadable": (Severity.ERROR, "the feed cannot be used at all"),
    "nested_folder": (Severity.WARNING, "the files lie in a folder inside the zip"),
    "duplicate_file": (Severity.ERROR, "a file is in the zip twice; the first was used"),
    "file_name_case": (Severity.WARNING, "a file name is not in lower case"),
    "not_utf8": (Severity.ERROR, "text is not UTF-8; it was decoded by guess"),
    "nul_bytes": (Severity.ERROR, "NUL bytes were taken out"),
    "duplicate_column": (Severity.ERROR, "a column is there twice; the first was used"),
    "stray_quote": (Severity.ERROR, "unbalanced quotes; the rows were read one line at a time"),
    "bad_row": (Severity.ERROR, "a row that is no CSV was left out"),
    "empty_file": (Severity.INFO, "a file without rows"),
    # fields
    "missing_value": (Severity.ERROR, "a required field is empty; the row was left out"),
    "bad_value": (Severity.ERROR, "a required field cannot be read; the row was left out"),
    "bad_optional_value": (Severity.WARNING, "an optional field cannot be read; its default was used"),
    "duplicate_key": (Severity.ERROR, "a row with the key of an earlier row was left out"),
    "missing_parent": (Severity.ERROR, "a row that refers to something absent was left out"),
    "missing_optional_parent": (Severity.WARNING, "a reference to something absent was ignored"),
    # stops and stations
    "no_coordinates": (Severity.ERROR, "a stop without usable coordinates was left out"),
    "coordinates_of_station": (Severity.WARNING, "a stop without coordinates got those of its station"),
    "cyclic_parent": (Severity.ERROR, "stations that contain each other; the reference was ignored"),
    "bad_parent_type": (Severity.WARNING, "parent_station is not a station"),
    "far_away_stop": (Severity.WARNING, "a stop far from all others"),
    "unused_stop": (Severity.INFO, "a stop that no trip serves"),
    "station_in_stop_times": (Severity.WARNING, "trips call at a station or entrance instead of a stop"),
    # the calendar
    "several_timezones": (Severity.ERROR, "agencies in several time zones; the first was used"),
    "unknown_timezone": (Severity.ERROR, "not a time zone of the tz database"),
    "dates_reversed": (Severity.ERROR, "an end date before its start date"),
    "never_active": (Severity.WARNING, "a service that never runs"),
    "calendar_too_long": (Severity.WARNING, "days beyond the limit of the calendar were left out"),
    "unknown_service": (Severity.ERROR, "a trip of a service without calendar; it never runs"),
    # trips and times
    "short_trip": (Severity.ERROR, "a trip with fewer than two usable stop times was left out"),
    "long_trip": (Severity.ERROR, "a trip with more stop times than the limit was left out"),
    "no_times": (Severity.ERROR, "a trip without any time was left out"),
    "end_without_time": (
        Severity.WARNING,
        "a trip without a time at its first or last stop; the nearest time was used",
    ),
    "backward_time": (Severity.ERROR, "a time before that of an earlier stop; it was interpolated"),
    "departure_before_arrival": (Severity.ERROR, "departure before arrival; arrival was used"),
    "unsorted": (Severity.INFO, "stop_times.txt is not in order of trip and stop_sequence"),
    "too_fast": (Severity.WARNING, "a trip would have to run faster than 150 km/h between two stops"),
    "overlapping_block": (Severity.WARNING, "two trips of one block and service at the same time"),
    "bad_frequency": (Severity.ERROR, "a frequency that gives no sensible runs was left out"),
    "route_without_trips": (Severity.INFO, "a route that has no trips"),
    "no_blocks": (Severity.INFO, "no block_id anywhere: terminal departures must be guessed"),
    # shapes
    "degenerate_shape": (Severity.WARNING, "a shape without length; straight lines between the stops were used"),
    "no_shape": (Severity.INFO, "trips without a shape: straight lines between the stops were used"),
    "stop_off_shape": (Severity.WARNING, "a stop farther than 150 m from the shape of its trips"),
    "bad_shape_distance": (Severity.WARNING, "shape_dist_traveled decreases; it was ignored"),
    # translations
    "bad_language": (Severity.WARNING, "not a BCP 47 language tag; ignored"),
}
"""code -> (severity, what it means and what was done about it)"""


@dataclass(frozen=True)
class Finding:
    """One fault. ``row`` is the record in the file, the header being 1; None where the fault is not of a row."""

    code: str
    file: str = ""
    row: int | None = None
    field: str = ""
    text: str = ""


@dataclass
class FindingGroup:
    """All findings of one code, file and field: how many, and the first few."""

    code: str
    file: str
    field: str
    count: int = 0
    examples: list[Finding] = dataclasses.field(default_factory=list)

    @property
    def severity(self) -> Severity:
        return CODES[self.code][0]

    @property
    def meaning(self) -> str:
        return CODES[self.code][1]


class Findings:
    """Findings by (code, file, field), in the order of their first appearance."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], FindingGroup] = {}

    def add(self, code: str, file: str = "", row: int | None = None, field: str = "", text: str = "") -> None:
        """Counts one finding. ``code`` must be one of `CODES`."""
        self.add_many(code, file, field, 1, [(row, text)])

    def add_many(
        self, code: str, file: str, field: str, count: int, examples: Iterable[tuple[int | None, str]]
    ) -> None:
        """Counts ``count`` findings at once; ``examples`` are (row, text) of the first of them."""
        if count <= 0:
            return
        if code not in CODES:
            raise KeyError(f"finding code {code!r} is not in gtfs.findings.CODES")
        group = self._groups.setdefault((code, file, field), FindingGroup(code, file, field))
        group.count += count
        for row, text in examples:
            if len(group.examples) >= EXAMPLES_KEPT:
                break
            group.examples.append(Finding(code, file, row, field, _printable(text)))

    def __iter__(self) -> Iterator[FindingGroup]:
        """Groups: errors first, then warnings, then information."""
        rank = {severity: i for i, severity in enumerate(Severity)}
        return iter(sorted(self._groups.values(), key=lambda group: rank[group.severity]))

    def __len__(self) -> int:
        return len(self._groups)

    def count(self, code: str) -> int:
        """How often ``code`` was found, over all files and fields."""
        return sum(group.count for group in self._groups.values() if group.code == code)

    def count_severity(self, severity: Severity) -> int:
        return sum(group.count for group in self._groups.values() if group.severity == severity)

    @property
    def usable(self) -> bool:
        """False where the feed could not be compiled at all."""
        return self.count("unreadable") == 0

    def to_dict(self) -> dict[str, Any]:
        return {
            "usable": self.usable,
            "counts": {str(severity): self.count_severity(severity) for severity in Severity},
            "findings": [
                {
                    "code": group.code,
                    "severity": str(group.severity),
                    "meaning": group.meaning,
                    "file": group.file,
                    "field": group.field,
                    "count": group.count,
                    "examples": [{"row": example.row, "text": example.text} for example in group.examples],
                }
                for group in self
            ],
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Findings:
        """Inverse of `to_dict`."""
        findings = cls()
        for item in document["findings"]:
            examples = [(example["row"], example["text"]) for example in item["examples"]]
            findings.add_many(item["code"], item["file"], item["field"], item["count"], examples)
        return findings


def _printable(text: str) -> str:
    """Feeds come from outside: no control characters (terminal escapes) in what is shown, and no endless cells."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:MAX_TEXT])
