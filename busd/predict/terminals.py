"""When a bus leaves its first stop, given that it has not left yet.

Two rules, each a histogram per first stop with the network's as the prior (waits.py): departures by the *timetable*
(actual - scheduled), and by the *turn* (departure - arrival of the run before). At most terminals the timetable rules;
at some the bus turns and goes, whatever the timetable says. The rule with the smaller error so far is used, stop by
stop. A bus that comes in too late for its departure leaves when it has turned.

Drivers have habits: who left late though there was time will leave late again. With x the lateness of such a departure
(less the median of its stop) and x' of the one before by the same bus, the timetable's departure moves by

    g x',    g = sum x x' / (sum x'^2 + prior)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from busd.parameters import Terminals
from busd.predict.waits import Waits
from gtfs.network import F64, I64, Network

TIMETABLE, TURN = 0, 1


class Departures:
    def __init__(self, network: Network, p: Terminals) -> None:
        self.p = p
        first = network.pattern_stop[network.pattern_stop_offset[:-1]] if len(network.pattern_route) else np.zeros(0)
        self.first_stops = np.unique(first).astype(np.int64)
        self.row = np.searchsorted(self.first_stops, first).astype(np.int64)  # pattern -> row of its first stop
        rows, weights = len(self.first_stops), (p.prior_departures, p.stop_departures)
        self.timetable = Waits(rows, (-p.span_s, p.bin_s, int(2 * p.span_s / p.bin_s)), p.prior_late, *weights)
        self.turn = Waits(rows, (0.0, p.bin_s, int(p.span_s / p.bin_s)), p.prior_turn, *weights)
        self.late_turn = np.array([p.turn_s * p.turn_prior, p.turn_prior])
        self.loss = np.tile(np.array(p.prior_losses) * p.loss_prior, (rows, 1))
        self.judged = np.full(rows, p.loss_prior)
        self.habit = np.zeros(2)  # sum of x x', of x'^2

    # ---- reading -----------------------------------------------------------------------------------------------------

    def expected(self, pattern: I64, due: F64, inbound_at: F64, here_until: F64, habit_s: F64 | float = 0.0) -> F64:
        """Departures of runs due at ``due``, whose bus came in (or will) at ``inbound_at`` (-inf: nobody knows) and is
        (or will be) at the stop at ``here_until``; [n], epoch seconds. ``habit_s``: how late it left last time."""
        p, row = self.p, self.row[pattern]
        by_timetable, by_turn = self.rules(row, due + self.habit_share * habit_s, inbound_at, here_until)
        loss = self.loss[row]
        leaves = np.where(np.isfinite(inbound_at) & (loss[:, TURN] < loss[:, TIMETABLE]), by_turn, by_timetable)
        turned = inbound_at + self.late_turn_s
        return np.where(inbound_at > due - p.late_s, np.maximum(leaves, turned), leaves)

    def rules(self, row: I64, due: F64, inbound_at: F64, here_until: F64) -> tuple[F64, F64]:
        """What both rules say; [n] each. NaN by the turn where nobody knows when the bus came in."""
        by_timetable = due + self.timetable.median(row, here_until - due)
        known = np.isfinite(inbound_at)
        came = np.where(known, inbound_at, 0.0)
        by_turn = came + self.turn.median(row, np.where(known, here_until - came, 0.0))
        return by_timetable, np.where(known, by_turn, np.nan)

    @property
    def habit_share(self) -> float:
        """What of a bus's lateness at one departure is seen again at the next."""
        return float(self.habit[0] / (self.habit[1] + self.p.habit_prior))

    @property
    def late_turn_s(self) -> float:
        """Mean turn of buses that came in too late for their next departure."""
        return float(self.late_turn[0] / self.late_turn[1])

    # ---- learning ----------------------------------------------------------------------------------------------------

    def lateness(self, pattern: I64, due: F64, inbound_at: F64, left_at: F64) -> F64:
        """How much later than usual buses left that had been in well before; [n], NaN of the others."""
        p, row = self.p, self.row[pattern]
        usual = due + self.timetable.median(row, np.full(len(row), -np.inf))
        late = np.minimum(np.maximum(left_at - usual, -p.habit_max_s), p.habit_max_s)
        return np.where(np.isfinite(inbound_at) & (inbound_at < due - p.late_s), late, np.nan)

    def learn(self, pattern: I64, due: F64, inbound_at: F64, left_at: F64, habit_s: F64 | float = 0.0) -> None:
        """Observed departures; [n] each. First both rules are judged by what they would have said when the bus came
        in, then they learn."""
        p, row = self.p, self.row[pattern]
        usual = due + self.habit_share * habit_s
        late, before = self.lateness(pattern, due, inbound_at, left_at), np.broadcast_to(habit_s, len(row))
        known = np.isfinite(late)
        self.habit += (float((late * before)[known].sum()), float(np.square(before[known]).sum()))
        turn = left_at - inbound_at
        turned = (turn >= 0) & (turn <= p.turn_max_s)
        k = np.flatnonzero(turned)
        if len(k):
            said = self.rules(row[k], usual[k], inbound_at[k], inbound_at[k])
            for rule, by in enumerate(said):
                missed = np.minimum(np.abs(left_at[k] - by), p.span_s)
                np.add.at(self.loss[:, rule], row[k], missed)
            np.add.at(self.judged, row[k], 1.0)
            self.turn.learn(row[k], turn[k])
            hurried = inbound_at[k] > due[k] - p.late_s
            self.late_turn += (float(turn[k][hurried].sum()), float(hurried.sum()))
        self.timetable.learn(row, left_at - due)

    def fade(self, keep: float) -> None:
        self.timetable.fade(keep)
        self.turn.fade(keep)
        self.late_turn *= keep
        self.habit *= keep
        self.loss *= keep
        self.judged *= keep

    def dump(self) -> dict[str, Any]:
        return {
            "timetable": self.timetable.dump(),
            "turn": self.turn.dump(),
            "late_turn": self.late_turn,
            "loss": self.loss,
            "judged": self.judged,
            "habit": self.habit,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.timetable.load(state["timetable"])
        self.turn.load(state["turn"])
        self.late_turn, self.loss, self.judged = state["late_turn"], state["loss"], state["judged"]
        self.habit = state["habit"]

    def carry_over(self, old: Departures, here: I64, there: I64) -> None:
        """``here``, ``there``: stops of both networks that are the same."""
        both = np.isin(here, self.first_stops) & np.isin(there, old.first_stops)
        rows = np.searchsorted(self.first_stops, here[both])
        before = np.searchsorted(old.first_stops, there[both])
        self.timetable.carry_over(old.timetable, rows, before)
        self.turn.carry_over(old.turn, rows, before)
        self.late_turn, self.habit = old.late_turn.copy(), old.habit.copy()
        self.loss[rows], self.judged[rows] = old.loss[before], old.judged[before]
