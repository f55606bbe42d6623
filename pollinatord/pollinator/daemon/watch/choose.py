"""Which watcher suits a directory."""

from __future__ import annotations

from pathlib import Path

from pollinator.daemon.watch.base import Skip, Watch
from pollinator.daemon.watch.poll import PollWatch


def open_watch(root: Path, skip: Skip) -> Watch:
    """A watcher for ``root`` that leaves out directories that ``skip`` names; not started yet."""
    return PollWatch(root)
