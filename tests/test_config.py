"""Every mistake in a configuration is named by the path of its key."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from busd.config import Config, FeedConfig, check_config, describe_config, load_config, parse_config
from busd.config.schema import struct_of_list
from busd.errors import ConfigError
from busd.parameters import Parameters

GTFS = {"gtfs": {"path": "city.zip"}}
FEED = {"name": "a", "url": "https://example.org/vp.pb"}


def load(tmp_path: Path, text: str, **env: str) -> Config:
    path = tmp_path / "busd.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, env)


def test_the_timetable_is_all_that_must_be_given(tmp_path: Path) -> None:
    config = load(tmp_path, '[gtfs]\npath = "city.zip"')
    assert config.gtfs.path == tmp_path / "city.zip"
    assert config.state.dir == tmp_path / "var/state"
    assert (config.web.host, config.web.port) == ("127.0.0.1", 8080)
    assert (config.signs.host, config.signs.port) == ("0.0.0.0", 8081)
    assert (config.jt808.host, config.jt808.port) == ("0.0.0.0", 6808)
    assert config.feeds == ()
    assert config.engine == Parameters()
    assert check_config(config) == []


def test_all_sections(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [gtfs]
        path = "/data/city.zip"
        [signs]
        shared_token = "demo"
        tokens = {"LS-0042" = "s3cr3t", "站 1" = "x"}
        [jt808]
        terminals = {"013912345678" = "1207"}
        [[feeds]]
        name = "agency"
        url = "https://example.org/vp.pb"
        interval_s = 15
        headers = {"X-Api-Key" = "k"}
        [engine.boards]
        ttl_s = 60
        """,
    )
    assert config.gtfs.path == Path("/data/city.zip")
    assert config.signs.tokens["站 1"] == "x"
    assert config.jt808.terminals == {"013912345678": "1207"}
    assert config.feeds == (
        FeedConfig(name="agency", url="https://example.org/vp.pb", interval_s=15.0, headers={"X-Api-Key": "k"}),
    )
    assert config.engine.boards.ttl_s == 60.0


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "gtfs.path: must be given"),
        ({"gtfs": {}}, "gtfs.path: must be given"),
        ({"gtfs": {"path": 3}}, "gtfs.path: expected the path"),
        ({"gtfs": {"path": ""}}, "gtfs.path: expected the path"),
        ({**GTFS, "wbe": {}}, "wbe: no such key; did you mean 'web'?"),
        ({**GTFS, "web": {"prot": 1}}, "web.prot: no such key; did you mean 'port'?"),
        ({**GTFS, "web": {"zzz": 1}}, "web.zzz: no such key; known are admin_token, host, port, public_url"),
        ({**GTFS, "web": {"port": "8080"}}, "web.port: expected `int`, got `str`"),
        ({**GTFS, "web": {"port": True}}, "web.port: expected `int`, got `bool`"),
        ({**GTFS, "web": {"port": 70000}}, "web.port: expected `int` <= 65535"),
        ({**GTFS, "web": 3}, "web: expected `object`, got `int`"),
        ({**GTFS, "signs": {"ttl": 5}}, "signs.ttl: expected `int` >= 10"),
        ({**GTFS, "signs": {"tokens": {"a": 5}}}, "signs.tokens[...]: expected `str`, got `int`"),
        ({**GTFS, "jt808": {"mode": "ajar"}}, "jt808.mode: invalid enum value 'ajar'"),
        ({**GTFS, "jt808": {"terminals": {"xyz": "1"}}}, "jt808.terminals: expected `str` matching"),
        ({**GTFS, "state": {"fsync_s": 0}}, "state.fsync_s: expected `float` > 0"),
        ({**GTFS, "state": {"fsync_s": float("nan")}}, "state.fsync_s: "),
        ({**GTFS, "feeds": {}}, "feeds: expected `array`, got `object`"),
        ({**GTFS, "feeds": [{"name": "a"}]}, "feeds[0].url: must be given"),
        ({**GTFS, "feeds": [FEED, {**FEED, "name": "b", "urk": 1}]}, "feeds[1].urk: no such key; did you mean 'url'?"),
        ({**GTFS, "feeds": [{**FEED, "url": "gopher://x"}]}, "feeds[0].url: expected `str` matching"),
        ({**GTFS, "feeds": [FEED, FEED]}, "feeds[1].name: 'a' is taken by feeds[0].name"),
        ({**GTFS, "feeds": [{**FEED, "name": "jt808"}]}, "feeds[0].name: 'jt808' is taken by jt808.name"),
        ({**GTFS, "feeds": [{**FEED, "url": "file:///etc/passwd"}]}, "feeds[0].url: files need"),
        ({**GTFS, "signs": {"port": 8080}}, "signs.port: 8080 is taken by web.port"),
        ({**GTFS, "signs": {"hb": 60, "ping": 90}}, "signs.ping: 90 is more than signs.hb (60)"),
        (
            {**GTFS, "engine": {"vetting": {"futures": 3}}},
            "engine.vetting.futures: no such key; did you mean 'future_s'?",
        ),
    ],
)
def test_a_mistake_is_named(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    assert str(caught.value).startswith(says)


def test_a_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read"):
        load_config(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match=r"busd\.toml: is not TOML: .*line 1"):
        load(tmp_path, "gtfs = \n")
    (tmp_path / "busd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(tmp_path / "busd.toml", {})


def test_the_environment_wins(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        '[gtfs]\npath = "city.zip"\n[web]\nport = 1\n[[feeds]]\nname = "a"\nurl = "https://x/"',
        BUSD__WEB__PORT="8090",
        BUSD__SIGNS__SHARED_TOKEN="12345",
        BUSD__SIGNS__TOKENS='{"LS-1" = "t"}',
        BUSD__JT808__ENABLED="false",
        BUSD__ENGINE__BOARDS__TTL_S="45.5",
        BUSD__FEEDS__0__URL="http://y/",
        BUSD__FEEDS__0__HEADERS__Authorization="Bearer z",
        BUSD__FEEDS__1__NAME="b",
        BUSD__FEEDS__1__URL="http://z/",
        PATH="/bin",
    )
    assert config.web.port == 8090
    assert (config.signs.shared_token, config.signs.tokens) == ("12345", {"LS-1": "t"})
    assert not config.jt808.enabled
    assert config.engine.boards.ttl_s == 45.5
    assert [(f.name, f.url, f.headers) for f in config.feeds] == [
        ("a", "http://y/", {"Authorization": "Bearer z"}),
        ("b", "http://z/", {}),
    ]
    assert load_config(None, {"BUSD__GTFS__PATH": "x.zip"}).gtfs.path == Path("x.zip")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BUSD__WEB__PRT", "1", "BUSD__WEB__PRT: no such key; did you mean 'port'?"),
        ("BUSD__FEEDS__3__NAME", "a", "BUSD__FEEDS__3__NAME: '3' is not the number"),
        ("BUSD__GTFS__PATH__X", "a", "BUSD__GTFS__PATH__X: GTFS__PATH is a value"),
        ("BUSD__WEB__PORT", "many", "web.port: expected `int`, got `str`"),
        ("BUSD__FEEDS", "x", "feeds: expected `array`"),
        ("BUSD__WEB", "3", "web: expected `object`"),
    ],
)
def test_a_mistake_in_the_environment_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {"BUSD__GTFS__PATH": "x.zip", name: value})
    assert str(caught.value).startswith(says)


def test_the_reference_is_a_config_with_every_key_and_its_sentence() -> None:
    text = describe_config()
    parse_config(tomllib.loads(text))
    sections = [struct_of_list(field.type) or field.type for field in msgspec.structs.fields(Config)]
    sections += [field.type for field in msgspec.structs.fields(Parameters)]
    names = "|".join({key.name for section in sections for key in msgspec.structs.fields(section)})
    key = re.compile(rf"^(# )?((?:{names}) = .+|\[\[\w+\]\])$")
    uncommented = tomllib.loads("\n".join(key.sub(r"\2", line) for line in text.splitlines()))
    uncommented["feeds"][0] |= FEED
    config = parse_config(uncommented)
    defaults = parse_config({**GTFS, "feeds": [FEED], "push": [{}], "nmea": [{}]})
    assert msgspec.structs.replace(config, gtfs=defaults.gtfs) == defaults
    for field in msgspec.structs.fields(Config):
        section = struct_of_list(field.type) or field.type
        shown = uncommented[field.name]
        shown = shown[0] if isinstance(shown, list) else shown
        assert set(shown) == {key.name for key in msgspec.structs.fields(section)}
    own = text.partition("[engine.")[0].splitlines()
    for above, line in itertools.pairwise(own):
        if key.match(line) and not line.startswith("# [["):
            assert above.startswith("#") and not key.match(above), f"{line!r} has no sentence"
