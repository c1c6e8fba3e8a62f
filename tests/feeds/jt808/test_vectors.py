"""Frames whose contents are known: own ones, built field by field from the standard, and published ones read in place."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busd.feeds.jt808.describe import describe_frame
from busd.feeds.jt808.frame import BadFrame, FrameReader, encode_frame, phone_bytes, unescape

OWN = Path(__file__).parents[2] / "vectors" / "jt808.jsonl"
SHARED = Path(__file__).parents[3] / "../shared/data/jt808"


def lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def shared(name: str) -> list[Any]:
    found = [pytest.param(vector, id=vector["id"]) for vector in lines(SHARED / name)]
    return found or [pytest.param(None, marks=pytest.mark.skip(reason=f"no ../shared/data/jt808/{name} here"))]


def word_of(item: object) -> str:
    if isinstance(item, BadFrame):
        return item.reason.value
    return "flagless-2019" if item.is_flagless else "good"  # type: ignore[attr-defined]


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in lines(OWN)])
def test_own_vector(vector: dict[str, Any]) -> None:
    wire = bytes.fromhex(vector["wire"])
    assert [word_of(item) for item in FrameReader().receive_data(wire)] == [vector["class"]]
    got = describe_frame(wire)
    assert got["ok"] == (vector["class"] in ("good", "flagless-2019"))
    if vector["class"] != "good":
        assert got["reason"] == vector["class"]
    for key, value in vector["expect"].items():
        if key == "positions":
            assert len(got["positions"]) == len(value)
            for have, want in zip(got["positions"], value):
                assert_fields(have, want)
        elif isinstance(value, dict):
            assert_fields(got[key], value)
        else:
            assert got[key] == value, key


def test_describe_takes_the_first_frame_with_or_without_flags() -> None:
    wire = bytes.fromhex(lines(OWN)[0]["wire"])
    assert describe_frame(wire + wire) == describe_frame(wire[1:-1]) == describe_frame(wire)


@pytest.mark.parametrize(
    ("header", "size", "version"), [(2013, 30, 2011), (2013, 44, 2013), (2019, 44, 2019), (2019, 84, 2019)]
)
def test_the_version_of_a_registration(header: int, size: int, version: int) -> None:
    """Terminals with a 2019 header may still send the fields of 2013."""
    got = describe_frame(encode_frame(0x100, phone_bytes("1391", header), 7, bytes(size), header))
    assert (got["version"], got["registration"]["plate"]) == (version, "")


@given(st.binary(max_size=80), st.sampled_from([2013, 2019]), st.sampled_from([1, 0x100, 0x102, 0x200, 0x704, 0x8100]))
def test_describe_never_raises(data: bytes, version: int, message_id: int) -> None:
    describe_frame(data)
    assert describe_frame(encode_frame(message_id, phone_bytes("1391", version), 7, data, version))["ok"]


def assert_fields(have: dict[str, Any], want: dict[str, Any]) -> None:
    for key, value in want.items():
        if key == "items":
            assert [[item["id"], item["hex"]] for item in have["items"]] == value
        else:
            assert have[key] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value), key


@pytest.mark.parametrize("vector", shared("vectors.jsonl"))
def test_published_frame(vector: dict[str, Any]) -> None:
    wire, opinion = bytes.fromhex(vector["wire_hex"]), vector["second_opinion"]
    assert [word_of(item) for item in FrameReader().receive_data(wire)] == [vector["class"]]
    got = describe_frame(wire)
    if vector["class"] == "flagless-2019":
        assert (got["ok"], got["version"]) == (True, 2019)
    if vector["class"] != "good":
        return
    assert (got["msg_id"], got["phone"], got["serial"]) == (
        opinion["msg_id"],
        opinion["phone"],
        opinion["serial"],
    )
    if opinion["split"]:
        return
    wanted = opinion.get("items") or ([opinion] if "lat" in opinion else [])
    assert len(got["positions"]) == len(wanted)
    for have, want in zip(got["positions"], wanted):
        assert_published_position(have, want)
    for have, want in zip(got["positions"], vector["expect"].get("items", [])):
        assert {"lat": have["lat"], "status": have["status"]}.items() >= {
            key: want[key] for key in ("lat", "status") if key in want
        }.items()
    for key in ("plate", "terminal_id", "maker", "model", "province", "city", "plate_color"):
        if key in opinion:
            assert got["registration"][key] == opinion[key]
    if "std_guess" in opinion:
        assert str(got["version"]) == opinion["std_guess"]
    for key, where in (("auth_code", "code"), ("imei", "imei"), ("software", "software")):
        if key in opinion and "authentication" in got:
            assert got["authentication"][where] == opinion[key]


def assert_published_position(have: dict[str, Any], want: dict[str, Any]) -> None:
    assert (have["lat"], have["lon"]) == (pytest.approx(want["lat"], abs=1e-9), pytest.approx(want["lon"], abs=1e-9))
    assert have["speed_mps"] == pytest.approx(want["speed_kmh"] / 3.6)
    for ours, theirs in (("altitude_m", "altitude_m"), ("bearing_deg", "direction"), ("alarm", "alarm")):
        assert have[ours] == want[theirs]
    assert have["status"] == want["status"]
    time = want["time_utc"]
    assert have["measured_at"] == (None if time is None else datetime.fromisoformat(time).timestamp())
    assert [[f"{item['id']:02x}", item["hex"]] for item in have["items"]] == want["extras"]


@pytest.mark.parametrize("vector", shared("framing.jsonl"))
def test_published_stream(vector: dict[str, Any]) -> None:
    if vector["kind"] == "escape":
        assert unescape(bytes.fromhex(vector["wire"])[1:-1]) == bytes.fromhex(vector["payload_unescaped"])
        return
    stream = bytes.fromhex(vector["stream"])
    number = int(vector["id"][1:])
    for size in (len(stream), 1, 3):
        reader = FrameReader()
        items = [item for at in range(0, len(stream), size) for item in reader.receive_data(stream[at : at + size])]
        if "frames_unescaped" in vector:
            got = ["7e" + (unescape(item.wire) or b"").hex() + "7e" for item in items if isinstance(item, BadFrame)]
            assert got == vector["frames_unescaped"]
        elif number < 15:  # the contents are no 808: the splitter alone
            assert ["7e" + item.wire.hex() + "7e" for item in items if isinstance(item, BadFrame)] == vector[
                "frames_wire"
            ]
        else:
            wanted = list(vector["frames_wire"])
            if vector["id"] == "f024":
                wanted.append("7e000200000123456789017fff0a7e")
            serials = [describe_frame(bytes.fromhex(wire))["serial"] for wire in wanted]
            assert [item.serial for item in items if not isinstance(item, BadFrame)] == serials
            if vector["id"] != "f024" and "pending_bytes" in vector:
                assert reader.pending_bytes == vector["pending_bytes"]
