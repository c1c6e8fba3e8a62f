"""What a sign keeps over a power cut: its packs, and which commands it has executed. Nothing in it is trusted unread."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import orjson

from busd.signs.reference.pack import OfflinePack, is_zone
from busd.signs.reference.sign import ReferenceSign

_PACK = re.compile(r"[0-9a-f]{64}\.json")


class SignStore:
    """A directory. Files are replaced whole, so that a power cut leaves the old one or the new one."""

    def __init__(self, directory: Path) -> None:
        """OSError if it cannot be made."""
        self._directory = directory
        self._saved = b""
        directory.mkdir(parents=True, exist_ok=True)

    def load(self, sign: ReferenceSign) -> None:
        """Give ``sign`` what an earlier run has kept; what is damaged counts as absent."""
        state = self._read_state()
        sign.done.load(state.get("done"))
        offline = state.get("offline")
        if isinstance(offline, int | float) and 0 <= offline <= 86400:
            sign.offline_s = float(offline)
        if isinstance(zone := state.get("zone"), str) and is_zone(zone):
            sign.zone = zone
        packs = state.get("packs")
        for stop, pack_id in packs.items() if isinstance(packs, dict) else ():
            if stop not in sign.stops or not isinstance(pack_id, str) or not _PACK.fullmatch(f"{pack_id}.json"):
                continue
            with contextlib.suppress(OSError):
                pack = OfflinePack.read(pack_id, stop, (self._directory / f"{pack_id}.json").read_bytes())
                if pack is not None:
                    sign.packs[stop] = pack

    def keep_pack(self, stop: str, pack_id: str, data: bytes) -> None:
        """A full disk costs the pack of the next power cut, not the sign."""
        with contextlib.suppress(OSError):
            self._write(f"{pack_id}.json", data)

    def save(self, sign: ReferenceSign) -> None:
        """Write the rest if it has changed, and drop packs that nobody uses any more."""
        packs = {stop: pack.id for stop, pack in sign.packs.items()}
        state = orjson.dumps(
            {"done": sign.done.dump(), "offline": sign.offline_s, "packs": packs, "zone": sign.zone},
            option=orjson.OPT_SORT_KEYS,
        )
        if state == self._saved:
            return
        with contextlib.suppress(OSError):
            self._write("sign.json", state)
            self._saved = state
            for path in self._directory.iterdir():
                if _PACK.fullmatch(path.name) and path.stem not in packs.values():
                    path.unlink()

    def clear(self) -> None:
        """Back to how it was delivered."""
        self._saved = b""
        with contextlib.suppress(OSError):
            for path in self._directory.iterdir():
                if _PACK.fullmatch(path.name) or path.name == "sign.json":
                    path.unlink()

    def _read_state(self) -> dict[str, Any]:
        try:
            state = orjson.loads((self._directory / "sign.json").read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        return state if isinstance(state, dict) else {}

    def _write(self, name: str, data: bytes) -> None:
        part = self._directory / f".{name}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._directory / name)
