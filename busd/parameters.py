"""Every number the engine decides by, in one place: what it is and why it has this value.

Seconds and metres unless the name says otherwise. A config file may override any of them (section ``[engine]``); the
digest of the set is part of every journal and replay summary, so that two runs can be told apart.
"""

from __future__ import annotations

import hashlib

import msgspec

from busd.tracking_parameters import (
    Assigning,
    Detours,
    Matching,
    OffRoute,
    Tracking,
    Vetting,
    Visits,
    Watching,
)


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parts of the predictor; each can be switched off to see what it is worth (``busd replay score --ablate``)."""

    links: bool = True
    """link times learned from stop visits; off: the timetable's"""
    holding: bool = True
    """buses that are early lose time, link by link; and an early bus that stands waits for its timetable"""
    residual: bool = True
    """what the last buses met on a link"""
    pace: bool = True
    """the bus's own pace"""
    place: bool = True
    """learned profile of the time within the current link, standing or moving; off: in proportion to the distance"""
    terminals: bool = True
    """learned departures at first stops; off: the timetable's"""
    blocks: bool = True
    """the runs that the vehicle's block does next"""
    calibration: bool = True
    """median and interval from the errors made so far; off: a fixed fan"""
    stability: bool = True
    """a published time changes only for a reason larger than its noise"""


class Links(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Link times (predict/links.py). Chosen on wmata-2026-02-16 and nyc-b63, confirmed on capmetro 2015-03-07, unless
    it says otherwise; all are flat around the chosen value."""

    smooth_stops: int = 12
    """the timetable's time of a link is averaged with this many neighbours on either side of the trip, since agencies
    round stop times to minutes (3: 2 % worse on nyc-b63; the whole trip: 3 % worse there, equal elsewhere)"""
    smooth_floor_s: float = 30.0
    shortest_s: float = 1.0
    longest_s: float = 1800.0
    max_bracket_s: float = 130.0
    """visits seen less exactly than this teach nothing; positions every two minutes must still teach"""
    clip_low: float = 0.6
    clip_high: float = 1.5
    """a time counts for at least (1 - clip_low) and at most (1 + clip_high) of the expected one ..."""
    clip_low_s: float = 10.0
    clip_high_s: float = 20.0
    """... with this much more room (1 % better everywhere than believing every time; 2.0 and 3.0 in between)"""
    network_s: float = 3600.0
    """weight of "the timetable is right", seconds of travel in the whole network"""
    link_visits: float = 1.5
    """weight of the network's ratio on a link, in visits (0.7 and 3: 0.3 % worse)"""
    leg_visits: float = 5.0
    """weight of the link's ratio for one pattern alone"""
    bin_visits: float = 10.0
    """weight of "every hour alike" in a two-hour bin of the day type (3: 0.8 % worse, 12: 0.1 % better)"""
    half_life_days: float = 21.0
    slope_tau: float = 0.08
    """how much the time that an early bus loses may differ between links, s per s early (0.05 .. 0.2 tried; more
    helps capmetro and harms nyc-b63)"""
    slope_prior: float = 2e7
    """weight of "nobody waits" in the network's common slope, s^2"""
    early_max_s: float = 600.0
    """earlier than this tells nothing more"""
    residual_tau_s: float = 2400.0
    residual_prior_s: float = 900.0
    """a link's recent excess fades with this time constant, and counts fully beyond this much travel time"""
    residual_fade_s: float = 1800.0
    """what is so far ahead sees 1/e of it"""
    residual_neighbour: float = 0.5
    """weight of the links before and after"""
    pace_keep: float = 0.9
    pace_prior_s: float = 900.0
    pace_fade_s: float = 1500.0
    gate_half_life_s: float = 7200.0
    gate_prior: float = 2e4
    """s^2 of evidence a recent excess needs before it is believed; below it real-time terms are nearly off"""
    refresh_s: float = 30.0
    """the tables that predictions read are renewed on this grid"""


class Places(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The time left to the stop ahead (predict/places.py). Chosen on wmata and nyc-b63, confirmed on capmetro."""

    share: float = 0.8
    least_s: float = 10.0
    most_s: float = 60.0
    """before anything is learned: 0.8 x link time x way left + 10 s (least absolute errors: 0.74-0.84 and 11-21 s), on
    long links no more than a minute off the even spread"""
    prior_samples: float = 40.0
    link_samples: float = 12.0
    """weight of "like everywhere" on one link, in samples (8 to 30 tried: flat)"""
    stop_share: float = 0.15
    """of the way of a link, the part that is at the stop behind"""
    stopped_mps: float = 1.0
    """a reported speed below this is that of a bus at a stop or a signal"""
    standing_m: float = 20.0
    standing_s: float = 15.0
    """moved less than this for at least so long: it stands"""
    early_s: float = 60.0
    """earlier than this a bus takes its time, and teaches nothing of the link (wmata: next stop 5 % nearer)"""
    wait_s: float = 75.0
    wait_early_s: float = 90.0
    """a bus that has stood so long and is so early waits for its timetable (wmata: MAE -6 %; nothing elsewhere)"""


class Terminals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Departures from first stops (predict/terminals.py)."""

    bin_s: float = 30.0
    span_s: float = 1800.0
    """departures so early or late, and turns so long, are told apart"""
    prior_late: tuple[tuple[float, float], ...] = (
        (-15.0, 0.1),
        (15.0, 0.4),
        (45.0, 0.2),
        (75.0, 0.1),
        (105.0, 0.06),
        (150.0, 0.05),
        (210.0, 0.04),
        (270.0, 0.03),
        (330.0, 0.02),
    )
    """before anything is seen: on time to a minute late, with a tail of those that do not go (value, share). The tail makes
    departures of nyc-b63 1 s nearer; wmata and capmetro: equal"""
    prior_turn: tuple[tuple[float, float], ...] = ((75.0, 0.3), (165.0, 0.3), (315.0, 0.2), (615.0, 0.2))
    prior_departures: float = 20.0
    """weight of these in the network's departures"""
    stop_departures: float = 8.0
    """weight of the network's departures at one stop"""
    prior_losses: tuple[float, float] = (90.0, 240.0)
    loss_prior: float = 2.0
    """mean error of the timetable and of the turn as a rule before anything is seen, and its weight in departures"""
    turn_s: float = 90.0
    turn_prior: float = 10.0
    """what a late bus needs to turn, before it is learned, and its weight in turns"""
    turn_max_s: float = 1800.0
    late_s: float = 120.0
    """a bus that arrives less than this before its next departure turns as fast as it can; one that had more time and
    left late has a habit"""
    habit_max_s: float = 300.0
    """so late at most (200 and 450: half a second of the MAE of departures)"""
    habit_prior: float = 3e5
    """weight of "nobody has habits", s^2: about twenty departures two minutes late. Chosen on nyc-b63 (departures
    3 s nearer), confirmed on wmata and capmetro (up to 1 s)"""
    habit_s: float = 10800.0
    """after so long another driver may be at the wheel"""


class Calibrating(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Intervals from errors (predict/calibrate.py). Group edges by predicted horizon; chosen on wmata,
    windows and the step of the levels on capmetro 2015-03-07."""

    window: int = 10000
    """newest outcomes kept of each group"""
    prior_outcomes: int = 60
    """weight of the fan that stands for a group nothing is known of"""
    rider_quantile: float = 0.14
    """declared: missing a bus costs six times the wait that an early time causes, c_late / (c_late + c_miss)"""
    adapt: float = 0.001
    """step of the adaptive level (Gibbs & Candes 2021) after each outcome"""
    adapt_outcomes: float = 10.0
    """so many of a half minute at most: in a city with thousands of outcomes the level would swing with every jam, long
    before the next ones are known (capmetro 15-30 min: coverage 75.8 -> 78.7 %)"""
    median_shares: tuple[float, ...] = (0.2, 0.6, 0.85, 0.6, 0.6, 0.6)
    """of a group's median error, how much moves the median, by horizon group. All of it would give every predicted
    horizon a median error of 0; what is told shortly before the bus comes is better left a little early"""
    lead_s: float = 5.0
    """the median is told so much earlier, fully from three minutes on: half of a usual interval between fixes passes
    before anybody reads it (0 to 10 tried: next six minutes 2 % nearer by the time that was left in truth)"""
    samples: int = 1000
    """predictions looked at again each half minute ..."""
    sample_stride: int = 10
    """... and at most every so manieth, since those of one bus go wrong together"""
    pending: int = 65536
    sigma_base_s: float = 20.0
    sigma_share: float = 0.07


class Predicting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When it will come (predict/predictor.py)."""

    horizon_s: float = 3600.0
    """predictions farther ahead than this are not published"""
    min_dwell_s: float = 20.0
    """of a scheduled dwell at a time point, what a late bus still needs"""
    overdue_s: float = 15.0
    """a bus that should have passed but was not seen to is so far away at least (5 .. 20 tried: equal)"""
    tend_s: float = 15.0
    """grid on which overdue times move on; not more than `overdue_s`, so that no published time lies in the past"""
    low_base_s: float = 20.0
    low_share: float = 0.10
    """without calibration: p10 = p50 - base - share x horizon"""
    high_base_s: float = 30.0
    high_share: float = 0.20
    rider_share: float = 0.35
    """without calibration: the rider point lies this part of the way from p50 to p10"""
    noise_s: float = 3.0
    noise_share: float = 0.01
    """a published time that would change by less than base + share x horizon stays as it is (stability)"""
    frozen_s: float = 180.0
    """a position older than this no longer moves predictions: they are shown as frozen"""
    lost_s: float = 600.0
    """after so long without a fix the vehicle is lost and its predictions are withdrawn"""


class Boards(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a stop shows (board.py)."""

    horizon_s: float = 5400.0
    max_departures: int = 20
    max_late_s: float = 7200.0
    max_early_s: float = 1800.0
    hysteresis_s: float = 10.0
    """predictions that moved less than this, in the same minute, make no new revision"""
    ttl_s: float = 90.0
    drop_after_s: float = 30.0
    """a departure leaves the board this long after its time (busd.sign.v1 allows 60)"""
    arriving_s: float = 30.0
    grid_s: float = 5.0
    """time alone changes boards only on this grid, so that departures of one moment share a tick"""
    silent_s: float = 300.0
    """no position from any bus for so long: boards say ``schedule``"""
    degraded_s: float = 120.0
    """the newest position of all is older than this: boards say ``degraded``"""


class Parameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    vetting: Vetting = Vetting()
    matching: Matching = Matching()
    visits: Visits = Visits()
    assigning: Assigning = Assigning()
    tracking: Tracking = Tracking()
    off_route: OffRoute = OffRoute()
    detours: Detours = Detours()
    watching: Watching = Watching()
    predicting: Predicting = Predicting()
    parts: Parts = Parts()
    links: Links = Links()
    places: Places = Places()
    terminals: Terminals = Terminals()
    calibrating: Calibrating = Calibrating()
    boards: Boards = Boards()

    @property
    def digest(self) -> str:
        """SHA-256 over all values; equal digests mean equal behaviour."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()
