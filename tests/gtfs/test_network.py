"""The compiled network: rows and offsets, files, determinism."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtfs.compile import compile_bytes
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.strings import Strings, Translations
from gtfs.testing import network_from_map, zip_from_map

Compile = Callable[..., tuple[Network, Findings]]

CROSS = """
    C
    |
A---X---B
    |
    D
"""
LINES = {"1": "AXB", "1/back": "BXA", "2": "CXDXC"}


def _content(network: Network) -> dict[str, Any]:
    """Every array as bytes and every string list, by field."""
    content: dict[str, Any] = {}
    for field in fields(network):
        value = getattr(network, field.name)
        if isinstance(value, Translations):
            content[field.name] = (value.offset.tolist(), value.lang.tolist(), list(value.text))
        elif isinstance(value, Strings):
            content[field.name] = list(value)
        elif isinstance(value, np.ndarray):
            content[field.name] = (str(value.dtype), value.shape, value.tobytes())
        else:
            content[field.name] = value
    return content


@given(st.lists(st.text(st.characters(exclude_categories=[]), max_size=8)))
def test_strings_hold_any_text(values: list[str]) -> None:
    strings = Strings.pack(values)
    clean = [value.encode("utf-8", "surrogatepass").decode("utf-8", "replace") for value in values]
    assert list(strings) == clean
    assert [strings[i] for i in range(len(strings))] == clean
    for value in clean:
        assert strings.find(value) == clean.index(value)
    assert strings.find("nowhere at all") is None


def test_strings_have_no_row_of_none() -> None:
    strings = Strings.pack(["a"])
    for row in (-1, 1):
        with pytest.raises(IndexError):
            strings[row]


def test_rows_of_patterns_trips_links_and_calls() -> None:
    network = network_from_map(CROSS, LINES, trips=2, blocks=True)
    letters = list(network.stop_id)
    assert list(network.route_id) == ["1", "2"]
    assert network.pattern_route.tolist() == [0, 0, 1]
    assert network.pattern_direction.tolist() == [0, 1, 0]
    patterns = ["".join(letters[s] for s in network.pattern_stop[network.pattern_rows(p)].tolist()) for p in range(3)]
    assert patterns == ["AXB", "BXA", "CXDXC"]
    assert [network.trip_id[t] for t in network.pattern_trip.tolist()] == [
        "1-0",
        "1-1",
        "1/back-0",
        "1/back-1",
        "2-0",
        "2-1",
    ]
    pairs = [letters[a] + letters[b] for a, b in zip(network.link_from.tolist(), network.link_to.tolist())]
    assert sorted(pairs) == ["AX", "BX", "CX", "DX", "XA", "XB", "XC", "XD"]
    for p, text in enumerate(patterns):
        links = network.pattern_link[network.pattern_rows(p)].tolist()
        assert [pairs[link] for link in links[:-1]] == [text[i : i + 2] for i in range(len(text) - 1)]
        assert links[-1] == -1
    crossing = network.find_stop("X")
    assert crossing is not None
    assert list(network.calls_at(crossing)) == [(0, 1), (1, 1), (2, 1), (2, 3)]
    block = network.block_id.find("1-0")
    assert block is not None
    assert [network.trip_id[t] for t in network.block_trips(block).tolist()] == ["1-0", "1/back-0"]
    assert network.trip_block.tolist() == [0, 1, 0, 1, 2, 3]
    assert network.find_trip("2-1") == 5
    assert network.find_route("2") == 1
    assert network.find_stop("Q") is None


def test_names_colours_and_fallbacks(compile_files: Compile) -> None:
    header = "route_id,route_short_name,route_long_name,route_type,route_color\n"
    network, findings = compile_files(routes=header + "1,,Line of Peace,3,\nr2,,,3,00ff00\n")
    assert list(network.route_short_name) == ["Line of Peace", "r2"]
    assert list(network.route_color) == ["FFFFFF", "00FF00"]
    assert list(network.route_text_color) == ["000000", "000000"]
    assert network.route_text(0) == {"zh-Hans": "Line of Peace"}
    assert findings.count("route_without_trips") == 1


def test_headsign_falls_back_to_the_last_stop(compile_files: Compile) -> None:
    network, _ = compile_files(trips="trip_id,route_id,service_id\n1-0,1,daily\n")
    assert network.headsign_text(int(network.trip_headsign[0])) == {"zh-Hans": "D"}
    assert network.pattern_direction.tolist() == [-1]


def test_save_and_load_are_equal_and_mapped(tmp_path: Path) -> None:
    network = network_from_map(CROSS, LINES, names={"bo": {"A": "ལན་གྲུ།"}})
    network.save(tmp_path / "n")
    loaded = Network.load(tmp_path / "n")
    assert _content(loaded) == _content(network)
    assert not loaded.arrival_s.flags.writeable
    assert not loaded.arrival_s.flags.owndata, "a view of the mapped file"
    assert type(loaded.arrival_s) is np.ndarray


def test_load_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(GtfsError, match="no usable compiled network"):
        Network.load(tmp_path)
    network_from_map(CROSS, LINES).save(tmp_path)
    document = json.loads((tmp_path / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps({**document, "compiler": "0"}))
    with pytest.raises(GtfsError, match="compiled by version 0"):
        Network.load(tmp_path)
    (tmp_path / "network.json").write_text(json.dumps(document))
    (tmp_path / "arrival_s.npy").write_bytes(b"")
    with pytest.raises(GtfsError, match="no usable compiled network"):
        Network.load(tmp_path)
    np.save(tmp_path / "arrival_s.npy", np.zeros(3))
    with pytest.raises(GtfsError, match="float64, not int32"):
        Network.load(tmp_path)


def test_equal_bytes_give_equal_networks_and_digests() -> None:
    data = zip_from_map(CROSS, LINES)
    first, second = compile_bytes(data)[0], compile_bytes(data)[0]
    assert _content(first) == _content(second)
    assert len(first.digest) == 64
    assert compile_bytes(zip_from_map(CROSS, LINES, trips=4))[0].digest != first.digest


def test_nothing_depends_on_the_hash_seed(tmp_path: Path) -> None:
    """Two processes with different PYTHONHASHSEED write byte-equal files."""
    (tmp_path / "feed.zip").write_bytes(
        zip_from_map(CROSS, LINES, blocks=True, names={"en": {"A": "Alpha", "X": "Cross"}, "bo": {"X": "X"}})
    )
    written = []
    for seed in ("1", "2"):
        directory = tmp_path / seed
        directory.mkdir()
        order = {"zip": str(tmp_path / "feed.zip"), "directory": str(directory), "max_memory": 0, "limits": {}}
        subprocess.run(
            [sys.executable, "-m", "gtfs.compile", json.dumps(order)],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
            timeout=120,
        )
        written.append({path.name: path.read_bytes() for path in directory.iterdir()})
    assert written[0] == written[1]
    assert "arrival_s.npy" in written[0]
