"""The one exception of this package."""

from __future__ import annotations


class GtfsError(Exception):
    """A feed or a compiled network that cannot be used at all; the message says why and what to do.

    Smaller faults are findings (`gtfs.findings`), never exceptions."""
