"""Which version this is."""

from __future__ import annotations

import re

API_VERSION = 1
"""Version of the daemon's API that this program speaks; it refuses a daemon with a lower one."""

DISTRIBUTION = "pollinatord"


def program_version() -> str:
    """Version of the installed distribution."""
    from importlib.metadata import version

    return version(DISTRIBUTION)


def version_key(version: str) -> tuple[int, ...]:
    """What decides which of two versions is newer; builds of one release are equal."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()
