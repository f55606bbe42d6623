"""Named points at which a test can kill the process, as a power cut would.

``POLLINATOR_CRASH_AT=after_launch_sent`` kills the process with SIGKILL the first time it passes that point,
``POLLINATOR_CRASH_AT=after_launch_sent:3`` the third time. With a folder behind an ``@``, as in
``after_launch_sent@/tmp/x``, it happens once only: a file there remembers it for processes that come later.
Nothing happens when the variable is not set.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Kill this process if the variable names this point."""
    wanted = os.environ.get("POLLINATOR_CRASH_AT")
    if not wanted:
        return
    wanted, _, folder = wanted.partition("@")
    point, _, count = wanted.partition(":")
    if point != name:
        return
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] == int(count or "1") and _first_time(name, folder):
        sys.stderr.write(f"crash point {name}\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def _first_time(name: str, folder: str) -> bool:
    if not folder:
        return True
    try:
        Path(folder, f"crashed-{name}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
