"""What each part of the predictor is worth: the same replay without it, compared on the points both predict."""

from __future__ import annotations

from typing import Any

from busd.config.overrides import load_parameters
from busd.parameters import Parameters
from replay.logs import Grid, Told
from replay.score import score


def without(parameters: Parameters, part: str) -> Parameters:
    """``part``: section.key of a switch, see `busd.config.overrides.switches`."""
    return load_parameters([f"{part}=off"], parameters)


def compared(grid: Grid, whole: Told, lacking: Told, draws: int) -> dict[str, Any]:
    """MAE without the part over MAE with it by bucket (above 1: the part helps), and the points it moves of ETA % and
    MBTA % (missing = wrong), coverage and pinball loss at 0-30 min."""
    both = score(grid, [lacking, whole], draws)
    mine, other = both["logs"][lacking.name]["points"], both["logs"][whole.name]["points"]
    point = "rider" if "rider" in mine and "rider" in other else "p50"

    def change(kind: str, where: tuple[str, str], key: str) -> float | None:
        a, b = mine[kind][where[0]], other[kind][where[0]]
        if where[1]:
            a, b = a[where[1]], b[where[1]]
        x, y = a.get(key), b.get(key)
        return None if x is None or y is None else float(x) - float(y)

    return {
        "mae_ratio": both["ratios"][whole.name],
        "eta_all": change(point, ("means", ""), "eta_all"),
        "mbta_all": change("p50", ("means", ""), "mbta_all"),
        "coverage": change("p50", ("stops", "all"), "coverage"),
        "pinball": change("p50", ("stops", "all"), "pinball"),
        "wobble": change("p50", ("stops", "all"), "wobble"),
        "ghosts": lacking.ghosts.get("share", 0.0) - whole.ghosts.get("share", 0.0),
    }
