"""The reference sign: everything a sign must do (docs/sign-protocol.md §6-7) without I/O. This is what a maker ports.

``clock`` the server's time, ``boards`` what is held and what may be shown of it, ``pack`` the offline timetable, ``acks``
what is on the glass, ``care`` commands and telemetry, ``patience`` when to come back, ``sign`` the machine that puts them
together. The rim that moves bytes is `busd.signs.client`.
"""

from busd.signs.reference.boards import Glass, Source
from busd.signs.reference.clock import ServerClock
from busd.signs.reference.pack import OfflinePack
from busd.signs.reference.sign import ReferenceSign

__all__ = ["Glass", "OfflinePack", "ReferenceSign", "ServerClock", "Source"]
