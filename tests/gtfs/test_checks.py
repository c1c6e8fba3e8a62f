"""Stops, stations and the report of a feed's findings."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import gtfs
from gtfs.findings import CODES, Findings, Severity
from gtfs.network import Network
from gtfs.testing import zip_from_map

Compile = Callable[..., tuple[Network, Findings]]
STOPS = "stop_id,stop_name,stop_lat,stop_lon,location_type,parent_station\n"
ABCD = "A,A,36.06,103.83,0,\nB,B,36.06,103.84,0,\nC,C,36.06,103.85,0,\nD,D,36.06,103.86,0,\n"


def test_stations_and_entrances(compile_files: Compile) -> None:
    stops = (
        STOPS
        + ABCD.replace("36.06,103.84,0,", "36.06,103.84,0,S")
        + "S,Station,36.061,103.841,1,\nE,Exit,36.061,103.841,2,S\nN,Node,,,3,S\n"
    )
    network, findings = compile_files(stops=stops)
    assert list(network.stop_id) == ["A", "B", "C", "D", "S", "E", "N"]
    assert network.stop_parent.tolist() == [-1, 4, -1, -1, -1, 4, 4]
    assert network.stop_location_type.tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert findings.count_severity(Severity.ERROR) == 0
    assert findings.count("unused_stop") == 0


def test_coordinates_from_the_station_or_none(compile_files: Compile) -> None:
    stops = STOPS + "A,A,36.06,103.83,0,\nB,B,,,0,S\nC,C,0,0,0,\nD,D,36.06,103.86,0,\nS,S,36.061,103.841,1,\n"
    network, findings = compile_files(stops=stops)
    assert list(network.stop_id) == ["A", "B", "D", "S"]
    assert network.stop_lat[1] == 36.061
    assert findings.count("coordinates_of_station") == 1
    assert findings.count("no_coordinates") == 1
    assert [network.stop_id[s] for s in network.pattern_stop.tolist()] == ["A", "B", "D"], "the trip goes on without C"


def test_cyclic_parents_end(compile_files: Compile) -> None:
    rings = "R,R,36,103,1,S\nS,S,36,103,1,T\nT,T,36,103,1,R\nU,U,36,103,1,U\nV,V,36,103,0,R\n"
    network, findings = compile_files(stops=STOPS + ABCD + rings)
    assert findings.count("cyclic_parent") == 2
    for start in range(len(network.stop_id)):
        seen, at = set(), start
        while at >= 0:
            assert at not in seen
            seen.add(at)
            at = int(network.stop_parent[at])


def test_missing_references(compile_files: Compile, files: dict[str, str]) -> None:
    _, findings = compile_files(stops=STOPS + ABCD + "E,E,36,103,0,ghost\n")
    assert findings.count("missing_optional_parent") == 1
    network, findings = compile_files(trips=files["trips.txt"].replace("1-0,1,", "1-0,ghost,"))
    assert findings.count("missing_parent") == 1 + 4, "the trip and its four stop times"
    assert list(network.trip_id) == ["1-1", "1-2"]
    network, findings = compile_files(trips=files["trips.txt"].replace(",1\n", ",ghost\n"))
    assert findings.count("missing_optional_parent") == 3
    assert findings.count("no_shape") == 3


def test_duplicate_ids_keep_the_first(compile_files: Compile, files: dict[str, str]) -> None:
    network, findings = compile_files(stops=files["stops.txt"] + "A,Other,1,1\n")
    assert network.stop_text(0) == {"zh-Hans": "A"}
    (group,) = [group for group in findings if group.code == "duplicate_key"]
    assert (group.file, group.field, group.examples[0].row, group.examples[0].text) == ("stops.txt", "stop_id", 6, "A")


def test_an_id_of_na(compile_files: Compile, files: dict[str, str]) -> None:
    changed = {
        "stops": files["stops.txt"].replace("A,A,", "NA,NA,"),
        "stop_times": files["stop_times.txt"].replace(",A,", ",NA,"),
    }
    network, findings = compile_files(**changed)
    assert network.find_stop("NA") == 0
    assert findings.count_severity(Severity.ERROR) == 0


def test_impossible_speed_far_stop_and_clashing_block(compile_files: Compile, files: dict[str, str]) -> None:
    _, findings = compile_files(stops=files["stops.txt"].replace("D,D,36.0", "D,D,30.0"), shapes=None)
    assert findings.count("far_away_stop") == 1
    assert findings.count("too_fast") == 3
    trips = "trip_id,route_id,service_id,block_id\n1-0,1,daily,b\n1-1,1,daily,b\n1-2,1,daily,c\n"
    _, findings = compile_files(trips=trips)
    assert findings.count("overlapping_block") == 0
    assert findings.count("no_blocks") == 0
    times = files["stop_times.txt"]
    clash = times.replace("1-1,", "1-9,").replace("1-2,", "1-1,").replace("08:20", "08:00").replace("08:21", "08:01")
    _, findings = compile_files(trips=trips, stop_times=clash)
    assert findings.count("overlapping_block") == 1


@pytest.mark.parametrize("table", ["stops", "routes", "trips", "stop_times"])
def test_missing_required_file(compile_files: Compile, table: str) -> None:
    with pytest.raises(gtfs.GtfsError, match=rf"the feed lacks {table}.txt"):
        compile_files(**{table: None})


def test_check_feed_never_raises(tmp_path: Path) -> None:
    path = tmp_path / "feed.zip"
    path.write_bytes(zip_from_map("A--B", {"1": "AB"}))
    assert gtfs.check_feed(path).usable
    path.write_bytes(b"nothing")
    findings = gtfs.check_feed(path)
    assert not findings.usable
    document = json.loads(findings.to_json())
    assert document["usable"] is False
    assert document["findings"][0]["code"] == "unreadable"
    assert not gtfs.check_feed(tmp_path / "none.zip").usable


def test_rendering_and_json() -> None:
    findings = Findings()
    findings.add("unused_stop", "stops.txt", None, "stop_id", "x")
    findings.add("bad_value", "stops.txt", 7, "stop_lat", "[red]nor\x1b[31mth")
    findings.add_many("duplicate_key", "trips.txt", "trip_id", 1234, [(3, "a")])
    out = io.StringIO()
    gtfs.render_findings(findings, Console(file=out, width=160, color_system=None))
    lines = out.getvalue().splitlines()
    assert "error" in lines[1] and "row 7: [red]nor\N{REPLACEMENT CHARACTER}[31mth" in lines[1]
    assert "1,234" in lines[2]
    assert lines[-1] == "usable: 1,235 error, 0 warning, 1 info"
    assert Findings.from_dict(json.loads(findings.to_json())).to_dict() == findings.to_dict()
    out = io.StringIO()
    gtfs.render_findings(Findings(), Console(file=out, width=80))
    assert out.getvalue().strip() == "usable: 0 error, 0 warning, 0 info"


def test_codes_are_words_and_unknown_ones_are_refused() -> None:
    assert all(meaning and not meaning.endswith(".") for _, meaning in CODES.values())
    with pytest.raises(KeyError):
        Findings().add("no_such_code")
