"""The numbers of tracking: what a report, a place, a stop visit, an excursion is. See `busd.parameters`."""

from __future__ import annotations

import msgspec


class Vetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes a report unusable (track/vet.py)."""

    future_s: float = 60.0
    """a fix dated later than its receipt by more than this has a wrong clock (R29; E050 of the GTFS-RT validator)"""
    stale_s: float = 600.0
    """a live fix older than this at its receipt says nothing about now"""
    max_speed_mps: float = 45.0
    """faster than any bus, with room for GPS noise over short intervals"""
    jump_slack_m: float = 250.0
    """a step this small is never a jump, whatever the interval"""
    jump_escape: int = 3
    """so many rejected fixes that agree with each other are the truth, and the last accepted one was the outlier"""
    jump_memory_s: float = 600.0
    """after so long without an accepted fix anything is believed"""
    source_hold_s: float = 180.0
    """a vehicle is followed through one source until that has been silent for so long, where another one says that it is
    somewhere else"""
    frozen_count: int = 4
    """so many identical coordinates at speed mean that the receiver repeats itself"""
    frozen_speed_mps: float = 3.0


class Matching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a fix finds its place on the shape of its trip (track/match.py)."""

    max_offset_m: float = 60.0
    """farther from the shape than this is not on it (TheTransitClock's default too)"""
    made_up_share: float = 0.35
    """where a trip has no shape: the road is off the straight line between two stops by up to this share of it"""
    made_up_reach_m: float = 500.0
    back_slack_m: float = 50.0
    """GPS noise may push a standing bus back by this much"""
    max_speed_mps: float = 33.0
    forward_slack_m: float = 100.0
    sigma_m: float = 10.0
    """one standard deviation of a fix across the shape"""
    detour_scale_m: float = 150.0
    """a step along the shape that differs this much from the straight-line step is e times less likely (beta of
    Newson & Krumm 2009, wider for the sparse fixes of buses): keeps a bus on its own pass of a loop"""
    pace_scale_s: float = 240.0
    """a place that changes the schedule deviation by this much is e times less likely"""
    first_pace_scale_s: float = 300.0
    """the same where nothing is known of the bus yet"""
    heading_weight: float = 2.0
    heading_speed_mps: float = 2.0
    """below this speed a heading is noise"""
    relocate_misses: int = 3
    """after so many fixes outside the window the whole shape is searched again"""
    reset_s: float = 1200.0
    """after a gap this long the last place does not bound the next"""
    off_route_misses: int = 3
    """after so many fixes without a place the run itself is doubted (track/inference.py)"""


class OffRoute(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a bus has left the route of its run and when it is back (track/off_route.py). Metres off the shape count as
    they would where `Matching.max_offset_m` is the tolerance: less where the shape is made up."""

    far_m: float = 40.0
    """farther than this is beside the street: four standard deviations of a fix"""
    back_m: float = 25.0
    """nearer than this is on it; between the two nothing changes"""
    clear_m: float = 60.0
    """so far that one fix is enough after a long silence, and that standing there is no noise"""
    sure_m: float = 300.0
    """one fix is enough, if a bus can have driven there"""
    sure_speed_mps: float = 20.0
    far_fixes: int = 3
    moved_m: float = 150.0
    """straight from the first fix far from the shape to the farthest: noise does not travel"""
    crept_m: float = 60.0
    """the same in a jam, where the fixes are spread over `while_s`, or where they are farther off than `no_noise_m`"""
    while_s: float = 25.0
    no_noise_m: float = 100.0
    """two fixes so far off are no noise, though the bus stands"""
    standing_s: float = 55.0
    silent_s: float = 70.0
    sparse_s: float = 75.0
    """a silence of this length: the next fix must decide alone, if dispatchers are to know within 90 s"""
    near_fixes: int = 2
    beside_fixes: int = 6
    beside_m: float = 30.0
    slack_m: float = 60.0
    """a step along the shape and the step on the ground may differ by so much, and half of it, on the same street"""
    driven_m: float = 300.0
    """before its time a bus is on its way only if it has driven so far along its run"""
    believed_s: float = 1800.0
    """a bus that names its trip keeps it for so long off its route; then the trip itself is doubted"""
    end_zone_m: float = 150.0
    """a bus that was last seen this near the end of its run goes home, if it leaves the route there"""


class Detours(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the excursions of several buses are one detour (track/detour.py)."""

    same_m: float = 100.0
    """two buses leave at the same place if the stretches in which they did come this near to each other"""
    vehicles: int = 2
    passes: int = 3
    """so many vehicles, or so many passes of one, make a finding of what was a single bus's affair"""
    returns: int = 2
    """so many passes on the route, and none off it between them, end a detour"""
    forget_s: float = 43200.0
    """so long after its last pass a detour is over anyway"""
    held: int = 200
    """more are not kept; the oldest go first"""


class Watching(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What dispatchers are told of (track/watch.py). Two values: the state is entered at the first, left at the second."""

    no_progress_s: float = 600.0
    """a bus on its way that has not come on for so long (TheTransitClock: 8 min)"""
    no_progress_m: float = 60.0
    delayed_s: float = 900.0
    recovered_s: float = 600.0
    left_early_s: float = 60.0
    left_late_s: float = 300.0
    not_leaving_s: float = 300.0
    twin_jumps: int = 4
    """so many reports in `twin_s` from somewhere else, between reports from here: two devices have one vehicle id"""
    twin_s: float = 900.0


class Visits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a stop counts as reached (track/progress.py)."""

    arrive_zone_m: float = 20.0
    """the arrival is the crossing of the point this far before the stop: a dwell just before it is not driving"""
    depart_zone_m: float = 50.0
    """the first stop is left with the last fix within this distance of it"""
    at_stop_m: float = 30.0
    at_stop_speed_mps: float = 1.5


class Assigning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dated run a trip hint means (track/assign.py)."""

    early_s: float = 3 * 3600.0
    late_s: float = 4 * 3600.0
    hold_s: float = 300.0
    """a run stays with its bus for so long after that bus's last fix, whoever else claims it"""
    doubt_early_s: float = 600.0
    """a bus under way that has been so early on the run that it names from its first fix on is not believed: of the
    named trips of capmetro and wmata less than 0.8 % are ever so early"""
    doubt_fixes: int = 3
    flicker_s: float = 120.0
    """a run that its bus has left for another keeps its predictions for so long: sources flip to and fro between two
    runs of a line (nyc-b63: 1.2 % more of the next 15 minutes are predicted)"""


class Tracking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run a vehicle performs, from its positions and the timetable (track/hypotheses.py). Evidence in nats.

    Chosen on wmata-2026-02-16 and capmetro 2015-03-07 with trips hidden, confirmed on nyc-b63 and capmetro 2015-06-07,
    where a number does not say otherwise; differences below half a point of right trips are noise there (a wrong trip of
    one bus is worth 0.7). On nyc-b63 one run a passage, the best with hindsight, agrees with 94.4 % of the labels and
    never locks 13 % of the labelled trips: they change from run to run on the way."""

    # the timetable ----
    freedom: float = 3.0
    """of the Student t around the timetable. Against 2, this gains nyc-b63 0.9 points (chosen there) and costs wmata 0.2
    and capmetro nothing; 4 costs wmata 0.4 and capmetro 0.2"""
    late_scale_s: float = 300.0
    early_scale_s: float = 120.0
    """where learning of the scales begins; 420 late costs wmata 1 point, 90 early 0.4"""
    punctuality_minutes: float = 500.0
    """bus minutes that the two scales above are worth against what is observed"""
    punctuality_memory: float = 20000.0
    leave_freedom: float = 2.0
    """of the same around the departure, which some drivers do not heed at all (3: nyc-b63 -0.3)"""
    leave_late_scale_s: float = 150.0
    leave_early_scale_s: float = 60.0
    habit_s: float = 2400.0
    """how long a deviation says the same thing again: it is not new evidence at every fix"""
    habit_memory_s: float = 7200.0
    path_memory_s: float = 120.0
    prior_memory_s: float = 1800.0
    early_limit_s: float = 900.0
    late_limit_s: float = 2400.0
    # the street ----
    sigma_share: float = 0.33
    miss: float = 6.0
    heading_weight: float = 2.0
    beside: float = -1.2
    """of a fix beside the shape, on a detour (track/beside.py); a bus that has been there for long weighs 6 nats less than
    one on its route, and still more than `nothing`. Chosen on nyc-b63, where two of nine buses take the next avenue for a
    quarter of an hour (mid-trip route and direction 99.48 -> 99.98 %); capmetro gains 0.1, wmata nothing"""
    beside_m: float = 400.0
    beside_slack_m: float = 150.0
    """the way along the shape and the way on the ground differ by no more than this, and half of it"""
    beside_mps: float = 1.0
    """a bus on a detour gets on: slower than this along its shape, it is somewhere to stay"""
    beside_driven_m: float = 2000.0
    """so far a bus that came upon its run on the way has driven along it: from the garage to the terminal buses use
    parts of their line, too"""
    nothing: float = -12.0
    """weight of "none of these": a vehicle whose best hypothesis weighs less is on no run"""
    course_m: float = 40.0
    """a step longer than this tells where the vehicle goes"""
    # terminals ----
    end_zone_m: float = 40.0
    end_stand_m: float = 100.0
    """a run is over so near its last stop; this near for a bus that stands, or leaves the shape (150: wmata -0.4 points,
    chosen there; the others do not care)"""
    stand_m: float = 40.0
    """a vehicle stands while it is no farther from where it was: four standard deviations of a fix (with 10 m of noise, 15
    hides 4 points of the parked buses of nyc-b63; without, none of the sets cares)"""
    stand_s: float = 50.0
    near_m: float = 50.0
    wait_sigma_m: float = 250.0
    wait_reach_m: float = 700.0
    """a bus that waits for its departure is so near its first stop, on the shape or off it"""
    leave_early_s: float = 180.0
    """a bus drives off for good no earlier than this; before, it moves about the terminal (240: nyc-b63 -0.4; 120:
    wmata -0.1)"""
    usual_layover_s: float = 900.0
    patience_s: float = 600.0
    next_early_s: float = 1200.0
    next_late_s: float = 2400.0
    """runs that leave a terminal so long before or after now are what a bus there may do next"""
    complete_m: float = 150.0
    """a bus that goes on to its next run from so near its last stop has reached that"""
    parked_s: float = 300.0
    base_s: float = 900.0
    """a vehicle without a run that has stood for so long is at a base, which all vehicles know from then on"""
    base_m: float = 150.0
    """chosen on nyc-b63, the only set whose phases are labelled (200: a point less of Deadhead); capmetro and wmata do not
    change"""
    # choices ----
    switch_prior: float = -4.0
    other_line: float = -6.0
    """buses keep to their line: -2.5 costs capmetro 1 point where a rapid and a local line share a terminal"""
    other_block: float = -2.0
    """and to their block, after a silence or a detour"""
    remember_s: float = 3600.0
    """so long what a silent vehicle did is kept for its return"""
    ended_prior: float = -2.0
    ended_stays_s: float = 300.0
    """a bus that has ended its run and stays at the terminal for so long is e times less likely to have nothing to follow
    (chosen on capmetro 06-07, +0.25 points; 600 is as good, the other sets do not lose)"""
    seek_prior: float = -4.0
    seek_every_s: float = 15.0
    habit_of_rival: float = 1.0
    doubt: float = -5.0
    doubt_every_s: float = 110.0
    claim_trust: float = 0.97
    """how sure it is that a run which another bus performs is not this bus's as well (0.9: wmata -1.5 points)"""
    claim_odds: float = 100.0
    """no claim is heard louder than this (1000 with a trust of 0.99: wmata -1.3 points)"""
    claim_next: float = 0.7
    """a bus that performs a run performs the next one of its block this often"""
    keep: float = 12.0
    """a hypothesis so much lighter than the best is dropped"""
    stick: float = 3.0
    """another hypothesis is shown only once it is heavier by this much"""
    unplanned: float = -3.0
    """a trip of a service that the calendar lets run on no day at all runs nevertheless (capmetro 06-07, the only set
    with such: from -1 to -6 all the same)"""
    unplanned_share: float = 0.1
    """more of a feed's trips in such services are another timetable, not extra buses"""
    overtaking: float = 4.0
    """two buses of a line are not in the order of their runs: one bus in fifty (-4 nats) overtakes another. Chosen on
    wmata (+1.1 points; 3 gains nothing there, since two buses are owed `stick`); capmetro neither gains nor loses"""
    order_m: float = 200.0
    """buses that are nearer to each other along the line have no order: they may stand side by side"""
    hint: float = 10.0
    """nats that a trip hint is worth at first; less where a vehicle's hints have not fitted"""
    hint_doubted: float = 1.0
    """and so much less after each run that it was far ahead of (track/doubt.py)"""
    hint_regained: float = 0.25
    """what of that each run gives back whose timetable it keeps"""
    hint_route: float = 6.0
    hint_direction: float = 3.0
    hint_block: float = 10.0
    path_floor: float = -15.0
    """a bus on a long detour does not lose its run, as long as it names it and no other run fits"""
