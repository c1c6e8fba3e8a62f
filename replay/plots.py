"""Pictures of a scoring and of a day; needs the extra ``plots`` (matplotlib)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from busd.errors import BusdError
from busd.history.standards import ACTUAL_EDGES_S, names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BUCKETS = names(ACTUAL_EDGES_S)


def new_figure(width: float, height: float) -> Figure:
    """Without any screen. `BusdError` where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BusdError("pictures need matplotlib: pip install 'busd[plots]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def plot_scores(result: dict[str, Any], path: Path) -> None:
    """Accuracy by horizon, calibration of the quantiles, and the fan of errors of the first log."""
    figure = new_figure(15, 4.5)
    accuracy, calibration, fan = figure.subplots(1, 3)
    for name, log in result["logs"].items():
        rows = log["points"]["p50"]["actual"]
        accuracy.plot(BUCKETS, [rows[bucket].get("mae") or float("nan") for bucket in BUCKETS], "o-", label=name)
    accuracy.set(title="Mean absolute error of p50", xlabel="minutes to the arrival", ylabel="s")
    accuracy.legend(fontsize=8)

    first = next(iter(result["logs"]))
    curve = result["calibration"][first]
    calibration.plot([0, 1], [0, 1], color="grey", linewidth=1)
    for bucket, shares in curve.items():
        calibration.plot([0.1, 0.5, 0.9], [shares[q] for q in ("p10", "p50", "p90")], "o-", label=f"{bucket} min told")
    calibration.set(
        title=f"{first}: arrivals before each quantile", xlabel="told", ylabel="came", xlim=(0, 1), ylim=(0, 1)
    )
    calibration.legend(fontsize=8)

    bands = result["fan"][first]
    minutes = [band["minutes"] for band in bands]
    for low, high, shade in (("q05", "q95", 0.15), ("q10", "q90", 0.25), ("q25", "q75", 0.4)):
        fan.fill_between(
            minutes,
            [band[low] for band in bands],
            [band[high] for band in bands],
            color="tab:blue",
            alpha=shade,
            linewidth=0,
        )
    fan.plot(minutes, [band["q50"] for band in bands], color="black")
    fan.axhline(0, color="grey", linewidth=1)
    fan.set(title=f"{first}: actual - p50 (5-95, 10-90, 25-75 %)", xlabel="minutes told", ylabel="s, late is up")
    for axes in (accuracy, calibration, fan):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def show_clock(axes: Axes) -> None:
    """Days since 1970 along the x axis, as hours and minutes."""
    dates: Any = importlib.import_module("matplotlib.dates")
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
