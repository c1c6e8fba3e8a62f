"""Where learned priors are kept: one file a version, named by its digest, and the name of the one in use.

A running daemon looks at ``current`` and takes a new one in as an input of the engine, so that the journal knows from
when on it was used; older versions stay for the journals that name them.
"""

from __future__ import annotations

from pathlib import Path

from busd.errors import HistoryError
from busd.predict.priors import Priors

KEEP = 20


class PriorsStore:
    """Callable as the engine wants it: digest -> `Priors`; LookupError for one that is not there any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Priors] = {}

    @property
    def current(self) -> str | None:
        """Digest of the priors that are to be used; None if nothing has been learned."""
        try:
            return (self.folder / "current").read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise HistoryError(f"{self.folder / 'current'}: {error}") from None

    @property
    def taken(self) -> str | None:
        """Digest of those that the daemon's engine has taken in; it survives a restart as the engine does."""
        try:
            return (self.folder / "taken").read_text(encoding="ascii").strip() or None
        except (OSError, UnicodeDecodeError):
            return None

    @taken.setter
    def taken(self, digest: str | None) -> None:
        try:
            if digest is None:
                (self.folder / "taken").unlink(missing_ok=True)
            else:
                (self.folder / "taken").write_text(digest + "\n", encoding="ascii")
        except OSError as error:
            raise HistoryError(f"{self.folder / 'taken'}: {error.strerror or error}") from None

    def put(self, priors: Priors) -> Path:
        """Keep them, make them the current ones, and let the oldest of many go."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self._path(priors.digest)
            priors.save(path)
            part = self.folder / "current.part"
            part.write_text(priors.digest + "\n", encoding="ascii")
            part.replace(self.folder / "current")
            old = sorted(self.folder.glob("*.priors"), key=lambda file: file.stat().st_mtime)[:-KEEP]
            for file in old:
                if file != path:
                    file.unlink()
        except OSError as error:
            raise HistoryError(f"{self.folder}: {error.strerror or error}") from None
        return path

    def __call__(self, digest: str) -> Priors:
        if digest not in self._known:
            path = self._path(digest)
            if not path.exists():
                raise LookupError(f"the priors {digest[:12]} are not in {self.folder} any more")
            self._known = {digest: Priors.load(path)}
        return self._known[digest]

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest[:32]}.priors"
