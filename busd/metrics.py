"""Every Prometheus metric of the process, in one registry, so that /metrics has one page and one list of names.

A label has few values that are known beforehand (reasons, close codes, feed names of the config), never a vehicle, stop
or sign: those would grow the scrape with the fleet. Add a metric here and import the object where it is counted.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

REGISTRY = CollectorRegistry(auto_describe=True)
CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

_FAST = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SLOW = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
    return Counter(name, text, labels, registry=REGISTRY)


def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(name, text, labels, registry=REGISTRY)


def histogram(name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=REGISTRY)


# ---- the process -----------------------------------------------------------------------------------------------------
BUILD_INFO = gauge("busd_build_info", "Always 1; the labels say what runs.", ("version",))
UPTIME = gauge("busd_started_at_seconds", "Epoch seconds of the start of the process.")
LOOP_LAG = histogram("busd_loop_lag_seconds", "How late the event loop ran a due timer.", _FAST)
LOG_SUPPRESSED = counter("busd_log_suppressed_total", "Log lines left out because they repeat.")

# ---- in: reports -----------------------------------------------------------------------------------------------------
POSITIONS = counter("busd_positions_total", "Positions handed to the line.", ("source",))
POSITIONS_HISTORICAL = counter("busd_positions_historical_total", "Positions of blind-zone batches.", ("source",))
REJECTED = counter("busd_rejected_total", "Reports that were not used, by reason.", ("source", "reason"))
VEHICLES = gauge("busd_vehicles", "Vehicles with a fresh position.")
POSITION_AGE = histogram(
    "busd_position_age_seconds",
    "received_at - measured_at of a live position.",
    (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0),
)
FEED_UP = gauge("busd_feed_up", "1 while the last poll of the feed succeeded.", ("feed",))
FEED_POLLS = counter("busd_feed_polls_total", "Polls of a feed by result.", ("feed", "result"))
FEED_SECONDS = histogram("busd_feed_poll_seconds", "Duration of a poll of a feed.", _SLOW, ("feed",))
FEED_IGNORED = counter("busd_feed_ignored_total", "Good messages that are no position, by kind.", ("feed", "kind"))
FEED_DATUM_SUSPECT = gauge(
    "busd_feed_datum_suspect",
    "1 while positions of the source fit the shapes only in this other datum.",
    ("feed", "datum"),
)
NMEA_CONNECTIONS = gauge("busd_nmea_connections", "Open NMEA connections.", ("source",))
FEED_AGE = gauge("busd_feed_age_seconds", "Age of the newest header of a feed when it was polled.", ("feed",))

# ---- in: JT/T 808 ----------------------------------------------------------------------------------------------------
JT808_CONNECTIONS = gauge("busd_jt808_connections", "Open terminal connections.")
JT808_ACCEPTED = counter("busd_jt808_accepted_total", "Terminal connections accepted.")
JT808_CLOSED = counter("busd_jt808_closed_total", "Terminal connections closed, by cause.", ("cause",))
JT808_FRAMES = counter("busd_jt808_frames_total", "Good frames by message id (ids busd knows, else 'other').", ("id",))
JT808_REPLIES = counter("busd_jt808_replies_total", "Replies by message id.", ("id",))
JT808_REFUSED = counter("busd_jt808_refused_total", "Registrations and authentications refused, by cause.", ("cause",))
JT808_CONFLICTS = counter("busd_jt808_conflicts_total", "Signs of two terminals under one phone, by kind.", ("kind",))
ACK_SECONDS = histogram("busd_ack_seconds", "Position frame read to acknowledgement written.", _FAST)

# ---- journal ---------------------------------------------------------------------------------------------------------
JOURNAL_INPUTS = counter("busd_journal_inputs_total", "Inputs appended.")
JOURNAL_BYTES = counter("busd_journal_bytes_total", "Bytes appended.")
JOURNAL_LOST = counter("busd_journal_lost_total", "Inputs that could not be written (disk full, read-only).")
JOURNAL_UP = gauge("busd_journal_up", "1 while the journal can be written.")
JOURNAL_SYNC_SECONDS = histogram("busd_journal_sync_seconds", "Duration of an fsync.", _SLOW)
JOURNAL_DISK_BYTES = gauge("busd_journal_disk_bytes", "Bytes of all segments on disk.")
JOURNAL_DAMAGED = counter("busd_journal_damaged_total", "Damaged places found while reading, by kind.", ("kind",))
JOURNAL_SKIPPED = counter("busd_journal_skipped_total", "Inputs skipped because they had ended the process twice.")
SNAPSHOTS = counter("busd_snapshots_total", "Snapshots by result.", ("result",))
SNAPSHOT_SECONDS = histogram("busd_snapshot_seconds", "Duration of writing a snapshot.", _SLOW)
SNAPSHOT_AT = gauge("busd_snapshot_at_seconds", "Epoch seconds of the last good snapshot.")

# ---- engine ----------------------------------------------------------------------------------------------------------
TICKS = counter("busd_ticks_total", "Ticks applied.")
TICK_SECONDS = histogram("busd_tick_seconds", "Duration of one tick in the engine.", _FAST)
TICK_LATE_SECONDS = histogram("busd_tick_late_seconds", "How long after its grid point a tick began.", _FAST)
STOP_VISITS = counter("busd_stop_visits_total", "Observed passings of stops.")
PREDICTIONS = counter("busd_predictions_total", "Prediction tables made.")
BOARDS_CHANGED = counter("busd_boards_changed_total", "New revisions of boards.")
NETWORK_LOADS = counter("busd_network_loads_total", "Timetables loaded, by result.", ("result",))

# ---- history and self-measurement ------------------------------------------------------------------------------------
# the lines here are as many as history.measure_lines of the config says, the rest is "other"
HISTORY_VISITS = counter("busd_history_visits_total", "Observed visits written to the history.")
HISTORY_LOST = counter("busd_history_lost_total", "Observed visits that could not be kept, by cause.", ("cause",))
HISTORY_BYTES = gauge("busd_history_bytes", "Bytes of the history in use.")
OUTCOMES = counter("busd_outcomes_total", "Predictions whose outcome became known.")
OUTCOME_RUNS_LEFT_OUT = counter("busd_outcome_runs_left_out_total", "Runs not followed since there are too many.")
OUTCOME_ACCURATE = gauge(
    "busd_outcome_accurate_ratio",
    "Accurate share of the last hours: eta (rider point, by actual minutes), mbta, newmark (p50, by minutes told).",
    ("standard", "minutes"),
)
OUTCOME_AVAILABLE = gauge(
    "busd_outcome_available_ratio", "Share of passages that were predicted so many minutes before.", ("minutes",)
)
OUTCOME_BIAS = gauge("busd_outcome_bias_seconds", "Mean of actual - p50 of the last hours.", ("line", "minutes"))
OUTCOME_ERROR = gauge("busd_outcome_error_seconds", "Mean of |actual - p50| of the last hours.", ("line", "minutes"))
OUTCOME_COVERAGE = gauge(
    "busd_outcome_coverage_ratio", "Share of arrivals inside p10-p90 of the last hours.", ("line", "minutes")
)
GHOSTS = gauge("busd_ghost_ratio", "Share of buses told to be ten minutes away that never came, of the last hours.")
DRIFT = gauge("busd_calibration_drift", "1 while a line's predictions are not calibrated.", ("line", "kind"))

# ---- out: signs ------------------------------------------------------------------------------------------------------
SIGN_CONNECTIONS = gauge("busd_sign_connections", "Signs that said hello and are connected.")
SIGN_PENDING = gauge("busd_sign_pending", "Connections to the sign port that have not said hello yet.")
SIGN_ACCEPTED = counter("busd_sign_accepted_total", "Good hellos.")
SIGN_FRAMES = counter("busd_sign_frames_total", "Messages sent to signs, by type.", ("type",))
SIGN_BYTES = counter("busd_sign_bytes_total", "Bytes written to signs.")
SIGN_CONFLATED = counter("busd_sign_conflated_total", "Boards replaced by a newer one before they were sent.")
SIGN_CLOSED = counter("busd_sign_closed_total", "Sign connections closed, by close code.", ("code",))
SIGN_ACKS = counter("busd_sign_acks_total", "Acknowledgements by result.", ("result",))
SIGN_GLASS_SECONDS = histogram(
    "busd_sign_glass_seconds", "Time to glass: shown_at - board.at.", (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 90.0)
)
SIGN_TELEMETRY = counter("busd_sign_telemetry_total", "Telemetry messages, kept or why not.", ("result",))
SIGN_COMMANDS = counter(
    "busd_sign_commands_total", "Commands to signs: ordered, sent, and how they ended.", ("result",)
)
SIGNS = gauge("busd_signs", "Signs that are entered or were ever seen, by state.", ("state",))
SIGN_ALARMS = gauge("busd_sign_alarms", "Alarms that are on, by kind.", ("kind",))
RENDERED = counter("busd_rendered_total", "Boards encoded to JSON; cache hits are not counted.")

# ---- out: web --------------------------------------------------------------------------------------------------------
WEB_REQUESTS = counter("busd_web_requests_total", "HTTP answers by route pattern and status.", ("route", "status"))
WEB_SECONDS = histogram("busd_web_seconds", "Duration of an HTTP answer.", _SLOW, ("route",))
EVENT_STREAMS = gauge("busd_event_streams", "Open streams of server-sent boards.")
EVENT_STREAMS_CLOSED = counter("busd_event_streams_closed_total", "Streams of boards ended, by cause.", ("cause",))
RIDER_CONNECTIONS = gauge("busd_rider_connections", "Open rider map connections.")


def render() -> bytes:
    """The page of /metrics, Prometheus text format 0.0.4; send it as `CONTENT_TYPE`."""
    return generate_latest(REGISTRY)
