"""Hostile and damaged zips end in one clear GtfsError, before anything is unpacked."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gtfs.archive import Archive, ReaderLimits, read_zip
from gtfs.compile import compile_bytes
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.testing import zip_from_map, zip_of

GOOD = zip_from_map("A--B--C", {"1": "ABC"})


def _zip(*members: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for info, content in members:
            archive.writestr(info, content, method)
    return buffer.getvalue()


def _open(data: bytes, limits: ReaderLimits | None = None) -> Archive:
    return Archive(data, limits or ReaderLimits(), Findings())


@pytest.mark.parametrize(
    "name", ["../stops.txt", "a/../../stops.txt", "/etc/stops.txt", "..\\stops.txt", "C:/stops.txt"]
)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(GtfsError, match="unsafe name"):
        _open(_zip((name, b"stop_id\n")))


def test_symbolic_link_is_refused() -> None:
    info = zipfile.ZipInfo("stops.txt")
    info.external_attr = 0o120777 << 16
    with pytest.raises(GtfsError, match="symbolic link"):
        _open(_zip((info, b"/etc/passwd")))


def test_bomb_is_refused_by_its_ratio() -> None:
    with pytest.raises(GtfsError, match="bomb"):
        _open(_zip(("stops.txt", bytes(50_000_000))))


def test_small_files_may_be_packed_tightly() -> None:
    assert "stops" in _open(_zip(("stops.txt", b"a" * 1_000_000)))


def test_total_size_and_file_size() -> None:
    data = _zip(("stops.txt", b"ab" * 5000), ("trips.txt", b"ab" * 5000))
    with pytest.raises(GtfsError, match="would unpack to 20000 bytes"):
        _open(data, ReaderLimits(total_bytes=15_000))
    with pytest.raises(GtfsError, match="would unpack to 10000 bytes"):
        _open(data, ReaderLimits(file_bytes=9_000))


def test_too_many_members() -> None:
    with pytest.raises(GtfsError, match="members"):
        _open(_zip(*((f"f{i}.txt", b"") for i in range(30))), ReaderLimits(members=20))
    with pytest.raises(GtfsError, match="more members"):
        _open(_zip(*((f"f{i}.txt", b"") for i in range(30))), ReaderLimits(members=2))


def test_members_that_share_bytes_are_refused() -> None:
    """The second directory entry points into the first member, as in a quoted-overlap bomb."""
    inner = _zip(("trips.txt", b"x" * 100), method=zipfile.ZIP_STORED)
    data = bytearray(_zip(("stops.txt", inner), method=zipfile.ZIP_STORED))
    start = data.rfind(b"PK\x05\x06")
    size, _ = struct.unpack("<LL", data[start + 12 : start + 20])
    inner_at = bytes(data).find(b"PK\x03\x04", 4)
    entry = bytearray(inner[inner.rfind(b"PK\x01\x02") : inner.rfind(b"PK\x05\x06")])
    entry[42:46] = struct.pack("<L", inner_at)
    end = bytearray(data[start:])
    end[8:12] = struct.pack("<HH", 2, 2)
    end[12:16] = struct.pack("<L", size + len(entry))
    hostile = bytes(data[:start]) + bytes(entry) + bytes(end)
    assert len(zipfile.ZipFile(io.BytesIO(hostile)).infolist()) == 2, "the zip itself is readable"
    with pytest.raises(GtfsError, match="overlap"):
        _open(hostile)


def test_encrypted_and_foreign_methods() -> None:
    data = bytearray(_zip(("stops.txt", b"stop_id\n")))
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    with pytest.raises(GtfsError, match="encrypted"):
        _open(bytes(data))
    with pytest.raises(GtfsError, match="method 12"):
        _open(_zip(("stops.txt", b"stop_id\n" * 9), method=zipfile.ZIP_BZIP2))


def test_no_zip_at_all(tmp_path: Path) -> None:
    with pytest.raises(GtfsError, match="not a usable zip"):
        _open(b"<html>404</html>")
    with pytest.raises(GtfsError, match="cannot be read"):
        read_zip(tmp_path / "none.zip", ReaderLimits())
    with pytest.raises(GtfsError, match="cannot be read"):
        read_zip(tmp_path, ReaderLimits())
    (tmp_path / "big.zip").write_bytes(bytes(100))
    with pytest.raises(GtfsError, match="larger than 99 bytes"):
        read_zip(tmp_path / "big.zip", ReaderLimits(zip_bytes=99))


def test_zip_without_gtfs() -> None:
    with pytest.raises(GtfsError, match=r"no GTFS files"):
        _open(_zip(("readme.md", b"hello"), ("feed.zip", GOOD)))


def test_nested_folder_is_read_and_reported(files: dict[str, str]) -> None:
    nested = {f"feed-2026/{name}": text for name, text in files.items()}
    nested["__MACOSX/feed-2026/._stops.txt"] = "junk"
    network, findings = compile_bytes(zip_of(nested))
    assert len(network.trip_id) == 3
    assert findings.count("nested_folder") == 1


def test_letter_case_and_duplicate_file(files: dict[str, str]) -> None:
    upper = {("Stops.TXT" if name == "stops.txt" else name): text for name, text in files.items()}
    _, findings = compile_bytes(zip_of(upper))
    assert findings.count("file_name_case") == 1
    _, findings = compile_bytes(zip_of({**files, "STOPS.txt": "stop_id\n"}))
    assert findings.count("duplicate_file") == 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, len(GOOD) - 1), st.binary(min_size=1, max_size=6))
def test_damaged_bytes_never_raise_anything_else(at: int, junk: bytes) -> None:
    with contextlib.suppress(GtfsError):
        compile_bytes(GOOD[:at] + junk + GOOD[at + len(junk) :])


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD)))
def test_cut_zip_is_an_error(length: int) -> None:
    if length < len(GOOD):
        with pytest.raises(GtfsError):
            compile_bytes(GOOD[:length])
