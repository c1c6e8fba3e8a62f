"""Section ``[history]``: what is kept of the past, and how busd's own predictions are measured."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class HistoryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Observed visits (TIDES tables in state.dir/history.sqlite) and the outcomes of busd's own predictions."""

    enabled: Annotated[bool, Meta(description="Keep observed visits; `busd learn` learns from them.")] = True
    keep_days: Annotated[Count, Meta(description="Service days older than this go.")] = 400
    max_bytes: Annotated[
        int,
        Meta(
            ge=65536,
            le=1 << 50,
            description="The oldest days go when the file is larger. A city of 2,000 buses writes 100 MB a day.",
        ),
    ] = 20_000_000_000
    write_s: Annotated[float, Meta(gt=0, le=86400, description="Visits are written in batches this often, s.")] = 5.0
    measure: Annotated[
        bool, Meta(description="Judge every published prediction when its outcome is known (/metrics, /v1/quality).")
    ] = True
    measure_runs: Annotated[
        Count, Meta(description="Runs followed at once at most, about 8 kB each; the others are counted, not judged.")
    ] = 3000
    measure_lines: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        Meta(description="Lines with figures of their own on /metrics; the others share one."),
    ] = 50
