"""stop_times.txt: order, gaps and wrong times; what is dropped, what is interpolated, what is counted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.archive import ReaderLimits
from gtfs.compile import compile_bytes
from gtfs.errors import GtfsError
from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.stop_times import _longest_in_order
from gtfs.testing import zip_from_map

Compile = Callable[..., tuple[Network, Findings]]
HEADER = "trip_id,stop_sequence,stop_id,arrival_time,departure_time\n"


def _times(network: Network, trip: int = 0) -> list[tuple[int, int]]:
    rows = network.trip_rows(trip)
    return list(zip(network.arrival_s[rows].tolist(), network.departure_s[rows].tolist()))


def _stops(network: Network, trip: int = 0) -> str:
    rows = network.pattern_rows(int(network.trip_pattern[trip]))
    return "".join(network.stop_id[i] for i in network.pattern_stop[rows].tolist())


def test_unsorted_rows(compile_files: Compile) -> None:
    rows = ["1-0,30,C,8:20:00,8:20:00", "1-1,1,A,9:00:00,9:00:00", "1-0,7,A,8:00:00,8:00:00"]
    rows += ["1-1,2,B,9:05:00,9:05:00", "1-0,10,B,8:10:00,8:11:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert findings.count("unsorted") == 1
    assert _stops(network) == "ABC"
    assert _times(network) == [(28_800, 28_800), (29_400, 29_460), (30_000, 30_000)]
    assert network.stop_sequence[network.trip_rows(0)].tolist() == [7, 10, 30]
    assert _stops(network, 1) == "AB"


def test_trips_in_another_order_than_in_trips_txt_are_not_unsorted(compile_files: Compile) -> None:
    rows = ["1-1,1,A,9:00:00,9:00:00", "1-1,2,B,9:05:00,9:05:00", "1-0,1,A,8:00:00,8:00:00", "1-0,2,B,8:05:00,8:05:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert findings.count("unsorted") == 0
    assert _times(network)[0] == (28_800, 28_800)


def test_missing_times_are_interpolated_by_distance(compile_files: Compile) -> None:
    """A B C are 300 m apart, D is 200 m from C: 800 m in 800 s."""
    rows = ["1-0,1,A,8:00:00,8:00:00", "1-0,2,B,,", "1-0,3,C,,", "1-0,4,D,8:13:20,8:13:20"]
    network, _ = compile_files(stop_times=HEADER + "\n".join(rows))
    assert [arrival - 28_800 for arrival, _ in _times(network)] == [0, 300, 600, 800]
    assert network.timepoint.tolist() == [1, 0, 0, 1]


def test_interpolation_starts_at_the_departure(compile_files: Compile) -> None:
    rows = ["1-0,1,A,8:00:00,8:00:00", "1-0,2,B,8:05:00,8:10:00", "1-0,3,C,,", "1-0,4,D,8:15:00,8:15:00"]
    network, _ = compile_files(stop_times=HEADER + "\n".join(rows))
    assert _times(network)[2] == (29_580, 29_580), "three fifths of the 500 m after 8:10"


def test_one_of_the_two_times_is_enough(compile_files: Compile) -> None:
    rows = ["1-0,1,A,,8:00:00", "1-0,2,B,8:05:00,", "1-0,3,C,8:09:00,8:08:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert _times(network) == [(28_800, 28_800), (29_100, 29_100), (29_340, 29_340)]
    assert findings.count("departure_before_arrival") == 1
    assert network.timepoint.tolist() == [1, 1, 1]


def test_garbage_and_backward_times_do_not_move_the_others(compile_files: Compile) -> None:
    rows = ["1-0,1,A,8:00:00,8:00:00", "1-0,2,B,48:00:00,48:00:00", "1-0,3,C,8:10:00,8:10:00", "1-0,4,D,soon,8:15:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert findings.count("backward_time") == 1
    assert findings.count("bad_optional_value") == 1
    assert _times(network) == [(28_800, 28_800), (29_100, 29_100), (29_400, 29_400), (29_700, 29_700)]
    assert network.timepoint.tolist() == [1, 0, 1, 1]


def test_two_days_and_more_are_times_like_others(compile_files: Compile) -> None:
    rows = ["1-0,1,A,47:59:00,47:59:00", "1-0,2,B,48:00:00,48:00:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert _times(network) == [(172_740, 172_740), (172_800, 172_800)]
    assert network.last_time_s == 172_800
    assert findings.count("backward_time") == 0


def test_ends_without_time(compile_files: Compile) -> None:
    rows = ["1-0,1,A,,", "1-0,2,B,8:05:00,8:06:00", "1-0,3,C,,"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert findings.count("end_without_time") == 1
    assert _times(network) == [(29_100, 29_100), (29_100, 29_160), (29_160, 29_160)]
    assert network.timepoint.tolist() == [0, 1, 0]


def test_trips_that_cannot_run_are_left_out(compile_files: Compile) -> None:
    rows = ["1-0,1,A,,", "1-0,2,B,,", "1-1,1,A,8:00:00,8:00:00", "1-2,1,A,9:00:00,9:00:00", "1-2,2,B,9:01:00,9:01:00"]
    network, findings = compile_files(stop_times=HEADER + "\n".join(rows))
    assert list(network.trip_id) == ["1-2"]
    assert findings.count("no_times") == 1
    assert findings.count("short_trip") == 1
    with pytest.raises(GtfsError, match="no trip of the feed is usable"):
        compile_files(stop_times=HEADER + rows[0])


def test_rows_of_unknown_trips_stops_and_repeated_sequences(compile_files: Compile, files: dict[str, str]) -> None:
    more = "ghost,1,A,8:00:00,8:00:00\n1-0,9,nowhere,9:00:00,9:00:00\n1-0,1,B,8:00:00,8:00:00\n"
    network, findings = compile_files(stop_times=files["stop_times.txt"] + more)
    assert _stops(network) == "ABCD"
    counted = {(group.code, group.field): group.count for group in findings if group.file == "stop_times.txt"}
    assert counted == {
        ("missing_parent", "trip_id"): 1,
        ("missing_parent", "stop_id"): 1,
        ("duplicate_key", "trip_id, stop_sequence"): 1,
    }


def test_pickup_and_headsign_of_a_row(compile_files: Compile) -> None:
    header = HEADER.strip() + ",stop_headsign,pickup_type,drop_off_type\n"
    rows = ["1-0,1,A,8:00:00,8:00:00,Depot,0,1", "1-0,2,B,8:05:00,8:05:00,,1,0", "1-0,3,C,8:09:00,8:09:00,,1,0"]
    network, _ = compile_files(stop_times=header + "\n".join(rows))
    assert [network.headsign[i] for i in network.time_headsign.tolist()] == ["Depot", "D", "D"]
    assert network.pickup_type.tolist() == [0, 1, 1]
    assert network.drop_off_type.tolist() == [1, 0, 0]


def test_limit_of_stops() -> None:
    data = zip_from_map("A-B-C-D-E", {"1": "ABCDE", "2": "AB"})
    network, findings = compile_bytes(data, ReaderLimits(stops_per_trip=4))
    assert findings.count("long_trip") == 3
    assert set(network.trip_id) == {"2-0", "2-1", "2-2"}


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30))
def test_longest_run_in_order(values: list[int]) -> None:
    kept = [values[i] for i in _longest_in_order(values)]
    assert kept == sorted(kept)
    best = [1] * len(values)
    for j in range(len(values)):
        best[j] = 1 + max((best[i] for i in range(j) if values[i] <= values[j]), default=0)
    assert len(kept) == max(best)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 100_000)), min_size=2, max_size=8))
def test_times_never_go_backwards(seconds: list[int | None]) -> None:
    """Whatever the file says: each time is filled, in order, and right ones of a good timetable stay."""
    clock = ["" if s is None else f"{s // 3600}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]
    rows = "".join(f"1-0,{i},{'ABCDEFGH'[i]},{time},{time}\n" for i, time in enumerate(clock))
    data = zip_from_map("A-B-C-D-E-F-G-H", {"1": "ABCDEFGH"}, trips=1, tables={"stop_times.txt": HEADER + rows})
    if all(s is None for s in seconds):
        with pytest.raises(GtfsError):
            compile_bytes(data)
        return
    network, _ = compile_bytes(data)
    both = np.array(_times(network)).ravel()
    assert (np.diff(both) >= 0).all()
    known = [s for s in seconds if s is not None]
    if known == sorted(known):
        assert set(known) <= set(both.tolist())
