"""What permessage-deflate costs a sign in memory, and what a board then weighs. In a process of its own: memory that
other signs have given back would hide what these take."""

from __future__ import annotations

import gc
import json
import sys
from statistics import median
from time import perf_counter
from typing import Any

import uvloop

from busd.bench.crowd import allow_files
from busd.bench.fanout import Stage, rss
from busd.config import LogConfig
from busd.log import set_up_logging

ROUNDS = 5


async def measure(connections: int) -> dict[str, Any]:
    async with Stage(connections) as stage:
        gc.collect()
        before, sent = rss(), 0
        await stage.crowd.ask("open", port=stage.server.port, signs=connections, stops=["B"], deflate=True)
        gc.collect()
        idle = (rss() - before) / connections
        walls = []
        for _ in range(ROUNDS):
            stage.turn()
            held = stage.server.hub.signs["bench-0"].bytes_out
            began = perf_counter()
            stage.publish("B", departures=10)
            walls.append(perf_counter() - began)
            sent = stage.server.hub.signs["bench-0"].bytes_out - held
            await stage.crowd.ask("read", bytes_=sent * connections)
        await stage.crowd.ask("close")
        return {
            "connections": connections,
            "rss_per_idle_sign_bytes": round(idle),
            "messages_per_s": round(connections / median(walls)),
            "board_bytes": len(stage.frame("B")),
            "board_bytes_deflated": sent,
        }


if __name__ == "__main__":
    set_up_logging(LogConfig(level="error"))
    allow_files(int(sys.argv[1]))
    print(json.dumps(uvloop.run(measure(int(sys.argv[1])))))
