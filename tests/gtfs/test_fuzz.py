"""A feed with any damage inside its files compiles, or ends in a GtfsError: never anything else."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gtfs.compile import compile_bytes
from gtfs.errors import GtfsError
from gtfs.network import Network
from gtfs.testing import zip_from_map, zip_of

_DATA = zip_from_map(
    "A--B--C\n|     |\nF--E--D",
    {"1": "ABCDEFA", "2": "CBA"},
    blocks=True,
    names={"en": {"A": "Alpha"}},
    tables={
        "frequencies.txt": "trip_id,start_time,end_time,headway_secs,exact_times\n2-0,06:00:00,07:00:00,600,0\n",
        "calendar_dates.txt": "service_id,date,exception_type\ndaily,20260501,2\n",
        "feed_info.txt": "feed_publisher_name,feed_lang,feed_version\nX,zh-Hans,1\n",
    },
)
with zipfile.ZipFile(io.BytesIO(_DATA)) as _archive:
    FILES = {name: _archive.read(name) for name in _archive.namelist()}

_JUNK = st.one_of(
    st.sampled_from(
        [b"", b",", b'"', b"\n", b"\r\n", b"NA", b"-1", b"0", b"99999999999", b"1e309", b"nan", b"48:00:00"]
    ),
    st.sampled_from(
        [b"\xff\xfe", b"\xb1\xb1", b"\0", b"A", b"1-0", b"90", b"180", b"-180", b"20260101", b"\xef\xbb\xbf"]
    ),
    st.binary(max_size=4),
)


@settings(max_examples=250, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(FILES)), st.floats(0, 1), st.integers(0, 40), _JUNK), min_size=1, max_size=6
    )
)
def test_damage_inside_the_files(damage: list[tuple[str, float, int, bytes]]) -> None:
    files = dict(FILES)
    for name, share, length, junk in damage:
        at = int(share * len(files[name]))
        files[name] = files[name][:at] + junk + files[name][at + length :]
    with contextlib.suppress(GtfsError):
        network, findings = compile_bytes(zip_of(files))
        findings.to_json()
        _is_sound(network)


def _is_sound(network: Network) -> None:
    """Every index points somewhere, every offset ascends, nothing is NaN or backwards."""
    stops, trips, patterns = len(network.stop_id), len(network.trip_id), len(network.pattern_route)
    for array, limit in (
        (network.pattern_stop, stops),
        (network.stop_call_pattern, patterns),
        (network.pattern_shape, len(network.shape_id)),
        (network.pattern_route, len(network.route_id)),
        (network.trip_pattern, patterns),
        (network.trip_service, len(network.service_id)),
        (network.trip_headsign, len(network.headsign)),
        (network.time_headsign, len(network.headsign)),
        (network.frequency_trip, trips),
    ):
        assert ((array >= 0) & (array < limit)).all()
    assert (network.trip_block < len(network.block_id)).all()
    assert (network.stop_parent < stops).all()
    assert np.isfinite(network.pattern_stop_m).all()
    assert np.isfinite(network.stop_x).all()
    for trip in range(trips):
        rows = network.trip_rows(trip)
        pattern = network.pattern_rows(int(network.trip_pattern[trip]))
        assert rows.stop - rows.start == pattern.stop - pattern.start >= 2
        times = np.column_stack((network.arrival_s[rows], network.departure_s[rows])).ravel()
        assert (np.diff(times) >= 0).all() and times[0] >= 0
        assert (np.diff(network.pattern_stop_m[pattern]) >= 0).all()
    for shape in range(len(network.shape_id)):
        assert (np.diff(network.shape_m[network.shape_rows(shape)]) >= 0).all()
