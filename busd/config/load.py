"""TOML and environment -> `Config`; every complaint starts with the path of the key.

msgspec checks types and ranges; unknown keys are looked for before, because only then can the nearest known one be named.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import msgspec

from busd.config.feeds import check_feed
from busd.config.schema import Config, Section, is_struct, struct_of_list
from busd.errors import ConfigError

ENV_PREFIX = "BUSD__"
MOST_PING_S = 30.0
"""A quiet line is pinged at least this often (sign protocol, 5), except where every byte is paid for."""


def load_config(path: Path | None, env: Mapping[str, str] | None = None) -> Config:
    """The configuration of the file, under that of the environment (default: the process's).

    `ConfigError` names the key: unknown key, wrong type, value out of range, file not readable, no TOML."""
    data: dict[str, Any] = {}
    base = Path()
    if path is not None:
        base = path.parent
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: is not UTF-8 (byte {error.start})") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path}: is not TOML: {error}") from error
    for name, value in sorted((os.environ if env is None else env).items()):
        if name.startswith(ENV_PREFIX):
            _overlay(data, name, value)
    return parse_config(data, base)


def parse_config(data: Mapping[str, Any], base: Path = Path()) -> Config:
    """Checks already parsed TOML; relative paths start at ``base``."""
    for where, name, known in _unknown_keys(data, Config, ""):
        raise ConfigError(f"{where}: no such key{_did_you_mean(name, known)}")
    try:
        config = msgspec.convert(data, Config, dec_hook=_to_path)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(error)) from error
    problems = check_config(config)
    if problems:
        raise ConfigError("; ".join(problems))
    return cast(Config, _rebase(config, base))


def check_config(config: Config) -> list[str]:
    """What is wrong between keys that are each right alone; empty = nothing. Each entry starts with a key's path."""
    problems: list[str] = []
    ports: dict[int, str] = {}
    for key, port in (
        ("web.port", config.web.port),
        ("signs.port", config.signs.port),
        ("jt808.port", config.jt808.port),
    ):
        if port == 0 or (key == "jt808.port" and not config.jt808.enabled):
            continue
        if port in ports:
            problems.append(f"{key}: {port} is taken by {ports[port]}")
        ports.setdefault(port, key)
    for i, feed in enumerate(config.feeds):
        if feed.port and feed.port in ports:
            problems.append(f"feeds[{i}].port: {feed.port} is taken by {ports[feed.port]}")
        ports.setdefault(feed.port, f"feeds[{i}].port")
    names = {config.jt808.name: "jt808.name"} if config.jt808.enabled else {}
    for i, feed in enumerate(config.feeds):
        if feed.name in names:
            problems.append(f"feeds[{i}].name: {feed.name!r} is taken by {names[feed.name]}")
        names.setdefault(feed.name, f"feeds[{i}].name")
        problems += check_feed(feed, f"feeds[{i}]")
        if feed.timeout_s > max(feed.interval_s, 10.0) * 3:
            problems.append(f"feeds[{i}].timeout_s: {feed.timeout_s:g} is longer than three intervals")
    for section in ("push", "nmea"):
        for i, entry in enumerate(getattr(config, section)):
            if entry.name in names:
                problems.append(f"{section}[{i}].name: {entry.name!r} is taken by {names[entry.name]}")
            names.setdefault(entry.name, f"{section}[{i}].name")
    for i, receiver in enumerate(config.nmea):
        if not (receiver.udp or receiver.tcp):
            problems.append(f"nmea[{i}].tcp: one of udp and tcp must be true")
        if receiver.tcp and receiver.port and receiver.port in ports:
            problems.append(f"nmea[{i}].port: {receiver.port} is taken by {ports[receiver.port]}")
        if receiver.tcp:
            ports.setdefault(receiver.port, f"nmea[{i}].port")
    if config.signs.ping > max(config.signs.hb, MOST_PING_S):
        problems.append(f"signs.ping: {config.signs.ping:g} is more than signs.hb ({config.signs.hb})")
    if config.state.segment_bytes * 2 > config.state.journal_max_bytes:
        problems.append("state.segment_bytes: must not be more than half of state.journal_max_bytes")
    return problems


def _unknown_keys(data: object, wanted: Any, where: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """(path, key, known keys) of every key that no struct has; what is no table at all is left to msgspec."""
    item = struct_of_list(wanted)
    if item is not None and isinstance(data, list):
        for i, entry in enumerate(data):
            yield from _unknown_keys(entry, item, f"{where}[{i}]")
    if not (isinstance(data, Mapping) and is_struct(wanted)):
        return
    fields = {f.encode_name: f.type for f in msgspec.structs.fields(wanted)}
    for key, value in data.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in fields:
            yield path, key, list(fields)
        else:
            yield from _unknown_keys(value, fields[key], path)


def _overlay(data: dict[str, Any], name: str, text: str) -> None:
    """Puts one environment variable into ``data``; the struct says whether the text is a string or TOML."""
    keys = name.removeprefix(ENV_PREFIX).split("__")
    wanted: Any = Config
    node: Any = data
    for depth, raw in enumerate(keys):
        last = depth == len(keys) - 1
        key: str | int = raw
        if is_struct(wanted):
            fields = {f.encode_name: f.type for f in msgspec.structs.fields(wanted)}
            key = raw.lower()
            if key not in fields:
                raise ConfigError(f"{name}: no such key{_did_you_mean(raw.lower(), list(fields))}")
            wanted = fields[key]
        elif struct_of_list(wanted) is not None:
            wanted = struct_of_list(wanted)
            if not (raw.isdecimal() and isinstance(node, list) and int(raw) <= len(node)):
                raise ConfigError(f"{name}: {raw!r} is not the number of an entry (from 0, or the next free one)")
            key = int(raw)
            if key == len(node):
                node.append({})
        else:
            wanted = Any  # an entry of a free table (tokens, headers, engine): the key as it is written
        if last:
            node[key] = _value(text, wanted)
            return
        if isinstance(key, str) and key not in node:
            node[key] = [] if struct_of_list(wanted) is not None else {}
        node = node[key]
        if not isinstance(node, dict | list):
            raise ConfigError(f"{name}: {'__'.join(keys[: depth + 1])} is a value, not a section")


def _value(text: str, wanted: Any) -> Any:
    inner = msgspec.inspect.type_info(wanted)
    while isinstance(inner, msgspec.inspect.Metadata):
        inner = inner.type
    if isinstance(inner, msgspec.inspect.StrType | msgspec.inspect.CustomType | msgspec.inspect.LiteralType):
        return text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: msgspec.ValidationError) -> str:
    """msgspec's "Expected `int` - at `$.web.port`" as "web.port: expected `int`"."""
    text, _, where = str(error).partition(" - at `")
    path = re.sub(r"^(key` in `)?\$\.?|`$", "", where)
    prefix, _, missing = text.partition("Object missing required field ")
    if missing and not prefix:
        key = missing.strip("`")
        path = f"{path}.{key}" if path else key
        text = "must be given"
        if path in ("gtfs", "gtfs.path"):
            path, text = "gtfs.path", "must be given: the path of the GTFS zip"
    return f"{path or 'configuration'}: {text[:1].lower()}{text[1:]}"


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"


def _to_path(wanted: type, value: object) -> Path:
    if wanted is not Path:
        raise NotImplementedError(f"no conversion to {wanted}")
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("Expected the path of a file or folder")
    return Path(value).expanduser()


def _rebase(section: Section, base: Path) -> Section:
    changes: dict[str, Any] = {}
    for name in section.__struct_fields__:
        value = getattr(section, name)
        if isinstance(value, Path):
            changes[name] = base / value
        elif isinstance(value, Section):
            changes[name] = _rebase(value, base)
    return msgspec.structs.replace(section, **changes)
