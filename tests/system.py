"""Installs what the tests need beside Python: a browser, redis, an MQTT broker, fonts. Called by ``make test``.

Says nothing where all is there. Where it may not install (no root, no apt) it says what is missing; the tests that need
it then skip and say so too. On a build server (CI set) missing is a failure, because skipped tests would look green.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

FONTS = Path("/usr/share/fonts")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
TIMEOUT_S = 900


def has_program(*names: str) -> bool:
    return any(shutil.which(name, path=PATH) for name in names)


def has_font(pattern: str) -> bool:
    return FONTS.is_dir() and next(FONTS.rglob(pattern), None) is not None


def has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def missing() -> list[str]:
    """Debian packages whose content is not there, however it may have been installed."""
    present = {
        "chromium": has_program("chromium", "chromium-browser", "google-chrome"),
        "redis-server": has_program("redis-server"),
        "mosquitto": has_program("mosquitto"),
        "fonts-noto-core": has_font("NotoSerifTibetan*") or has_font("NotoSansTibetan*"),
        "libfribidi0": has_library("libfribidi.so.0"),
        "fonts-noto-cjk": has_font("NotoSansCJK*"),
    }
    return [package for package, there in present.items() if not there]


def apt(*arguments: str) -> bool:
    """One apt-get run, once more if it fails: mirrors are busy now and then. Shows apt's words only for a failure."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": PATH}
    for _ in range(2):
        try:
            done = subprocess.run(
                ["apt-get", "-q", "-y", "-o", "Acquire::Retries=2", "-o", "DPkg::Lock::Timeout=120", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            print(f"apt-get {arguments[0]}: no end after {TIMEOUT_S} s", file=sys.stderr)
            continue
        if done.returncode == 0:
            return True
        print(f"apt-get {arguments[0]} failed:\n{done.stdout[-2000:]}", file=sys.stderr)
    return False


def main() -> int:
    wanted = missing()
    if not wanted:
        return 0
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root and has_program("apt-get"):
        print(f"installing {', '.join(wanted)}", file=sys.stderr)
        # a failed update may still leave lists good enough to install from
        apt("update")
        apt("install", "--no-install-recommends", *wanted)
        wanted = missing()
        if not wanted:
            return 0
    else:
        why = "no apt-get here" if root else "not root"
        print(f"cannot install system packages ({why}); by hand: apt-get install {' '.join(wanted)}", file=sys.stderr)
    print(f"missing: {', '.join(wanted)}; tests that need them are skipped", file=sys.stderr)
    return 1 if os.environ.get("CI", "").lower() in ("1", "true", "yes") else 0


if __name__ == "__main__":
    sys.exit(main())
