"""``python -m busd.journal DIRECTORY MAX_BYTES MAX_DAYS NOW``: the background work, for a process of its own.

Prints what was done as JSON in its last line. Steps aside for everything else on the machine (nice)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec

from busd.errors import JournalError
from busd.journal.maintain import maintain


def main(directory: str, max_bytes: str, max_days: str, now: str) -> None:
    os.nice(10)
    try:
        done = maintain(Path(directory), int(max_bytes), float(max_days), float(now))
    except JournalError as error:
        sys.exit(str(error))
    print(msgspec.json.encode(done).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
