"""SIRI-VM messages whose contents are known, XML that means harm, and what we write ourselves."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import msgspec
import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import given, settings
from hypothesis import strategies as st

from busd.clock import SystemClock
from busd.errors import FeedError
from busd.feeds import siri_messages
from busd.feeds.datum import wgs84_to_bd09
from busd.feeds.siri import MAX_ACTIVITIES, MAX_BYTES, MAX_ELEMENTS, Decoded, decode
from busd.types import TripHint

NOW = 1_763_800_000.0
VECTORS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "vectors/siri.jsonl").read_text(encoding="utf-8").splitlines()
]
GOOD: str = VECTORS[0]["xml"]
REFUSED_WITHIN_S = 1.0


def take(xml: str | bytes, **options: Any) -> Decoded:
    body = xml.encode() if isinstance(xml, str) else xml
    return decode(body, **{"source": "vm", "received_at": NOW} | options)


def delivery(content: str) -> bytes:
    return f"<Siri><ServiceDelivery><VehicleMonitoringDelivery>{content}</VehicleMonitoringDelivery></ServiceDelivery></Siri>".encode()


@pytest.mark.parametrize("vector", [pytest.param(v, id=f"{v['id']} {v['what']}") for v in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    expect = dict(vector["expect"])
    if "feed_error" in expect:
        with pytest.raises(FeedError, match=r"^vm: "):
            take(vector["xml"])
        return
    got = take(vector["xml"], timezone=expect.pop("timezone", ""))
    wanted = expect.pop("positions")
    assert len(got.positions) == len(wanted)
    for have, want in zip(got.positions, wanted):
        assert (have.source, have.received_at) == ("vm", NOW)
        if "hint" in want:
            hint = want.pop("hint")
            assert have.hint == (None if hint is None else TripHint(**hint))
        assert {key: getattr(have, key) for key in want} == want
    assert [str(reject.reason) for reject in got.rejects] == expect.pop("rejects")
    if "subscription_refs" in expect:
        assert got.subscription_refs == set(expect.pop("subscription_refs"))
    assert {key: getattr(got, key) for key in expect} == expect


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings(encoding: str) -> None:
    xml = GOOD.replace('encoding="UTF-8"', f'encoding="{encoding.removesuffix("-sig")}"').replace("J-627", "Ærlig")
    (got,) = take(xml.encode(encoding)).positions
    assert got.hint is not None
    assert got.hint.trip_id == "Ærlig"


@pytest.mark.parametrize(("head", "valid", "fits"), [("00:26:40", "00:36:30", True), ("00:26:40", "00:26:00", False)])
def test_what_is_valid_until_when_is_judged_by_the_producers_clock(head: str, valid: str, fits: bool) -> None:
    """Eight hours off: local time is written as UTC, or the other way round."""
    xml = (
        GOOD.replace("T08:26:40Z", f"T{head}Z").replace("T08:26:30Z", "T00:26:30Z").replace("T08:36:30Z", f"T{valid}Z")
    )
    got = take(xml)
    assert [position.measured_at for position in got.positions] == ([NOW - 8 * 3600 - 10] if fits else [])
    assert [reject.reason for reject in got.rejects] == ([] if fits else ["stale"])


def test_a_header_that_is_a_little_old_is_no_other_clock() -> None:
    xml = GOOD.replace("T08:26:40Z", "T08:24:00Z").replace("T08:36:30Z", "T08:25:00Z")
    assert [reject.reason for reject in take(xml).rejects] == ["stale"]


def test_the_datum_of_the_feed_is_taken_off() -> None:
    lat, lon = wgs84_to_bd09(36.06, 103.83)
    xml = GOOD.replace("63.4361", f"{lat:.12f}").replace("10.4026", f"{lon:.12f}")
    (got,) = take(xml, datum="bd09").positions
    assert (got.lat, got.lon) == pytest.approx((36.06, 103.83), abs=1e-7)
    with pytest.raises(ValueError, match="unknown datum"):
        take(GOOD, datum="mars")
    with pytest.raises(ValueError, match="no time zone"):
        take(GOOD, timezone="Mars/Olympus")


@pytest.mark.parametrize(
    ("received_at", "measured_at"),
    [
        (1_761_438_660.0, 1_761_438_600.0),  # 02:31 summer time
        (1_761_442_260.0, 1_761_442_200.0),  # 02:31 winter time, an hour later
    ],
)
def test_the_hour_that_comes_twice_in_autumn(received_at: float, measured_at: float) -> None:
    xml = GOOD.replace("2025-11-22T08:26:30Z", "2025-10-26T02:30:00")
    (got,) = take(xml, timezone="Europe/Oslo", received_at=received_at).positions
    assert got.measured_at == measured_at


# ---- harm ------------------------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
HARM = {
    "a billion laughs": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><Siri>&l9;</Siri>'.encode(),
    "in UTF-16": f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><Siri>&l9;</Siri>'.encode("utf-16"),
    "one entity many times": f'<!DOCTYPE a [<!ENTITY x "{"A" * 100_000}">]><Siri>{"&x;" * 100_000}</Siri>'.encode(),
    "a file": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><Siri><ServiceDelivery>&x;</ServiceDelivery></Siri>',
    "a parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:1/x"> %x;]><Siri/>',
    "a DTD elsewhere": b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><Siri/>',
    "200,000 deep": b"<a>" * 200_000 + b"</a>" * 200_000,
    "200,000 deep in an activity": delivery(
        "<VehicleActivity>" + "<a>" * 200_000 + "</a>" * 200_000 + "</VehicleActivity>"
    ),
    "8 MiB deep": b"<a>" * (MAX_BYTES // 3),
    "8 MiB of one attribute": b'<Siri a="' + b"x" * (MAX_BYTES - 100),
    "too many activities": delivery("<VehicleActivity/>" * (MAX_ACTIVITIES + 1)),
    "a byte too many": b" " * (MAX_BYTES + 1),
    "NUL": bytes(100_000),
}


@pytest.mark.parametrize("name", HARM)
def test_harm_is_one_feed_error_soon(name: str) -> None:
    clock = SystemClock()
    started = clock.monotonic()
    with pytest.raises(FeedError):
        take(HARM[name])
    assert clock.monotonic() - started < REFUSED_WITHIN_S


def test_millions_of_elements_are_refused() -> None:
    with pytest.raises(FeedError, match=f"more than {MAX_ELEMENTS} elements"):
        take(delivery("<a/>" * (MAX_ELEMENTS + 1)))


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        ("".join(f"<a{n}/>" for n in range(5000)), "different names"),
        ("".join(f"<a b{n}=''/>" for n in range(5000)), "different names"),
        ("".join(f"<a xmlns:b{n}='c'/>" for n in range(5000)), "different names"),
        ("<a " + " ".join(f"b{n}=''" for n in range(200_000)) + "/>", "a tag or comment of more than"),
        (f"<!--{' ' * 1_000_000}-->", "a tag or comment of more than"),
    ],
)
def test_names_and_tags_without_end(xml: str, says: str) -> None:
    with pytest.raises(FeedError, match=says):
        take(delivery(xml))


def test_a_limit_of_the_feed() -> None:
    with pytest.raises(FeedError, match="more than the limit of 100"):
        take(GOOD, max_bytes=100)


# ---- anything --------------------------------------------------------------------------------------------------------


def check(got: Decoded) -> None:
    """What is handed on can be kept in the journal, and is a place on earth."""
    for position in got.positions:
        msgspec.json.encode(position)
        assert -91 < position.lat < 91 and -181 < position.lon < 181
        assert math.isfinite(position.measured_at)
    for reject in got.rejects:
        msgspec.json.encode(reject)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_crash(body: bytes) -> None:
    with contextlib.suppress(FeedError):
        check(take(body))


@settings(deadline=None)
@given(st.data())
def test_no_damage_of_a_good_message_crashes(data: st.DataObject) -> None:
    body = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=30))
    with contextlib.suppress(FeedError):
        check(take(bytes(body), timezone="Europe/Oslo"))


TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Z")), max_size=30)
ODD = TEXT | st.sampled_from(
    [
        "",
        "NaN",
        "-0",
        "1e400",
        "9" * 400,
        "9999-12-31T23:59:59",
        "0001-01-01T00:00:00",
        "2025-11-22T08:26:30+24:00",
        "٣",
    ]
)


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([
    "2025-11-22T08:26:30Z", "2025-11-22T08:36:30Z", "J-627", "2025-11-22<", "ATB", "20014", "63.4361", "10.4026",
    "271.5", "true</Monitored", "NO:Line:60", ">2<",
]), ODD), st.sampled_from(["", "Europe/Oslo", "Asia/Shanghai"]))  # fmt: skip
def test_no_value_crashes(values: dict[str, str], timezone: str) -> None:
    xml = GOOD
    for old, new in values.items():
        inside = old.strip("<>").partition("</")[0]
        xml = xml.replace(old, old.replace(inside, escape(new)))
    check(take(xml, timezone=timezone))


@settings(deadline=None)
@given(st.lists(st.sampled_from([*"<>/&;\"'= ", "a", "VehicleActivity", "ServiceDelivery", "ErrorCondition", "Status",
                                 "<VehicleMonitoringDelivery>", "</VehicleActivity>", "<![CDATA[", "]]>", "<?x?>"]),
                max_size=60))  # fmt: skip
def test_no_tags_crash(parts: list[str]) -> None:
    with contextlib.suppress(FeedError):
        check(take("".join(parts)))


# ---- what we write ---------------------------------------------------------------------------------------------------


def names(body: bytes) -> list[tuple[str, str]]:
    return [(node.tag.partition("}")[2], node.text or "") for node in fromstring(body).iter()][1:]


def test_a_subscription_request() -> None:
    body = siri_messages.subscription_request(
        NOW, "busd", "x-1", consumer_address="http://a/?b&c", heartbeat_s=60, update_s=0.2, until=NOW + 3600
    )
    t = "2025-11-22T08:26:40.000Z"
    assert names(body) == [
        ("SubscriptionRequest", ""),
        ("RequestTimestamp", t),
        ("RequestorRef", "busd"),
        ("MessageIdentifier", "x-1"),
        ("ConsumerAddress", "http://a/?b&c"),
        ("SubscriptionContext", ""),
        ("HeartbeatInterval", "PT60S"),
        ("VehicleMonitoringSubscriptionRequest", ""),
        ("SubscriberRef", "busd"),
        ("SubscriptionIdentifier", "x-1"),
        ("InitialTerminationTime", "2025-11-22T09:26:40.000Z"),
        ("VehicleMonitoringRequest", ""),
        ("RequestTimestamp", t),
        ("MessageIdentifier", "x-1"),
        ("IncrementalUpdates", "true"),
        ("UpdateInterval", "PT1S"),
    ]


def test_other_messages_are_siri_too() -> None:
    assert names(siri_messages.service_request(NOW, "busd", "m"))[0][0] == "ServiceRequest"
    assert ("SubscriptionRef", "x-1") in names(siri_messages.termination_request(NOW, "busd", "x-1", "m"))
    assert ("Status", "true") in names(siri_messages.acknowledgement(NOW, "busd"))
    refusal = names(siri_messages.acknowledgement(NOW, "busd", "<&>"))
    assert ("Status", "false") in refusal
    assert ("ErrorText", "no subscription '<&>' here") in refusal
