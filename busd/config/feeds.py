"""Which keys and URLs each type of feed knows; what is wrong within one ``[[feeds]]``.

All types share one struct (`FeedConfig`), so that the reference of keys is one list; what does not go together is an
error here and not a silent nothing later.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from busd.config.schema import FeedConfig, default_of

FEED_SCHEMES = {"gtfs-rt": ("http", "https", "file"), "hfp": ("mqtt", "mqtts"), "siri-vm": ("http", "https", "file")}
"""type of a feed -> schemes of its url"""

_EVERY_FEED = frozenset(("name", "type", "url", "datum", "allow_private", "timeout_s"))
_HTTP_FEED = _EVERY_FEED | {"interval_s", "headers", "max_bytes"}
_SIRI_SUBSCRIPTION = frozenset(("host", "port", "public_url", "heartbeat_s", "subscription_s"))
FEED_KEYS = {
    "gtfs-rt": _HTTP_FEED,
    "hfp": _EVERY_FEED | {"username", "password", "topic", "qos", "queue", "ca_file"},
    "siri-vm": _HTTP_FEED | {"mode", "timezone", "requestor"} | _SIRI_SUBSCRIPTION,
}
"""type of a feed -> keys it knows; a key of another type is an error, not a silent nothing"""
FEED_MODE_KEYS = {"subscribe": _SIRI_SUBSCRIPTION}
"""mode of a siri-vm feed -> keys that only this mode knows"""


def check_feed(feed: FeedConfig, where: str) -> list[str]:
    """What the type of a feed does not know, or needs and has not got; each entry starts with a key's path."""
    problems: list[str] = []
    try:
        url = urlsplit(feed.url)
        _ = url.port
    except ValueError as error:
        return [f"{where}.url: is no URL: {error}"]
    schemes = FEED_SCHEMES[feed.type]
    if url.scheme not in schemes:
        problems.append(f"{where}.url: type {feed.type} needs {', '.join(schemes)}, not {url.scheme}")
    if url.scheme == "file" and not feed.allow_private:
        problems.append(f"{where}.url: files need {where}.allow_private = true")
    if url.scheme != "file" and not url.hostname:
        problems.append(f"{where}.url: names no host")
    for field in msgspec.structs.fields(FeedConfig):
        if getattr(feed, field.name) == default_of(field):
            continue
        if field.name not in FEED_KEYS[feed.type]:
            types = [kind for kind, keys in FEED_KEYS.items() if field.name in keys]
            problems.append(f"{where}.{field.name}: only type {' or '.join(types)} knows this key, not {feed.type}")
        elif modes := [mode for mode, keys in FEED_MODE_KEYS.items() if field.name in keys and mode != feed.mode]:
            problems.append(f"{where}.{field.name}: only mode {' or '.join(modes)} knows this key, not {feed.mode}")
    if feed.mode != "get" and url.scheme == "file":
        problems.append(f"{where}.mode: a file can only be read with mode get")
    if feed.mode == "subscribe" and not feed.port and feed.public_url:
        problems.append(f"{where}.port: must be given, since public_url leads to it")
    if feed.password and not feed.username:
        problems.append(f"{where}.username: must be given with a password")
    if (feed.ca_file or feed.password) and url.scheme == "mqtt" and not feed.allow_private:
        problems.append(f"{where}.url: a password or ca_file needs mqtts; mqtt would send it in the clear")
    if feed.timezone and not _is_zone(feed.timezone):
        problems.append(f"{where}.timezone: {feed.timezone!r} is no name of the tz database, e.g. Europe/Oslo")
    return problems


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
