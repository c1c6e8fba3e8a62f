"""Scores of prediction logs: all standards, plain errors, intervals, availability, over every slicing of the horizon.

Three slicings: by the *actual* horizon (what the ETA benchmark does; rewards a log that shifts its long predictions
early), by the *told* one (what a rider sees; 12 min and more hold only buses that did come), and by a *reference* log's,
which is the same for all logs and cannot be shifted.

Figures are over the points that all logs of the comparison predict, so that nobody wins by leaving out what is hard;
those that end in ``_all`` are over every point of the grid, missing = wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from busd.history.standards import ACTUAL_EDGES_S, STANDARDS, TOLD_EDGES_S, bucket, judge, names, pinball
from gtfs.network import F64, I64, Bool
from replay.bootstrap import Bootstrap, share_sd
from replay.calibration import calibration, fan
from replay.logs import Grid, Told

POOL_S = (180.0, 900.0)
"""actual horizons over which ratios of MAE are pooled"""
REFERENCES = ("B2S",)
QUANTILES = (0.1, 0.5, 0.9)

Figures = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Sheet:
    """One point (p50 or rider) of one log on the grid, judged; [grid points] each."""

    name: str
    point: str
    told_at: F64
    told_s: F64
    """told horizon; the actual one where nothing was told"""
    e: F64
    accurate: dict[str, F64]
    low_at: F64
    high_at: F64
    """bounds of the 80 % interval"""
    own_interval: bool


def sheets(grid: Grid, told: Told) -> list[Sheet]:
    """p50, and the rider point where the log has one. A log without intervals gets, for the pinball loss alone, those
    of its own residuals over the whole grid: hindsight that flatters it."""
    own = bool(np.isfinite(told.p10).any())
    low, high = told.p10, told.p90
    if not own:
        residual = grid.arrival_at - told.p50
        spread = np.nanquantile(residual, (0.1, 0.9)) if np.isfinite(residual).any() else np.zeros(2)
        low, high = told.p50 + spread[0], told.p50 + spread[1]
    out = []
    for point, at in (("p50", told.p50), ("rider", told.rider)):
        if point == "rider" and not np.isfinite(at).any():
            continue
        ahead = np.where(np.isnan(at), grid.actual_s, np.maximum(at - grid.at, 0.0))
        out.append(
            Sheet(
                told.name, point, at, ahead, grid.arrival_at - at, judge(at, grid.arrival_at, grid.at), low, high, own
            )
        )
    return out


def score(grid: Grid, logs: Sequence[Told], draws: int = 1000, groups: Mapping[str, Bool] | None = None) -> Figures:
    """{"logs": {name: {"points": {point: slicings}, "ghosts": ...}}, "ratios": ..., "over_best": ...}.

    ``groups``: more slices, name -> grid points, see `replay.groups`. Ratios are of the first log's MAE over each other's; ``over_best`` over the best other one in each bucket."""
    common = np.logical_and.reduce([np.isfinite(log.p50) for log in logs])
    by_name = {log.name: log for log in logs}
    reference = next((by_name[name] for name in REFERENCES if name in by_name), logs[-1])
    reference_s = np.where(np.isnan(reference.p50), np.nan, np.maximum(reference.p50 - grid.at, 0.0))
    boot = Bootstrap(grid.run, draws)
    out: Figures = {"reference": reference.name, "common_points": int(common.sum()), "logs": {}}
    for log in logs:
        points = {}
        for sheet in sheets(grid, log):
            points[sheet.point] = _slicings(grid, sheet, common, reference_s, boot)
            points[sheet.point]["groups"] = {
                name: figures(grid, sheet, mask, common, boot) for name, mask in (groups or {}).items()
            }
        out["logs"][log.name] = {"points": points, "ghosts": log.ghosts}
    out |= compare(grid, logs, common, reference_s, boot)
    out["calibration"] = {log.name: calibration(grid, log) for log in logs}
    out["fan"] = {log.name: fan(grid, log) for log in logs}
    return out


def _slicings(grid: Grid, sheet: Sheet, common: Bool, reference_s: F64, boot: Bootstrap) -> Figures:
    out: Figures = {}
    for by, horizon, edges in (
        ("actual", grid.actual_s, ACTUAL_EDGES_S),
        ("told", sheet.told_s, TOLD_EDGES_S),
        ("reference", reference_s, ACTUAL_EDGES_S),
    ):
        which = bucket(horizon, edges)
        out[by] = {name: figures(grid, sheet, which == k, common, boot) for k, name in enumerate(names(edges))}
    first = grid.passages.first[grid.row]
    everything = np.ones(len(first), bool)
    out["stops"] = {
        name: figures(grid, sheet, mask, common, boot)
        for name, mask in (("all", everything), ("first", first), ("other", ~first))
    }
    out["means"] = _means(grid, sheet, common, boot)
    return out


def figures(grid: Grid, sheet: Sheet, where: Bool, common: Bool, boot: Bootstrap) -> Figures:
    """Of the grid points ``where``; None where there is nothing to say."""
    asked = int(where.sum())
    has = where & np.isfinite(sheet.told_at)
    used = np.flatnonzero(has & common)
    out: Figures = {
        "n": asked,
        "availability": _percent(has.sum(), asked),
        "n_common": len(used),
    }
    if len(used):
        e = sheet.e[used]
        size = np.abs(e)
        out |= {
            "bias": float(e.mean()),
            "median": float(np.median(e)),
            "mae": float(size.mean()),
            "mae_ci": boot.ratio_ci(size, np.ones(len(used)), used),
            "rmse": float(np.sqrt((e**2).mean())),
            "p50": float(np.median(size)),
            "p90": float(np.quantile(size, 0.9)),
            "catch": _percent((e >= 0).sum(), len(used)),
            "wobble": _wobble(grid.row[used], sheet.told_at[used]),
        }
        for name in STANDARDS:
            ok = sheet.accurate[name][used]
            out[name] = _percent(np.nansum(ok), np.isfinite(ok).sum())
        out |= _interval_figures(grid, sheet, used)
    for name in STANDARDS:
        applies = {"eta": grid.actual_s < 900.0, "newmark": grid.actual_s >= 60.0}.get(name, True) & where
        out[f"{name}_all"] = _percent(np.nansum(sheet.accurate[name][applies]), applies.sum())
    return out


def _interval_figures(grid: Grid, sheet: Sheet, used: I64) -> Figures:
    low, high, at = sheet.low_at[used], sheet.high_at[used], grid.arrival_at[used]
    bounded = np.isfinite(low) & np.isfinite(high)
    if not bounded.any():
        return {}
    low, high, at, told = low[bounded], high[bounded], at[bounded], sheet.told_at[used][bounded]
    losses = [pinball(q, at, guess).mean() for q, guess in zip(QUANTILES, (low, told, high))]
    out: Figures = {"pinball": float(np.mean(losses))}
    if sheet.own_interval:
        inside = (low <= at) & (at <= high)
        out |= {
            "coverage": _percent(inside.sum(), len(inside)),
            "coverage_sd": 100.0 * share_sd(inside, grid.run[used][bounded]),
            "width": float((high - low).mean()),
        }
    return out


def _means(grid: Grid, sheet: Sheet, common: Bool, boot: Bootstrap) -> Figures:
    """ETA %: plain mean of its four buckets; MBTA %: of its first four that hold anything. With 95 % intervals."""
    out: Figures = {}
    used = common & np.isfinite(sheet.told_at)
    for name, horizon, edges in (("eta", grid.actual_s, ACTUAL_EDGES_S), ("mbta", sheet.told_s, TOLD_EDGES_S)):
        which = bucket(horizon, edges)
        for suffix, mask in (("", used), ("_all", np.ones(len(used), bool))):
            parts = [np.flatnonzero(mask & (which == k)) for k in range(4)]
            parts = [part for part in parts if len(part)]
            hits = [(np.nan_to_num(sheet.accurate[name][part]), np.ones(len(part)), part) for part in parts]
            out[name + suffix] = (
                100.0 * float(np.mean([hit.sum() / len(part) for hit, _, part in hits])) if parts else None
            )
            if not suffix:
                out[name + "_ci"] = boot.mean_of_ratios_ci(hits, 100.0)
    return out


def _wobble(row: I64, told_at: F64) -> float:
    """Mean over the passages of (latest - earliest) time told inside the slice: how much a rider saw it change."""
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return float((np.maximum.reduceat(told_at, starts) - np.minimum.reduceat(told_at, starts)).mean())


def compare(grid: Grid, logs: Sequence[Told], common: Bool, reference_s: F64, boot: Bootstrap) -> Figures:
    """MAE of the first log's p50 over the others', bucket by bucket and pooled over 3-15 min, and over the best other
    one of each bucket; by actual and by reference horizon, with 95 % intervals over trips."""
    errors = {log.name: np.abs(grid.arrival_at - log.p50) for log in logs}
    mine, others = logs[0].name, [log.name for log in logs[1:]]
    out: Figures = {"ratios": {}, "over_best": {}}
    if not others:
        return out
    for by, horizon in (("actual", grid.actual_s), ("reference", reference_s)):
        which = np.where(common, bucket(horizon, ACTUAL_EDGES_S), -1)
        pooled = np.flatnonzero(common & (horizon >= POOL_S[0]) & (horizon < POOL_S[1]))
        for other in others:
            rows: Figures = {"3-15": _ratio(errors[mine], errors[other], pooled, boot)}
            for k, name in enumerate(names(ACTUAL_EDGES_S)):
                rows[name] = _ratio(errors[mine], errors[other], np.flatnonzero(which == k), boot)
            out["ratios"].setdefault(other, {})[by] = rows
        best = np.full(len(which), np.nan)
        chosen: Figures = {}
        for k, name in enumerate(names(ACTUAL_EDGES_S)):
            part = np.flatnonzero(which == k)
            if len(part):
                winner = min(others, key=lambda other: float(errors[other][part].mean()))
                best[part] = errors[winner][part]
                chosen[name] = {"best": winner} | _ratio(errors[mine], best, part, boot)
        out["over_best"][by] = {"3-15": _ratio(errors[mine], best, pooled, boot)} | chosen
    return out


def _ratio(a: F64, b: F64, part: I64, boot: Bootstrap) -> Figures:
    if not len(part) or not b[part].sum():
        return {"ratio": None, "ci": None, "n": len(part)}
    return {
        "ratio": float(a[part].sum() / b[part].sum()),
        "ci": boot.ratio_ci(a[part], b[part], part),
        "n": len(part),
    }


def _percent(part: Any, whole: Any) -> float | None:
    return 100.0 * float(part) / float(whole) if whole else None
