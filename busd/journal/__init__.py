"""Every input of the engine on disk, in order; with a snapshot it is the state after a restart, alone it is a replay.

journal = Journal(directory, {"network": digest})       # one writer
journal.append_many(inputs)                             # one write; then apply, then acknowledge
journal.sync()                                          # in a thread, once a second
maintain(directory, max_bytes, max_days)                # in a thread or process, once a minute
write_snapshot(directory, journal.seq, engine.snapshot())
for seq, entry in read(directory, after_seq): ...       # any number of readers, also while it is written
"""

from __future__ import annotations

from busd.journal.guard import CrashGuard
from busd.journal.maintain import Maintained, maintain, seal
from busd.journal.records import Damage, Header
from busd.journal.segments import ReadReport, Segment, read, read_header, segments
from busd.journal.snapshots import load_snapshot, write_snapshot
from busd.journal.writer import Journal, RepairReport

__all__ = [
    "CrashGuard",
    "Damage",
    "Header",
    "Journal",
    "Maintained",
    "ReadReport",
    "RepairReport",
    "Segment",
    "load_snapshot",
    "maintain",
    "read",
    "read_header",
    "seal",
    "segments",
    "write_snapshot",
]
