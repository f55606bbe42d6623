"""Reasons not to seal: what cannot be read, links that lead away, trees that were emptied at once."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pollinator.chunks.layout import link_leaves, refuse_link
from pollinator.daemon.sync.state import State
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.wire.errors import Halted, InvalidInput, Violation

EMPTIED_FILES = 20
"""A tree that had at least so many files and has none now was hardly emptied on purpose."""

NAMED = 10
"""At most so many paths are named in one error."""


def check_readable(unreadable: Mapping[bytes, str], ignore_problems: Sequence[str]) -> None:
    """Raise InvalidInput when something that belongs into the snapshot could not be read."""
    if not unreadable and not ignore_problems:
        return
    violations = [
        Violation(f"cfs/{os.fsdecode(path)}", f"cannot be read: {why}")
        for path, why in sorted(unreadable.items())[:NAMED]
    ]
    violations += [Violation(".pollinatorignore", problem) for problem in ignore_problems]
    count = len(unreadable) + len(ignore_problems)
    files = "a file" if count == 1 else f"{count} files"
    raise InvalidInput(
        f"{files} cannot be read, so the snapshot would lack what is there",
        reason="unreadable_file",
        hint="make them readable, or name them in .pollinatorignore",
        violations=violations,
    )


def check_links(state: State, allowed: bool) -> None:
    """Raise InvalidInput when a link leads out of its tree."""
    if allowed:
        return
    for path, target in state.links.items():
        below_tree = path.partition(b"/")[2]
        if link_leaves(below_tree, target):
            raise refuse_link(b"cfs/" + path, target)


def check_trees(cfs: Path, state: State, counts: Mapping[str, int], accepted: bool) -> None:
    """Raise Halted when a tree that had many files has none now."""
    if accepted:
        return
    for name, count in counts.items():
        if count >= EMPTIED_FILES and not state.total(name).files:
            raise Halted(
                f"{cfs / name} had {count} files and has none now: sync is halted",
                reason="tree_emptied",
                hint="put them back (is a disk not mounted?), or say that it is meant: "
                "pollinator sync --accept-deletions",
            )


def open_for_writing(paths: Sequence[bytes]) -> list[Notice]:
    """Notices for files that some program still writes."""
    return [
        Notice(
            severity=Severity.SEVERITY_WARNING,
            code="open_for_writing",
            text=f"cfs/{os.fsdecode(path)} is open for writing; what was written so far is in the snapshot",
        )
        for path in paths[:NAMED]
    ]
