"""The structs behind the configuration file: one struct a section, one annotated field a key.

Networks: what devices in the field talk to (``jt808``, ``signs``) listens on all addresses by default, what people talk
to (``web``) on this machine only, behind whatever proxy does TLS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from busd.config.history import HistoryConfig
from busd.parameters import Parameters

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
Bytes = Annotated[int, Meta(ge=65536, le=1 << 50)]
Datum = Literal["wgs84", "gcj02", "bd09"]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all sections. The document of a key is the description in its annotation."""


class GtfsConfig(Section, frozen=True):
    """The timetable."""

    path: Annotated[Path, Meta(description="GTFS zip. The only key that must be given.")]
    cache_dir: Annotated[
        Path, Meta(description="Where compiled timetables are kept; may be deleted, they are made again.")
    ] = Path("var/gtfs")
    reload_s: Annotated[
        float, Meta(ge=0, le=86400, description="Look for a changed zip this often, s. 0 = only at the start.")
    ] = 60.0


class StateConfig(Section, frozen=True):
    """What survives a restart: the journal of inputs and the snapshots of the engine."""

    dir: Annotated[Path, Meta(description="Directory of journal, snapshots and tables.")] = Path("var/state")
    journal_max_bytes: Annotated[
        Bytes,
        Meta(description="Oldest segments go when the journal is larger than this. 1,000 positions/s need 3 GB a day."),
    ] = 20_000_000_000
    journal_max_days: Annotated[
        float, Meta(gt=0, le=36500, description="Oldest segments go when their newest input is older than this.")
    ] = 30.0
    segment_bytes: Annotated[Bytes, Meta(description="A segment is closed and compressed at this size.")] = 64_000_000
    snapshot_s: Annotated[
        Seconds, Meta(description="Write a snapshot of the engine this often, s; a restart replays what came after it.")
    ] = 20.0
    fsync_s: Annotated[
        Seconds, Meta(description="Force the journal to the disk this often, s: what a power failure may lose.")
    ] = 1.0


class WebConfig(Section, frozen=True):
    """Rider map, HTTP API, /healthz and /metrics."""

    host: Annotated[str, Meta(description="Address to listen on. 0.0.0.0 = all; put a TLS proxy in front.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="0 = any free one.")] = 8080
    public_url: Annotated[
        str,
        Meta(pattern=r"^(https?://[^\s/]+.*)?$", description="How the outside reaches this server, if not host:port."),
    ] = ""
    admin_token: Annotated[
        str,
        Meta(
            max_length=256,
            description="Bearer token of /v1/admin (devices). Empty = requests from this machine only; give one where a "
            "proxy on this machine lets the outside in.",
        ),
    ] = ""


class SignsConfig(Section, frozen=True):
    """The door of the stop signs: WebSocket, path /v1/sign, protocol busd.sign.v1."""

    host: Annotated[str, Meta(description="Address to listen on; signs come from outside.")] = "0.0.0.0"
    port: Annotated[Port, Meta(description="0 = any free one.")] = 8081
    shared_token: Annotated[
        str, Meta(max_length=256, description="Any sign id may connect with this token. Empty = none may.")
    ] = ""
    tokens: Annotated[
        dict[str, Annotated[str, Meta(min_length=1, max_length=256)]],
        Meta(description="Sign id -> its own token, which then is the only one that sign may use."),
    ] = {}
    hb: Annotated[int, Meta(ge=1, le=3600, description="A sign sends a heartbeat this often, s.")] = 30
    ping: Annotated[
        float,
        Meta(
            ge=1,
            le=600,
            description="WebSocket ping after so long without other traffic, s. Above 30 only for SIM cards that are paid "
            "by the byte, and not above hb.",
        ),
    ] = 25.0
    grace: Annotated[int, Meta(ge=1, le=3600, description="Silence of hb + grace s ends the connection.")] = 30
    ack: Annotated[
        int,
        Meta(
            ge=0,
            le=3600,
            description="At most one 'rendered' a stop in this time, s. 0 = every board. Longer than hb + grace, so "
            "that acknowledgements do not stand in for heartbeats.",
        ),
    ] = 90
    offline: Annotated[
        int, Meta(ge=60, le=86400, description="A sign shows its offline pack this long after its board expired, s.")
    ] = 900
    ttl: Annotated[int, Meta(ge=10, le=600, description="A board may be shown as live this long, s.")] = 90
    min_interval: Annotated[
        float, Meta(ge=0.1, le=600, description="Least time between two boards of a stop on one connection, s.")
    ] = 1.0
    hysteresis: Annotated[
        float, Meta(ge=0, le=300, description="Predictions that move by less make no new board, s.")
    ] = 10.0
    lang: Annotated[
        str, Meta(max_length=35, description="Language (BCP 47) for signs that name none. Empty = the timetable's.")
    ] = ""
    write_deadline_s: Annotated[Seconds, Meta(description="A write that takes longer ends the connection.")] = 10.0
    hello_timeout_s: Annotated[Seconds, Meta(description="Time for the handshake and the first message, each.")] = 10.0
    max_connections: Annotated[Count, Meta(description="Signs beyond this are turned away.")] = 20_000
    http: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/]+.*)?$",
            description="Base URL of the HTTP doors, told to signs. Empty = web.public_url, else the host name "
            "that a sign came by with the port of [web].",
        ),
    ] = ""


class Jt808Config(Section, frozen=True):
    """The door of the buses' terminals: JT/T 808-2011, -2013 and -2019 over TCP."""

    enabled: Annotated[bool, Meta(description="Listen at all.")] = True
    name: Annotated[Name, Meta(description="Name of this source in positions, metrics and logs.")] = "jt808"
    host: Annotated[str, Meta(description="Address to listen on; terminals come from outside.")] = "0.0.0.0"
    port: Annotated[Port, Meta(description="0 = any free one.")] = 6808
    mode: Annotated[
        Literal["open", "enrol", "closed"],
        Meta(
            description="Who may register: 'open' = every terminal, 'enrol' = every new phone once, then only the same "
            "terminal again, 'closed' = listed phones only ('terminals' and the device registry)."
        ),
    ] = "open"
    terminals: Annotated[
        dict[Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{1,20}$")], Annotated[str, Meta(min_length=1, max_length=64)]],
        Meta(
            description="Phone number of a terminal -> vehicle id of the bus it is in. Others go by plate, else phone."
        ),
    ] = {}
    datum: Annotated[
        Datum,
        Meta(description="What the terminals' coordinates are. Change it only for terminals known to shift them."),
    ] = "wgs84"
    utc_offset_h: Annotated[
        float, Meta(ge=-12, le=14, description="The terminals' clock minus UTC, h. The standard says Beijing time.")
    ] = 8.0
    time_answer_utc_offset_h: Annotated[
        float, Meta(ge=-12, le=14, description="Clock of the answer to a terminal's time query, minus UTC, h.")
    ] = 0.0
    hint_items: Annotated[
        dict[
            Annotated[str, Meta(pattern=r"^0x[0-9a-fA-F]{2}$")],
            Literal[
                "trip_id",
                "service_date",
                "start_s",
                "route_id",
                "block_id",
                "trip_id:number",
                "start_s:number",
                "route_id:number",
                "block_id:number",
            ],
        ],
        Meta(
            description="Id of an additional item of a report, e.g. '0xE8' -> what its text says of the trip the driver "
            "has logged on to; with ':number' the value is an unsigned integer. The standard has no such item, vendors "
            "use 0xE1 to 0xFF."
        ),
    ] = {}
    driver_field: Annotated[
        Literal["", "trip_id", "route_id", "block_id"],
        Meta(
            description="What the driver's log-on (0x0702) says of the trip: its qualification number, else the name."
        ),
    ] = ""
    hint_values: Annotated[
        dict[Literal["trip_id", "service_date", "start_s", "route_id", "block_id"], dict[str, str]],
        Meta(description="Field -> {what terminals send: the timetable's id}, e.g. a line number -> route_id."),
    ] = {}
    duplicate_policy: Annotated[
        Literal["newest", "oldest", "quarantine"],
        Meta(
            description="Two connections of one phone, or one that jumps between two places: 'newest' = the newest "
            "login is the bus, 'oldest' = the older one as long as it speaks, 'quarantine' = neither, if they are not in "
            "one place: positions are acknowledged and not used until an operator releases the phone or it was quiet for "
            "'duplicate_quiet_s'."
        ),
    ] = "newest"
    duplicate_quiet_s: Annotated[
        Seconds, Meta(description="A conflict of one phone is over after this time without another sign of it, s.")
    ] = 300.0
    auth_timeout_s: Annotated[Seconds, Meta(description="A connection must have authenticated by then.")] = 60.0
    idle_timeout_s: Annotated[Seconds, Meta(description="Silence that ends a connection; three heartbeats.")] = 180.0
    write_deadline_s: Annotated[Seconds, Meta(description="A write that takes longer ends the connection.")] = 10.0
    max_connections: Annotated[Count, Meta(description="Connections beyond this are turned away.")] = 10_000
    max_pending_per_address: Annotated[
        Count,
        Meta(
            description="Connections of one address that have not authenticated yet. Carriers put whole fleets behind "
            "one, and after a restart of busd all of them come at once."
        ),
    ] = 5_000
    max_errors: Annotated[Count, Meta(description="Bad frames on one connection before it is closed.")] = 20
    max_messages_per_s: Annotated[Count, Meta(description="Sustained frames a second of one connection.")] = 50


class FeedConfig(Section, frozen=True):
    """A source that busd asks, subscribes to or listens for. Give as many ``[[feeds]]`` as there are; which keys a type
    knows besides ``name``, ``type``, ``url``, ``datum`` and ``allow_private`` is said with each key."""

    name: Annotated[Name, Meta(description="Name of this source in positions, metrics and logs; one of a kind.")]
    url: Annotated[
        str,
        Meta(
            pattern=r"^(https?|file|mqtts?)://[^\s]+$",
            description="Where to get it. gtfs-rt and siri-vm: http, https or file. hfp: mqtt or mqtts (TLS).",
        ),
    ]
    type: Annotated[
        Literal["gtfs-rt", "hfp", "siri-vm"],
        Meta(
            description="gtfs-rt = GTFS-Realtime VehiclePositions, protobuf. hfp = HFP v2 over MQTT. "
            "siri-vm = SIRI-VM 2.0, XML."
        ),
    ] = "gtfs-rt"
    interval_s: Annotated[
        Seconds, Meta(description="gtfs-rt, siri-vm: ask this often; with mode = subscribe, wish for news this often.")
    ] = 10.0
    timeout_s: Annotated[Seconds, Meta(description="Give up on one answer (hfp: one connection) after this.")] = 10.0
    headers: Annotated[
        dict[str, str], Meta(description="gtfs-rt, siri-vm: HTTP headers to send, e.g. an API key. Never logged.")
    ] = {}
    max_bytes: Annotated[
        Bytes, Meta(description="gtfs-rt, siri-vm: largest answer that is read; siri-vm never reads more than 8 MiB.")
    ] = 32_000_000
    datum: Annotated[Datum, Meta(description="What the coordinates are.")] = "wgs84"
    allow_private: Annotated[
        bool, Meta(description="Let the URL lead to this machine or a private network, and to files.")
    ] = False
    username: Annotated[str, Meta(description="hfp: user at the broker.")] = ""
    password: Annotated[str, Meta(description="hfp: its password. Never logged.")] = ""
    topic: Annotated[str, Meta(min_length=1, max_length=1024, description="hfp: topic filter to subscribe to.")] = (
        "/hfp/v2/journey/+/vp/#"
    )
    qos: Annotated[int, Meta(ge=0, le=2, description="hfp: quality of service to subscribe with.")] = 0
    queue: Annotated[
        Count, Meta(description="hfp: messages that may wait; when there are more, the oldest are dropped and counted.")
    ] = 10_000
    ca_file: Annotated[
        str,
        Meta(
            pattern=r"^(/.*)?$",
            description="hfp: absolute path of the PEM file that the broker's certificate is checked with; "
            "empty = the system's authorities.",
        ),
    ] = ""
    mode: Annotated[
        Literal["get", "post", "subscribe"],
        Meta(
            description="siri-vm: get = ask with a plain GET; post = ask with a ServiceRequest; subscribe = send a "
            "SubscriptionRequest to url and let the producer post its deliveries to us."
        ),
    ] = "get"
    timezone: Annotated[
        str,
        Meta(
            description="siri-vm: tz name that times without an offset are meant in, e.g. Europe/Oslo; "
            "empty = such times are not used."
        ),
    ] = ""
    requestor: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9_.:-]{1,64}$", description="siri-vm: RequestorRef, the name the producer knows us by."
        ),
    ] = "busd"
    host: Annotated[str, Meta(description="siri-vm, mode subscribe: address to listen on for deliveries.")] = (
        "127.0.0.1"
    )
    port: Annotated[Port, Meta(description="siri-vm, mode subscribe: port to listen on. 0 = any free one.")] = 0
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s/?#]+[^\s?#]*)?$",
            description="siri-vm, mode subscribe: how the producer reaches that port, if not http://host:port. "
            "A secret path of our own is added to it.",
        ),
    ] = ""
    heartbeat_s: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="siri-vm, mode subscribe: heartbeat to ask for, s; after 2.5 of silence we subscribe anew.",
        ),
    ] = 60.0
    subscription_s: Annotated[
        float, Meta(ge=60, le=604800, description="siri-vm, mode subscribe: subscribe anew this often, s.")
    ] = 86_400.0


class PushConfig(Section, frozen=True):
    """A source that posts to busd's web port: POST /feeds/NAME, and GET /feeds/NAME?id=... for OsmAnd and its like. Give
    as many ``[[push]]`` as there are."""

    name: Annotated[Name, Meta(description="Name of this source in its path, positions, metrics and logs.")] = "push"
    type: Annotated[
        Literal["json", "traccar", "osmand"],
        Meta(
            description="json = busd's own objects. traccar, osmand = a Traccar server's forwarding, Traccar Client and "
            "OsmAnd, told apart by what they send."
        ),
    ] = "json"
    token: Annotated[
        str,
        Meta(
            max_length=256,
            description="To be shown as 'Authorization: Bearer TOKEN'; traccar and osmand may put it into the query as "
            "token=TOKEN. Empty = requests from this machine only.",
        ),
    ] = ""
    datum: Annotated[Datum, Meta(description="What the coordinates are.")] = "wgs84"
    max_bytes: Annotated[
        int, Meta(ge=256, le=64_000_000, description="Largest body that is read, also when it is unpacked.")
    ] = 1_000_000


class NmeaConfig(Section, frozen=True):
    """A port for receivers that send NMEA 0183. Give as many ``[[nmea]]`` as there are."""

    name: Annotated[Name, Meta(description="Name of this source in positions, metrics and logs.")] = "nmea"
    host: Annotated[str, Meta(description="Address to listen on; receivers come from outside.")] = "0.0.0.0"
    port: Annotated[Port, Meta(description="0 = any free one.")] = 10110
    udp: Annotated[bool, Meta(description="Take datagrams.")] = True
    tcp: Annotated[bool, Meta(description="Take connections.")] = True
    vehicle_id: Annotated[
        str,
        Meta(max_length=64, description="Id of the device for lines that name none; for a port with one receiver."),
    ] = ""
    addresses: Annotated[
        dict[str, Annotated[str, Meta(min_length=1, max_length=64)]],
        Meta(description="IP address of a receiver -> its id, for lines that name none."),
    ] = {}
    checksum: Annotated[
        Literal["if-given", "required"], Meta(description="A wrong checksum costs the line; so may a missing one.")
    ] = "if-given"
    datum: Annotated[Datum, Meta(description="What the coordinates are.")] = "wgs84"
    max_connections: Annotated[Count, Meta(description="TCP connections beyond this are turned away.")] = 1_000
    idle_timeout_s: Annotated[Seconds, Meta(description="Silence that ends a TCP connection.")] = 180.0
    max_lines_per_s: Annotated[
        Count, Meta(description="Sustained lines a second of one sender; TCP is slowed down, datagrams are dropped.")
    ] = 50


class DemoConfig(Section, frozen=True):
    """The demo city (``busd demo``)."""

    simulated: Annotated[
        bool, Meta(description="The buses are not real: the rider page and the API say so on everything they show.")
    ] = False
    speed: Annotated[float, Meta(gt=0, le=1000, description="City seconds a second.")] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**53, description="Another seed, another day in the same city.")] = 1


class LogConfig(Section, frozen=True):
    """What is written to stderr."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least that is written.")] = (
        "info"
    )
    format: Annotated[
        Literal["auto", "json", "console"], Meta(description="auto: console on a terminal, else JSON lines.")
    ] = "auto"
    repeat: Annotated[
        Count, Meta(description="Lines with the same text written in one period; the rest is counted.")
    ] = 10
    period_s: Annotated[Seconds, Meta(description="Period of 'repeat'.")] = 60.0


class Config(Section, frozen=True):
    """busd's configuration. Relative paths start at the folder of the configuration file.

    Sections ``[engine.*]`` are the numbers the engine decides by; their home is busd/parameters.py."""

    gtfs: GtfsConfig
    state: StateConfig = StateConfig()
    web: WebConfig = WebConfig()
    signs: SignsConfig = SignsConfig()
    jt808: Jt808Config = Jt808Config()
    feeds: tuple[FeedConfig, ...] = ()
    push: tuple[PushConfig, ...] = ()
    nmea: tuple[NmeaConfig, ...] = ()
    engine: Parameters = Parameters()
    history: HistoryConfig = HistoryConfig()
    demo: DemoConfig = DemoConfig()
    log: LogConfig = LogConfig()


# ---- how the structs are walked --------------------------------------------------------------------------------------


def is_struct(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, msgspec.Struct)


def default_of(field: msgspec.structs.FieldInfo) -> object:
    """The default of a key; NODEFAULT where it must be given."""
    if field.default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def struct_of_list(wanted: Any) -> Any:
    """The struct in ``tuple[Struct, ...]``, else None."""
    args = getattr(wanted, "__args__", ())
    return args[0] if getattr(wanted, "__origin__", None) is tuple and args and is_struct(args[0]) else None
