"""Which keys a type of feed knows, and that every other combination is named by its path."""

from __future__ import annotations

from typing import Any

import pytest

from busd.config import parse_config
from busd.config.feeds import FEED_KEYS, FEED_MODE_KEYS, FEED_SCHEMES
from busd.config.schema import FeedConfig
from busd.errors import ConfigError
from busd.feeds import KINDS

GTFS = {"gtfs": {"path": "city.zip"}}
RT = {"name": "rt", "url": "https://example.org/vp.pb"}
HFP = {"name": "hsl", "type": "hfp", "url": "mqtts://mqtt.example.org"}
VM = {"name": "vm", "type": "siri-vm", "url": "https://example.org/vm"}
SUB = VM | {"mode": "subscribe"}


def test_all_types_side_by_side() -> None:
    config = parse_config(
        {
            **GTFS,
            "feeds": [
                RT | {"headers": {"X-Api-Key": "k"}, "datum": "gcj02"},
                HFP | {"topic": "/hfp/#", "qos": 1, "username": "u", "password": "p", "ca_file": "/etc/ca.pem"},
                VM | {"mode": "post", "requestor": "me", "timezone": "Europe/Oslo", "interval_s": 20},
                SUB | {"name": "s", "port": 8090, "host": "0.0.0.0", "public_url": "https://bus.example/siri"},
            ],
        }
    )
    assert [feed.type for feed in config.feeds] == ["gtfs-rt", "hfp", "siri-vm", "siri-vm"]
    assert (config.feeds[1].topic, config.feeds[3].heartbeat_s) == ("/hfp/#", 60.0)


def test_the_tables_speak_of_keys_and_kinds_that_exist() -> None:
    keys = set(FeedConfig.__struct_fields__)
    assert set(FEED_KEYS) == set(FEED_SCHEMES) <= set(KINDS)
    assert set().union(*FEED_KEYS.values()) == keys
    assert set().union(*FEED_MODE_KEYS.values()) <= FEED_KEYS["siri-vm"]


@pytest.mark.parametrize(
    ("feed", "says"),
    [
        (HFP | {"type": "mqtt"}, "feeds[0].type: invalid enum value 'mqtt'"),
        (HFP | {"url": "https://example.org"}, "feeds[0].url: type hfp needs mqtt, mqtts, not https"),
        (RT | {"url": "mqtt://example.org"}, "feeds[0].url: type gtfs-rt needs http, https, file, not mqtt"),
        (VM | {"url": "mqtt://example.org"}, "feeds[0].url: type siri-vm needs"),
        (HFP | {"url": "mqtts://:8883"}, "feeds[0].url: names no host"),
        (HFP | {"url": "mqtts://h:99999"}, "feeds[0].url: is no URL"),
        (HFP | {"url": "mqtts://[::1"}, "feeds[0].url: is no URL"),
        (RT | {"topic": "#"}, "feeds[0].topic: only type hfp knows this key, not gtfs-rt"),
        (HFP | {"headers": {"a": "b"}}, "feeds[0].headers: only type gtfs-rt or siri-vm knows this key, not hfp"),
        (HFP | {"interval_s": 5}, "feeds[0].interval_s: only type gtfs-rt or siri-vm knows this key"),
        (RT | {"timezone": "Europe/Oslo"}, "feeds[0].timezone: only type siri-vm knows this key"),
        (RT | {"mode": "subscribe"}, "feeds[0].mode: only type siri-vm knows this key"),
        (VM | {"port": 8090}, "feeds[0].port: only mode subscribe knows this key, not get"),
        (
            VM | {"mode": "post", "heartbeat_s": 30},
            "feeds[0].heartbeat_s: only mode subscribe knows this key, not post",
        ),
        (VM | {"timezone": "Mars/Olympus"}, "feeds[0].timezone: 'Mars/Olympus' is no name"),
        (VM | {"timezone": "../etc/passwd"}, "feeds[0].timezone: '../etc/passwd' is no name"),
        (VM | {"requestor": "a b"}, "feeds[0].requestor: expected `str` matching"),
        (SUB | {"url": "file:///a.xml", "allow_private": True}, "feeds[0].mode: a file can only be read"),
        (SUB | {"public_url": "https://bus.example/siri"}, "feeds[0].port: must be given"),
        (SUB | {"public_url": "ftp://bus.example"}, "feeds[0].public_url: expected `str` matching"),
        (SUB | {"port": 8081}, "feeds[0].port: 8081 is taken by signs.port"),
        (HFP | {"password": "p"}, "feeds[0].username: must be given with a password"),
        (
            HFP | {"url": "mqtt://h", "username": "u", "password": "p"},
            "feeds[0].url: a password or ca_file needs mqtts",
        ),
        (HFP | {"ca_file": "ca.pem"}, "feeds[0].ca_file: expected `str` matching"),
        (HFP | {"qos": 3}, "feeds[0].qos: expected `int` <= 2"),
        (HFP | {"queue": 0}, "feeds[0].queue: expected `int` >= 1"),
    ],
)
def test_a_mistake_is_named(feed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({**GTFS, "feeds": [feed]})
    assert str(caught.value).startswith(says)


def test_two_feeds_on_one_port() -> None:
    with pytest.raises(ConfigError, match=r"^feeds\[1\].port: 8090 is taken by feeds\[0\].port$"):
        parse_config({**GTFS, "feeds": [SUB | {"port": 8090}, SUB | {"name": "b", "port": 8090}]})
