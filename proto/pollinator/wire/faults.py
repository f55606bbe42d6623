"""Named points at which a test can kill the process, as a power cut would.

``POLLINATOR_CRASH_AT=after_launch_sent`` kills the process with SIGKILL the first time it passes that point;
``POLLINATOR_CRASH_AT=after_launch_sent:3`` the third time. Nothing happens when the variable is not set.
"""

from __future__ import annotations

import os
import signal

_passed: dict[str, int] = {}


def crash_point(name: str) -> None:
    """Kill this process if the variable names this point."""
    wanted = os.environ.get("POLLINATOR_CRASH_AT")
    if not wanted:
        return
    point, _, count = wanted.partition(":")
    if point == name:
        _passed[name] = _passed.get(name, 0) + 1
        if _passed[name] == int(count or "1"):
            os.kill(os.getpid(), signal.SIGKILL)
