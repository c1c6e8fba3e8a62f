"""The guarded zip: everything that can be wrong with a zip from outside is looked at before a byte is unpacked.

Nothing is ever written to disk. Python's zipfile has no check for members that share bytes (the quoted-overlap bomb of
D. Fifield, "A better zip bomb", WOOT 2019), so the extents are compared here.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.schema import FILE


@dataclass(frozen=True)
class ReaderLimits:
    """What a feed may cost. The defaults fit a national feed; a city stays far below."""

    zip_bytes: int = 1 << 30
    total_bytes: int = 8 << 30
    """of all members, unpacked"""
    file_bytes: int = 4 << 30
    ratio: float = 200.0
    """unpacked : packed, looked at from ``ratio_from_bytes`` on; timetables reach 30"""
    ratio_from_bytes: int = 4 << 20
    members: int = 1000
    rows: int = 50_000_000
    """of one table"""
    stops_per_trip: int = 2000
    points_per_shape: int = 200_000
    calendar_cells: int = 200_000_000
    """services x days"""
    frequency_runs: int = 1_000_000
    """of all frequency trips together, on one day"""


def read_zip(path: Path | str, limits: ReaderLimits) -> bytes:
    """The bytes of the zip. Raises `GtfsError` where it is absent, a folder or too large."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(limits.zip_bytes + 1)
    except OSError as error:
        raise GtfsError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(data) > limits.zip_bytes:
        raise GtfsError(f"{path} is larger than {limits.zip_bytes} bytes (ReaderLimits.zip_bytes)")
    return data


class Archive:
    """The members of a feed's zip that are GTFS files, by table name."""

    def __init__(self, data: bytes, limits: ReaderLimits, findings: Findings) -> None:
        """Raises `GtfsError` where the zip is hostile, damaged or no zip."""
        self._limits = limits
        # zipfile reads the whole directory before it can be asked how long it is; stored inner zips may add a few.
        if data.count(b"PK\x01\x02") > 10 * limits.members:
            raise GtfsError(f"the zip has far more members than the {limits.members} that are read")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            members = self._zip.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, struct.error, NotImplementedError) as error:
            raise GtfsError(f"not a usable zip: {error}") from error
        self._guard(data, members)
        self._tables = self._pick(members, findings)

    def __contains__(self, table: str) -> bool:
        return table in self._tables

    def read(self, table: str) -> bytes:
        """The unpacked bytes of ``table``. Raises `GtfsError` where the member is damaged."""
        info = self._tables[table]
        try:
            with self._zip.open(info) as member:
                data = member.read(self._limits.file_bytes + 1)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            ValueError,
            OSError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise GtfsError(f"{_shown(info.filename)} in the zip is damaged: {error}") from error
        if len(data) > self._limits.file_bytes:
            raise GtfsError(f"{_shown(info.filename)} is larger than {self._limits.file_bytes} bytes")
        return data

    def _guard(self, data: bytes, members: list[zipfile.ZipInfo]) -> None:
        limits = self._limits
        if len(members) > limits.members:
            raise GtfsError(f"the zip has {len(members)} members, at most {limits.members} are read")
        total = 0
        for info in members:
            name = _shown(info.filename)
            path = PurePosixPath(info.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in info.orig_filename or "\0" in info.orig_filename:
                raise GtfsError(f"the zip has a member with an unsafe name: {name}")
            if ":" in info.filename.split("/")[0]:
                raise GtfsError(f"the zip has a member with an unsafe name: {name}")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise GtfsError(f"the zip has a symbolic link: {name}")
            if info.flag_bits & 0x1:
                raise GtfsError(f"the zip is encrypted: {name}")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise GtfsError(f"{name} is packed with method {info.compress_type}; only deflate and stored are read")
            if info.file_size > limits.file_bytes:
                raise GtfsError(f"{name} would unpack to {info.file_size} bytes, at most {limits.file_bytes} are read")
            ratio = info.file_size / max(info.compress_size, 1)
            if info.file_size > limits.ratio_from_bytes and ratio > limits.ratio:
                raise GtfsError(f"{name} is packed {ratio:.0f} : 1, more than {limits.ratio:.0f} : 1: a zip bomb?")
            total += info.file_size
        if total > limits.total_bytes:
            raise GtfsError(f"the zip would unpack to {total} bytes, at most {limits.total_bytes} are read")
        self._guard_extents(data, members)

    def _guard_extents(self, data: bytes, members: list[zipfile.ZipInfo]) -> None:
        end = 0
        for info in sorted(members, key=lambda item: item.header_offset):
            start = info.header_offset
            header = data[start : start + 30]
            if start < 0 or len(header) < 30 or header[:4] != b"PK\x03\x04":
                raise GtfsError(f"the zip is damaged: no local header for {_shown(info.filename)}")
            if start < end:
                raise GtfsError(f"members of the zip overlap at {_shown(info.filename)}: a zip bomb?")
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            end = start + 30 + name_length + extra_length + info.compress_size
            if end > self._zip.start_dir:
                raise GtfsError(f"the zip is damaged: {_shown(info.filename)} reaches into the directory")

    def _pick(self, members: list[zipfile.ZipInfo], findings: Findings) -> dict[str, zipfile.ZipInfo]:
        """The shallowest folder that holds a required file is the feed; others are not looked at."""
        candidates: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
        for info in members:
            path = PurePosixPath(info.filename)
            table = path.stem.lower()
            if info.is_dir() or path.suffix.lower() != ".txt" or table not in FILE or "__MACOSX" in path.parts:
                continue
            folder = candidates.setdefault(path.parent, {})
            if table in folder:
                findings.add("duplicate_file", f"{table}.txt")
                continue
            folder[table] = info
        ranked = sorted(
            candidates.items(), key=lambda item: ("stop_times" not in item[1], len(item[0].parts), str(item[0]))
        )
        if not ranked:
            raise GtfsError("the zip holds no GTFS files (stops.txt, routes.txt, trips.txt, stop_times.txt)")
        folder_path, tables = ranked[0]
        if folder_path.parts:
            findings.add("nested_folder", text=str(folder_path))
        for table, info in tables.items():
            if PurePosixPath(info.filename).name != f"{table}.txt":
                findings.add("file_name_case", f"{table}.txt", text=info.filename)
        return tables


def _shown(name: str) -> str:
    return repr(name[:80])
