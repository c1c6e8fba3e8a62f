"""Contact sheets of excursions: for each alarm its shape, its stops, and the fixes before, during and after it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from gtfs.network import Network
from replay.excursions import Alarm
from replay.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, DOWN = 4, 3
ROOM_M = 250.0
"""of the surroundings on each side of the fixes"""
SCALE_M = 200.0


def draw_sheets(
    alarms: list[Alarm], network: Network, folder: Path, told: Callable[[int, int], None] | None = None
) -> list[Path]:
    """`ACROSS` times `DOWN` alarms a picture, in their order. `BusdError` where matplotlib is not installed."""
    paths = []
    for first in range(0, len(alarms), ACROSS * DOWN):
        figure = new_figure(4 * ACROSS, 4 * DOWN)
        for place, alarm in enumerate(alarms[first : first + ACROSS * DOWN]):
            _draw(figure.add_subplot(DOWN, ACROSS, place + 1), alarm, first + place + 1, network)
        path = folder / f"excursions-{first + 1:03d}.png"
        figure.savefig(path, dpi=90)
        paths.append(path)
        if told is not None:
            told(min(first + ACROSS * DOWN, len(alarms)), len(alarms))
    return paths


def _draw(axes: Axes, alarm: Alarm, number: int, network: Network) -> None:
    rows = network.shape_rows(int(network.pattern_shape[alarm.pattern]))
    axes.plot(network.shape_x[rows], network.shape_y[rows], color="0.6", linewidth=3, zorder=1)
    stops = network.pattern_stop[network.pattern_rows(alarm.pattern)]
    axes.plot(network.stop_x[stops], network.stop_y[stops], "s", color="0.35", markersize=4, zorder=2)
    axes.plot(alarm.x, alarm.y, "-", color="tab:blue", linewidth=0.7, zorder=3)
    off = alarm.is_off
    axes.plot(alarm.x[~off], alarm.y[~off], "o", color="tab:blue", markersize=3.5, zorder=4)
    axes.plot(alarm.x[off], alarm.y[off], "o", color="tab:red", markersize=4.5, zorder=5)
    axes.plot(alarm.x[:1], alarm.y[:1], "^", color="tab:green", markersize=8, zorder=6)
    # around the excursion, with as much of the way before and after as fits
    x, y = (alarm.x[off], alarm.y[off]) if off.any() else (alarm.x, alarm.y)
    side = max(float(x.max() - x.min()), float(y.max() - y.min()), 2 * SCALE_M) / 2 + ROOM_M
    middle = float(x.max() + x.min()) / 2, float(y.max() + y.min()) / 2
    axes.set(xlim=(middle[0] - side, middle[0] + side), ylim=(middle[1] - side, middle[1] + side), xticks=[], yticks=[])
    axes.set_aspect("equal")
    left, low = middle[0] - 0.95 * side, middle[1] - 0.95 * side
    axes.plot([left, left + SCALE_M], [low, low], color="black", linewidth=2)
    axes.text(left, low + 0.02 * side, f"{SCALE_M:.0f} m", fontsize=7)
    clock = dt.datetime.fromtimestamp(alarm.told_at, ZoneInfo(network.timezone))
    line = network.route_short_name[int(network.pattern_route[alarm.pattern])]
    axes.set_title(
        f"{number} place {alarm.place}: {line}, {alarm.vehicle_id} {clock:%H:%M}\n"
        f"{alarm.farthest_m:.0f} m off, {int(off.sum())} fixes, {alarm.ended_by}",
        fontsize=8,
    )
