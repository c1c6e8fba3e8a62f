"""One TOML file -> frozen structs, every key checked; the structs are the reference of all keys (`describe_config`).

Only ``gtfs.path`` must be given. Anything can be set from the environment too, which wins over the file:
``BUSD__WEB__PORT=8090``, ``BUSD__SIGNS__SHARED_TOKEN=...``, ``BUSD__FEEDS__0__URL=...``.
"""

from __future__ import annotations

from busd.config.history import HistoryConfig
from busd.config.load import check_config, load_config, parse_config
from busd.config.reference import describe_config
from busd.config.schema import (
    Config,
    Datum,
    DemoConfig,
    FeedConfig,
    GtfsConfig,
    Jt808Config,
    LogConfig,
    NmeaConfig,
    PushConfig,
    SignsConfig,
    StateConfig,
    WebConfig,
)

__all__ = [
    "Config",
    "Datum",
    "DemoConfig",
    "FeedConfig",
    "GtfsConfig",
    "HistoryConfig",
    "Jt808Config",
    "LogConfig",
    "NmeaConfig",
    "PushConfig",
    "SignsConfig",
    "StateConfig",
    "WebConfig",
    "check_config",
    "describe_config",
    "load_config",
    "parse_config",
]
