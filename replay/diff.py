"""What is different between two replays: the files of two folders, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from busd.errors import FeedError

KEYS: dict[str, Sequence[str]] = {
    "predictions": ("generated_at", "service_date", "trip_id", "stop_sequence"),
    "vehicle_locations": ("location_ping_id",),
    "stop_visits": ("service_date", "trip_id_performed", "trip_stop_sequence"),
    "trips_performed": ("service_date", "trip_id_performed"),
}
"""file -> what names a row"""
EXAMPLES = 5


def diff_replays(a: Path, b: Path) -> dict[str, Any]:
    """{file: rows only in a, only in b, in both but different; for each column how many rows and, for numbers and
    times, by how much; the first differing rows}, and the digests of the summaries that differ. `FeedError` where a
    folder is no replay."""
    out: dict[str, Any] = {"files": {}}
    for name, key in KEYS.items():
        first, second = _read(a / f"{name}.csv.gz"), _read(b / f"{name}.csv.gz")
        out["files"][name] = _diff(first, second, list(key))
    digests = [_digests(folder) for folder in (a, b)]
    out["digests"] = {
        name: [side.get(name) for side in digests]
        for name in ("network", "parameters", "outputs")
        if digests[0].get(name) != digests[1].get(name)
    }
    out["same"] = not any(sum(file[k] for k in ("only_a", "only_b", "changed")) for file in out["files"].values())
    return out


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, EOFError) as error:
        raise FeedError(f"{path} cannot be read: {error}; the folder of a replay is expected") from None


def _digests(folder: Path) -> dict[str, Any]:
    try:
        summary = orjson.loads((folder / "summary.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise FeedError(f"{folder / 'summary.json'} cannot be read: {error}") from None
    return dict(summary.get("digests", {}))


def _diff(a: pd.DataFrame, b: pd.DataFrame, key: list[str]) -> dict[str, Any]:
    # a key may come twice (two rows of one instant): they are told apart by their order
    a, b = (part.assign(_nth=part.groupby(key).cumcount()) for part in (a, b))
    both = a.merge(b, on=[*key, "_nth"], how="outer", suffixes=("", "\0b"), indicator=True)
    common = both[both["_merge"] == "both"]
    out: dict[str, Any] = {
        "rows": [len(a), len(b)],
        "only_a": int((both["_merge"] == "left_only").sum()),
        "only_b": int((both["_merge"] == "right_only").sum()),
        "columns": {},
        "examples": [],
    }
    changed = np.zeros(len(common), bool)
    for column in [name for name in a.columns if name not in (*key, "_nth") and name in b.columns]:
        left, right = common[column], common[f"{column}\0b"]
        different = (left != right).to_numpy()
        if different.any():
            changed |= different
            out["columns"][column] = {"rows": int(different.sum())} | _by_how_much(left[different], right[different])
    out["changed"] = int(changed.sum())
    for _, row in common[changed].head(EXAMPLES).iterrows():
        values = {c: [row[c], row[f"{c}\0b"]] for c in out["columns"] if row[c] != row[f"{c}\0b"]}
        out["examples"].append({"row": {name: row[name] for name in key}, "values": values})
    return out


def _by_how_much(a: pd.Series, b: pd.Series) -> dict[str, float]:
    """Median and largest |b - a| of numbers and ISO times; nothing for other texts."""
    x, y = (pd.to_numeric(side, errors="coerce") for side in (a, b))
    if not (x.notna() & y.notna()).any():
        x, y = (_epoch(side) for side in (a, b))
    away = (y - x).abs().dropna()
    return {"median": float(away.median()), "largest": float(away.max())} if len(away) else {}


def _epoch(texts: pd.Series) -> pd.Series:
    time = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
    return (time - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(1, "s")
