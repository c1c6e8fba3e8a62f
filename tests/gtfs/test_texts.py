"""Names in several languages."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gtfs.findings import Findings
from gtfs.network import Network
from gtfs.texts import language_tag

Compile = Callable[..., tuple[Network, Findings]]
HEADER = "table_name,field_name,language,translation,record_id,record_sub_id,field_value\n"


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("EN", "en"),
        ("zh-hans", "zh-Hans"),
        ("zh_CN", "zh-CN"),
        ("bo", "bo"),
        ("en-gb-oed", "en-GB-oed"),
        ("", None),
        ("<b>", None),
    ],
)
def test_language_tags(text: str, tag: str | None) -> None:
    assert language_tag(text) == tag


def test_by_record_and_by_text(compile_files: Compile) -> None:
    rows = [
        "stops,stop_name,en,Alpha,A,,",
        "stops,stop_name,en,not this,,,A",
        "stops,stop_name,bo,ཨ,,,A",
        "stops,stop_name,ZH-HANS,同,A,,",
        "stops,stop_desc,en,nothing,A,,",
        "routes,route_long_name,en,First line,1,,",
        "trips,trip_headsign,en,Delta,1-1,,",
        "stops,stop_name,bo,ད,D,,",
        "stops,stop_name,,lost,A,,",
        "stops,stop_name,12,lost,A,,",
    ]
    network, findings = compile_files(translations=HEADER + "\n".join(rows))
    assert network.default_lang == "zh-Hans"
    assert network.stop_text(0) == {"zh-Hans": "A", "en": "Alpha", "bo": "ཨ"}
    assert next(iter(network.stop_text(0))) == "zh-Hans"
    assert network.stop_text(1) == {"zh-Hans": "B"}
    assert network.route_text(0) == {"zh-Hans": "Line 1", "en": "First line"}
    assert network.headsign_text(0) == {"zh-Hans": "D", "en": "Delta", "bo": "ད"}, (
        "the stop's name where none was given"
    )
    assert findings.count("bad_language") == 2


def test_old_google_columns(compile_files: Compile) -> None:
    network, _ = compile_files(translations="trans_id,lang,translation\nB,en,Beta\nD,en,Delta\n")
    assert network.stop_text(1) == {"zh-Hans": "B", "en": "Beta"}
    assert network.headsign_text(0) == {"zh-Hans": "D", "en": "Delta"}


def test_default_language(compile_files: Compile) -> None:
    info = "feed_publisher_name,feed_lang,default_lang,feed_version\nX,{},{},v7\n"
    assert compile_files(feed_info=info.format("fr", ""))[0].default_lang == "fr"
    assert compile_files(feed_info=info.format("mul", "de"))[0].default_lang == "de"
    assert compile_files(feed_info=info.format("mul", ""))[0].default_lang == "zh-Hans"
    network, _ = compile_files(agency="agency_id,agency_name,agency_timezone\na,A,Asia/Shanghai\n")
    assert network.default_lang == "und"
    assert compile_files(feed_info=info.format("fr", ""))[0].feed_version == "v7"
