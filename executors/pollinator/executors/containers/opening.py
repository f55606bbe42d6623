"""Commands on the host, and the choice of where the commands of a run are. Standard library only.

Most runs are on the host, and a run is to start at once: what is for images is imported for those alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pollinator.executors.containers.inside import Entry, Inside
from pollinator.executors.processes import below


class OnHost(Inside):
    """On this machine as it is."""

    def __init__(self, cwd: str) -> None:
        self._cwd = cwd

    def refuses(self, program: str, env: Mapping[str, str]) -> str:
        """Why a program cannot be run, as far as that can be told before."""
        folders = [self._cwd] if "/" in program else env.get("PATH", os.defpath).split(os.pathsep)
        places = [place for folder in folders if os.path.isfile(place := os.path.join(folder, program))]
        if any(os.access(place, os.X_OK) for place in places):
            return ""
        if places and "/" in program:
            return f"{program!r} is not executable; chmod +x makes it so"
        return f"there is no program {program!r} on this machine"

    def enter(self, rank: int, argv: Sequence[str], env: Mapping[str, str]) -> Entry:
        """How a command is started with these variables."""
        return Entry(list(argv), env, self._cwd, open(os.devnull, "rb"))

    def ask(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Send a signal to all groups of processes that were started for the ranks, or by them."""
        # Only groups that are known to live: the id of one that is gone may be somebody else's by now.
        groups = set(ranks.values())
        own = os.getpgrp()
        for pid in below():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                group = os.getpgid(pid)
                if group == own:
                    os.kill(pid, number)
                else:
                    groups.add(group)
        for group in groups:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, number)

    def warn(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """What the ranks have started need not know what the signal means."""
        for pid in ranks.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def open_inside(workspace: Path, plan: Mapping[str, Any]) -> Inside:
    """Where the commands of a run are."""
    if not plan.get("container"):
        return OnHost(str(plan["cwd"]))
    if plan["container"]["engine"] in ("docker", "podman"):
        from pollinator.executors.containers.daemonic import Daemonic

        return Daemonic(workspace, plan)
    from pollinator.executors.containers.selfcontained import SelfContained

    return SelfContained(workspace, plan)
