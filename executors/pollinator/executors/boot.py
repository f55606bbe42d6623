"""Which start of the machine this is.

Files of runs are not synced one by one: for ten thousand small ones that would take longer than writing them.
So a power cut can leave them empty or torn, although what was written after them says that they are whole. It
is believed until the machine starts again, and no longer.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from pathlib import Path

_LINUX = Path("/proc/sys/kernel/random/boot_id")
_MACOS = ("sysctl", "-n", "kern.bootsessionuuid")
_PROCESS = secrets.token_hex(16)


def boot_id() -> str:
    """Names the time since the machine started; where no system tells, that since this process did."""
    with contextlib.suppress(OSError):
        return _LINUX.read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(_MACOS, check=True, capture_output=True, text=True).stdout.strip()
    return _PROCESS
