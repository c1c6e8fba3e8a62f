"""What sources say of their vehicles, as evidence: trip, line, direction and block, each worth so many nats.

A trip is worth as much as the vehicle's hints have been so far: one that does not fit where another run does is worth
less the next time."""

from __future__ import annotations

import numpy as np

from busd.track.beliefs import FREE, SERVICE, Beliefs
from busd.track.candidates import Reports
from busd.track.service import Service
from busd.tracking_parameters import Tracking
from gtfs.network import F64, I64, Network


def of_hints(
    now: Reports, i: I64, number: I64, beliefs: Beliefs, service: Service, network: Network, t: Tracking
) -> F64:
    """For hypotheses of the reports ``i`` on the runs ``number``, as far as the source says anything."""
    trip = (now.hint_run[i] >= 0) & (now.hint_run[i] == number)
    told = np.where(trip, beliefs.trust[now.rows[i]], 0.0)
    if not ((now.hint_route >= 0) | (now.hint_direction >= 0) | (now.hint_block >= 0)).any():
        return told
    known = number >= 0
    pattern = service.pattern[number] if service.count else np.zeros(len(number), np.int64)
    block = network.trip_block[service.trip[number]] if service.count else pattern
    for says, is_, weight in (
        (now.hint_route[i], network.pattern_route[pattern], t.hint_route),
        (now.hint_direction[i], network.pattern_direction[pattern], t.hint_direction),
        (now.hint_block[i], block, t.hint_block),
    ):
        told = told - np.where(known & (says >= 0) & (is_ >= 0) & (says != is_), weight, 0.0)
    return told


def learn_trust(now: Reports, beliefs: Beliefs, service: Service, t: Tracking) -> None:
    """After a round: which vehicles' named trips fitted."""
    b = beliefs
    who = np.flatnonzero(now.hint_run >= 0)
    if not len(who):
        return
    r = now.rows[who]
    number = service.number(b.day[r].ravel(), b.run[r].ravel()).reshape(b.day[r].shape)
    mine = (number == now.hint_run[who][:, None]) & (b.phase[r] != FREE)
    fits = (b.phase[r] != FREE) & (b.misses[r] == 0)
    wrong = ~(mine & fits).any(axis=1) & (fits & ~mine).any(axis=1)
    lead = b.total[r].argmax(axis=1)
    on_way = (b.phase[r] == SERVICE) & (b.misses[r] == 0)
    right = (mine & on_way)[np.arange(len(r)), lead]
    b.trust[r] = np.clip(
        b.trust[r] + np.where(wrong, -1.0, np.where(right, 0.2, 0.0)), 0.0, np.maximum(t.hint - b.doubted[r], 0.0)
    )
