"""Which watcher suits a directory on this system; ``POLLINATOR_WATCH`` decides when it is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pollinator.daemon.watch import kernel
from pollinator.daemon.watch.base import Skip, Watch
from pollinator.daemon.watch.filesystem import network_fs, network_mounts
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.poll import PollWatch
from pollinator.wire.errors import InvalidInput

VARIABLE = "POLLINATOR_WATCH"


def open_watch(root: Path, skip: Skip) -> Watch:
    """A watcher for ``root`` that leaves out directories that ``skip`` names; not started yet.

    Raises:
        InvalidInput: the variable names no watcher.
    """
    match os.environ.get(VARIABLE, ""):
        case "poll":
            return PollWatch(root, f"polling because {VARIABLE}=poll is set")
        case "watchdog":
            return _watchdog(root, skip)
        case "inotify":
            return _inotify(root, skip)
        case "":
            return _by_system(root, skip)
        case other:
            raise InvalidInput(
                f"{VARIABLE}={other} names no watcher",
                reason="bad_setting",
                hint="Use inotify, watchdog or poll, or leave it out.",
            )


def _by_system(root: Path, skip: Skip) -> Watch:
    shared = network_fs(root)
    if shared:
        return PollWatch(
            root, f"{root} is on a network file system ({shared}); looking for changes by polling"
        )
    if sys.platform == "linux":
        return _inotify(root, skip)
    return _watchdog(root, skip)


def _inotify(root: Path, skip: Skip) -> Watch:
    try:
        events = kernel.Inotify()
    except OSError as error:
        return PollWatch(root, kernel.no_instance(error))
    return InotifyWatch(root, skip, events=events, remote=network_mounts(root))


def _watchdog(root: Path, skip: Skip) -> Watch:
    # Only those without inotify pay for its import.
    from pollinator.daemon.watch.portable import WatchdogWatch

    return WatchdogWatch(root, skip)
