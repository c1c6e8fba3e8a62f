"""The reads of one turn of the event loop: decoded together, submitted together, answered together.

Between two sockets the kernel's code pushes the decoder's out of the processor's caches; a hundred reads decoded in a row
take half the time of a hundred decoded one by one. And one `submit` is one write of the journal, for all of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from busd import metrics
from busd.types import VehiclePosition

if TYPE_CHECKING:
    from busd.feeds.jt808_link import Link
    from busd.feeds.transport import Jt808Server

log = structlog.get_logger(__name__)

MAX_BATCH_BYTES = 1 << 20
"""What waits for the end of the turn; with more it is done at once."""
ACK_SAMPLE = 16
"""Every so many reads of a terminal are timed."""


class Batch:
    """``add`` during a turn of the loop; `run` comes by itself at its end."""

    __slots__ = ("_began", "_bytes", "_reads", "_server")

    def __init__(self, server: Jt808Server) -> None:
        self._server = server
        self._reads: list[tuple[Link, bytes]] = []
        self._bytes = 0
        self._began = 0.0

    def add(self, link: Link, data: bytes) -> None:
        if not self._reads:
            self._began = self._server.monotonic()
            asyncio.get_running_loop().call_soon(self.run)
        self._reads.append((link, data))
        self._bytes += len(data)
        if self._bytes > MAX_BATCH_BYTES:
            self.run()

    def run(self) -> None:
        """Positions to the journal first, then the answers. What could not be kept is not answered, and its connections
        are dropped: the terminals send it again."""
        reads = self._reads
        if not reads:
            return
        self._reads, self._bytes = [], 0
        server, began = self._server, self._began
        at = server.now()
        live: list[VehiclePosition] = []
        unsure = count = 0  # reads from ``unsure`` on have positions in ``live``
        for k, (link, data) in enumerate(reads):
            if link.cause is not None:
                continue
            session = link.session
            frames = session.good_frames
            try:
                has_events = session.receive_data(data, at, live)
                if session.good_frames != frames:
                    link.heard_at = began
                    link.load += session.good_frames - frames
                if len(live) != count:
                    link.last = live[-1]
                    if link.is_watched:
                        live[count:] = server.judge(link, live[count:])
                if has_events:
                    if live:
                        self._submit(live, reads[unsure : k + 1])
                        live, unsure = [], k + 1
                    if link.cause is None:
                        server.handle(link, session.events())
                count = len(live)
            except Exception as error:  # of one connection: the others go on
                del live[count:]
                count = len(live)
                link.drop_unkept(error)
        if live:
            self._submit(live, reads[unsure:])
        self._answer(reads, began)

    def _submit(self, live: list[VehiclePosition], reads: list[tuple[Link, bytes]]) -> None:
        try:
            self._server.submit(live, False)
        except Exception as error:
            for link, _ in reads:
                link.drop_unkept(error)

    def _answer(self, reads: list[tuple[Link, bytes]], began: float) -> None:
        server = self._server
        burst = server.burst
        sampled: list[Link] = []
        for link, _ in reads:
            session, transport = link.session, link.transport
            if transport is None or (link.cause is not None and session.closing is None):
                continue
            out = session.outbox.take()
            if out:
                transport.write(out)
                link.reads = reads_so_far = link.reads + 1
                if reads_so_far % ACK_SAMPLE == 1:
                    sampled.append(link)
            if session.closing is not None:
                link.close(session.closing)
            elif link.load > burst:
                link.pause()
        if sampled:
            seconds = server.monotonic() - began
            metrics.ACK_SECONDS.observe(seconds)
            for link in sampled:
                link.answered_in(seconds)
