"""The nouns: what goes into the engine, what comes out of it, and what both speak of.

Words come from GTFS first; TransModel, SIRI and TIDES where GTFS has none (busd/README.md has the dictionary).
Units are in the names: ``_m`` metres, ``_s`` seconds, ``_mps`` metres a second, ``_deg`` degrees clockwise from north,
``_at`` epoch seconds (UTC, float). ``_idx`` is a row of the `gtfs.Network`, ``_id`` a string from outside.

Everything here is frozen. Inputs are msgspec structs tagged by name, so that the journal can hold them; every input
carries its own instant ``at``, because nothing in the core may ask a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Any, NewType

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]
    IntArray = npt.NDArray[np.int64]
    Integers = IntArray | Sequence[int]
    Floats = FloatArray | Sequence[float]

VehicleIdx = NewType("VehicleIdx", int)
"""Row of the engine's vehicle table; given at the first report of a vehicle id, never reused in one run."""


# ---- reports ---------------------------------------------------------------------------------------------------------


class Occupancy(IntEnum):
    """GTFS-Realtime OccupancyStatus, the values that signs know."""

    EMPTY = 0
    MANY_SEATS_AVAILABLE = 1
    FEW_SEATS_AVAILABLE = 2
    STANDING_ROOM_ONLY = 3
    CRUSHED_STANDING_ROOM_ONLY = 4
    FULL = 5
    NOT_ACCEPTING_PASSENGERS = 6


class TripHint(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What the source believes the vehicle is doing (GTFS-RT TripDescriptor). Evidence, not truth; ids are foreign."""

    trip_id: str | None = None
    service_date: str | None = None
    """YYYYMMDD"""
    start_s: int | None = None
    """seconds of the service day; tells the runs of a frequency trip apart"""
    route_id: str | None = None
    direction_id: int | None = None
    block_id: str | None = None
    stop_sequence: int | None = None
    """GTFS stop_sequence of the next stop"""


class VehiclePosition(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One report of where a vehicle was. WGS-84: a codec's datum is converted at the edge (feeds/datum.py)."""

    source: str
    """name of the feed in the config, e.g. ``jt808``"""
    vehicle_id: str
    """fleet number as riders and dispatchers know it"""
    lat: float
    lon: float
    measured_at: float
    """the device's clock; equals received_at where the device has no usable one"""
    received_at: float
    bearing_deg: float | None = None
    speed_mps: float | None = None
    accuracy_m: float | None = None
    odometer_m: float | None = None
    door_open: bool | None = None
    ignition: bool | None = None
    occupancy: int | None = None
    hint: TripHint | None = None
    label: str | None = None
    """plate or other name painted on the bus, where it differs from vehicle_id"""
    clock: str = "device"
    """whose clock measured_at is: ``device``, ``corrected`` (a learned offset was taken off) or ``receiver``"""
    report_id: str | None = None
    """the source's own id of the report (TIDES location_ping_id); carried through, never interpreted"""


# ---- inputs ----------------------------------------------------------------------------------------------------------


class Input(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="in", gc=False):
    """One entry of the journal. ``at`` never decreases from one input to the next."""

    at: float


class PositionReceived(Input, frozen=True, tag="position", gc=False):
    """A report came in at ``at`` (== position.received_at on a live line)."""

    position: VehiclePosition
    historical: bool = False
    """from a blind-zone batch (JT/T 808 0x0704): fills history, never moves the live bus"""


class Tick(Input, frozen=True, tag="tick", gc=False):
    """The 100 ms grid point ``at``: waiting fixes are matched, deadlines fire."""


class NetworkLoaded(Input, frozen=True, tag="network"):
    """From here on the network with this digest is the timetable."""

    digest: str


class PriorsLoaded(Input, frozen=True, tag="priors"):
    """From here on predictions start from the learned priors with this digest."""

    digest: str


class OperatorCommand(Input, frozen=True, tag="operator"):
    """Something a person or script decided; ``args`` as the command's own schema says."""

    name: str
    args: dict[str, Any] = {}
    operator: str = ""


class Started(Input, frozen=True, tag="started"):
    """A run begins with nothing known. Random values the run needs come in here, since the core throws no dice."""

    epoch: str
    """names the series of board revisions (busd.sign.v1: ``[A-Za-z0-9_.]{1,32}``)"""
    keeps: bool = False
    """all that is known stays; only the epoch is new, because it is not proven that nothing was lost"""


AnyInput = PositionReceived | Tick | NetworkLoaded | PriorsLoaded | OperatorCommand | Started


# ---- outputs ---------------------------------------------------------------------------------------------------------


class Phase(StrEnum):
    """TIDES trip_type."""

    IN_SERVICE = "In service"
    LAYOVER = "Layover"
    DEADHEAD = "Deadhead"
    PULLOUT = "Pullout"
    PULLIN = "Pullin"
    OTHER = "Other not in service"


class DatedTrip(msgspec.Struct, frozen=True, gc=False):
    """TransModel dated service journey: a trip of the network on a service day.

    ``start_s`` only for trips of frequencies.txt: which run, in seconds of the service day."""

    trip_idx: int
    service_date: str
    """YYYYMMDD"""
    start_s: int | None = None


class Progress(msgspec.Struct, frozen=True, gc=False):
    """Where a vehicle is on its trip (SIRI MonitoredVehicleJourney), as the engine held it right after a fix."""

    vehicle_idx: int
    vehicle_id: str
    lat: float
    lon: float
    measured_at: float
    phase: Phase
    trip: DatedTrip | None = None
    distance_m: float | None = None
    """along the trip's shape; haversine metres on a sphere of 6 371 008.8 m"""
    offset_m: float | None = None
    """from the fix to the shape"""
    probability: float | None = None
    next_stop_pos: int | None = None
    """0-based position in the pattern of the stop ahead; None behind the last one"""
    deviation_s: float | None = None
    """actual - scheduled: positive is late"""
    off_route: bool = False
    bearing_deg: float | None = None
    speed_mps: float | None = None
    occupancy: int | None = None
    label: str | None = None
    source: str = ""
    report_id: str | None = None


class StopVisit(msgspec.Struct, frozen=True, gc=False):
    """An OBSERVED passing of a stop (TIDES stop_visits): the learning signal.

    The true instant lies within ``bracket_s`` around the given one (interpolated between the two fixes)."""

    trip: DatedTrip
    stop_pos: int
    vehicle_id: str
    arrival_at: float | None
    departure_at: float | None
    bracket_s: float


class Basis(IntEnum):
    """What a shown time rests on (busd.sign.v1 ``src``)."""

    SCHEDULE = 0
    REALTIME = 1
    FROZEN = 2


class StopStatus(IntEnum):
    """busd.sign.v1 ``st``."""

    OK = 0
    ARRIVING = 1
    AT_STOP = 2
    CANCELLED = 3
    SKIPPED = 4


class PredictionTable(msgspec.Struct, frozen=True, gc=False):
    """Stop time updates of one vehicle made at one instant, one row a stop still ahead.

    Epoch seconds; NaN in ``arrival_p50`` withdraws the row. ``times`` [5, n] holds the columns that the properties
    name."""

    vehicle_id: str
    trip: DatedTrip
    made_at: float
    measured_at: float
    stop_pos: IntArray
    times: FloatArray
    basis: Basis = Basis.REALTIME

    @property
    def arrival_p10(self) -> FloatArray:
        row: FloatArray = self.times[0]
        return row

    @property
    def arrival_rider(self) -> FloatArray:
        row: FloatArray = self.times[1]
        return row

    @property
    def arrival_p50(self) -> FloatArray:
        row: FloatArray = self.times[2]
        return row

    @property
    def arrival_p90(self) -> FloatArray:
        row: FloatArray = self.times[3]
        return row

    @property
    def departure_p50(self) -> FloatArray:
        row: FloatArray = self.times[4]
        return row


class PredictionTables(msgspec.Struct, frozen=True, gc=False):
    """The prediction tables of many runs, made at one instant, as columns; each is cut out when it is looked at, since a
    city makes thousands in a tick. [n] one a run, [rows] one a stop."""

    made_at: float
    vehicle_ids: Sequence[str]  # of all vehicles
    vehicle: Integers  # which of them
    trip_idx: Integers
    start_s: Integers  # -1 none
    service_dates: Sequence[str]  # of the days at hand
    day: Integers  # which of them
    measured_at: Floats
    first: Integers  # its first row
    end: Integers  # behind its last one
    stop_pos: IntArray  # [rows]
    times: FloatArray  # [5, rows]
    basis: Basis = Basis.REALTIME

    @classmethod
    def of(cls, table: PredictionTable) -> PredictionTables:
        """A single table."""
        trip, rows = table.trip, len(table.stop_pos)
        start = -1 if trip.start_s is None else trip.start_s
        return cls(
            table.made_at,
            [table.vehicle_id],
            [0],
            [trip.trip_idx],
            [start],
            [trip.service_date],
            [0],
            [table.measured_at],
            [0],
            [rows],
            table.stop_pos,
            table.times,
            table.basis,
        )

    def __getitem__(self, i: int) -> PredictionTable:
        start, rows = int(self.start_s[i]), slice(self.first[i], self.end[i])
        return PredictionTable(
            self.vehicle_ids[self.vehicle[i]],
            DatedTrip(int(self.trip_idx[i]), self.service_dates[self.day[i]], None if start < 0 else start),
            self.made_at,
            float(self.measured_at[i]),
            self.stop_pos[rows],
            self.times[:, rows],
            self.basis,
        )


class Departure(msgspec.Struct, frozen=True):
    """One row of a board. ``pred_at`` is the rider point of the departure; None for a scheduled or dropped one."""

    trip: DatedTrip
    stop_pos: int
    route_idx: int
    headsign_idx: int
    """row of Network.headsign"""
    sched_at: float | None
    pred_at: float | None
    low_at: float | None
    high_at: float | None
    basis: Basis
    status: StopStatus
    age_s: float | None = None
    """age of the position behind the prediction, at the board's ``at``"""
    stops_away: int | None = None
    distance_m: float | None = None
    vehicle_id: str | None = None
    occupancy: int | None = None
    first: bool = False
    last: bool = False


class LineAtStop(msgspec.Struct, frozen=True):
    """A line and destination that serves a stop on this service day (首末班)."""

    route_idx: int
    headsign_idx: int
    first_at: float | None
    last_at: float | None
    next_at: float | None = None
    """first departure of the next service day, once today's last has gone"""
    passed_at: float | None = None
    """when the latest bus of the line left this stop"""
    headway_s: tuple[float, float] | None = None
    status: str = "normal"


class BoardMessage(msgspec.Struct, frozen=True):
    """An operator's text on a board; ``priority`` 0 information, 1 disruption, 2 emergency."""

    message_id: str
    priority: int
    text: dict[str, str]
    until_at: float | None = None
    takeover: bool = False
    """nothing but this text is to be shown (busd.sign.v1 ``mode`` text)"""


class Board(msgspec.Struct, frozen=True):
    """What one stop shows (SIRI StopMonitoringDelivery): always complete, ordered by (epoch, rev)."""

    stop_idx: int
    epoch: str
    rev: int
    at: float
    ttl_s: float
    state: str
    """``live``, ``degraded`` (positions late, predictions frozen) or ``schedule`` (no realtime at all)"""
    departures: Sequence[Departure]
    """ascending by pred_at, else sched_at; at most 30"""
    lines: Sequence[LineAtStop]
    messages: Sequence[BoardMessage] = ()


class BoardsChanged(msgspec.Struct, frozen=True):
    """The boards of one tick that have a new revision, at most one a stop. The sequence makes a `Board` when it is
    asked for one, since most are replaced before anybody looks; read it before the next input."""

    boards: Sequence[Board]


class ProgressChanged(msgspec.Struct, frozen=True, gc=False):
    progress: Progress


class Predicted(msgspec.Struct, frozen=True, gc=False):
    """One of the tables that were made together."""

    tables: PredictionTables
    index: int = 0

    @property
    def table(self) -> PredictionTable:
        return self.tables[self.index]


class StopVisited(msgspec.Struct, frozen=True, gc=False):
    visit: StopVisit


class VehicleEvent(msgspec.Struct, frozen=True):
    """Something a dispatcher may ask about; ``kind`` from the list in busd/track/, ``reason`` says why in words."""

    at: float
    vehicle_id: str
    kind: str
    reason: str = ""


class Rejected(msgspec.Struct, frozen=True):
    """A report that was not used, and why (`busd.errors.Reason`)."""

    at: float
    source: str
    reason: str
    vehicle_id: str | None = None
    detail: str = ""
    report_id: str | None = None


Output = BoardsChanged | ProgressChanged | Predicted | StopVisited | VehicleEvent | Rejected
