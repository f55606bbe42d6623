"""Reasons not to seal: what cannot be read, links that lead away, emptied trees. And what to tell."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pollinator.chunks.links import chain_leaves, refuse_link
from pollinator.chunks.nodes import shown
from pollinator.daemon.index import TreeRecord
from pollinator.daemon.sync.state import TREES, Dir, State
from pollinator.daemon.watch.base import Changes
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.wire.errors import Halted, InvalidInput, Violation, WrongState

EMPTIED_FILES = 20
"""A tree that had at least so many files and has none now was hardly emptied on purpose."""

NAMED = 10
"""At most so many paths are named in one error."""

_PUT_BACK = "put it back, or mount its disk; was it meant, say so: pollinator sync --accept-deletions"


def check_readable(unreadable: Mapping[bytes, str], ignore_problems: Sequence[str]) -> None:
    """Raise InvalidInput when something that belongs into the snapshot could not be read."""
    if not unreadable and not ignore_problems:
        return
    violations = [
        Violation(f"cfs/{shown(path)}", f"cannot be read: {why}")
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
    """Raise InvalidInput when a link leads out of its tree, by itself or through other links."""
    if allowed or state.links_checked:
        return
    for tree, links in state.links.items():
        for path, target in links.items():
            if chain_leaves(path, target, links):
                raise refuse_link(b"/".join((b"cfs", tree, path)), target)
    # Not again at every seal: a project may hold very many links.
    state.links_checked = True


class Devices:
    """Which file system each tree is on; looked at again only where changes say that it may be another."""

    def __init__(self, cfs: Path) -> None:
        self._cfs = cfs
        self._known: dict[str, int] = {}

    def add(self, changes: Changes) -> None:
        """Take over what the watcher names."""
        for name in [name for name in self._known if changes.covers(name.encode())]:
            del self._known[name]

    def of(self, name: str) -> int:
        """That of a tree; 0 when it is not there."""
        if name not in self._known:
            self._known[name] = _device(self._cfs / name)
        return self._known[name]


def tree_records(devices: Devices, state: State) -> dict[str, TreeRecord]:
    """What the trees are now."""
    return {name: TreeRecord(state.total(name).files, devices.of(name)) for name in TREES}


def trees_problem(
    cfs: Path, state: State, before: Mapping[str, TreeRecord], *, accepted: bool = False
) -> Halted | None:
    """Why a tree cannot be what is meant: it is no folder, gone, or emptied at once.

    Args:
        cfs: holds the trees.
        state: what they are now.
        before: what they were when they were sealed last.
        accepted: that they are gone or empty is meant.
    """
    for name in TREES:
        problem = _tree_problem(cfs, name, state, None if accepted else before.get(name))
        if problem is not None:
            return problem
    return None


def _tree_problem(cfs: Path, name: str, state: State, before: TreeRecord | None) -> Halted | None:
    folder, node, total = cfs / name, state.get(name.encode()), state.total(name)
    if node is not None and not isinstance(node, Dir):
        return Halted(
            f"{folder} is no folder: sync is halted",
            reason="tree_replaced",
            hint="put the folder back; a link in its place is not followed, mount what it leads to",
        )
    if before is None or not before.files or total.files or total.unread:
        return None
    if node is None:
        return Halted(
            f"{folder} had {before.files} files and is gone: sync is halted",
            reason="tree_emptied",
            hint=_PUT_BACK,
        )
    if before.files >= EMPTIED_FILES or _device(folder) != before.device:
        return Halted(
            f"{folder} had {before.files} files and has none now: sync is halted",
            reason="tree_emptied",
            hint=_PUT_BACK,
        )
    return None


def _device(folder: Path) -> int:
    """Which file system a folder is on; 0 when it is not there."""
    try:
        return os.stat(folder).st_dev
    except OSError:
        return 0


def unreadable_text(unreadable: Mapping[bytes, str]) -> str:
    """What the status says about files that cannot be read; empty when there are none."""
    if not unreadable:
        return ""
    first = min(unreadable)
    others = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
    return f"cfs/{shown(first)}{others} cannot be read: {unreadable[first]}"


def changing(writing: Collection[bytes], unstable: Collection[bytes], strict: bool) -> list[Notice]:
    """Notices for files that are not at rest: some program writes them. WrongState when ``strict``."""
    open_files = [
        _warning(
            "open_for_writing",
            f"cfs/{shown(path)} is open for writing; what was written so far is in the snapshot",
        )
        for path in sorted(writing)[:NAMED]
    ]
    torn = [
        _warning("changed_while_read", f"cfs/{shown(path)} changed while it was read")
        for path in sorted(unstable)[:NAMED]
    ]
    notices = [*open_files, *torn]
    if strict and notices:
        hint = "close the file, or leave --strict out"
        raise WrongState(notices[0].text, reason=notices[0].code, hint=hint)
    return notices


def left_out(special: Collection[bytes]) -> list[Notice]:
    """One notice for all that is no file, folder or link."""
    if not special:
        return []
    first = min(special)
    others = f" and {len(special) - 1} more" if len(special) > 1 else ""
    text = f"cfs/{shown(first)}{others}: no file, folder or link, so it is left out"
    return [_warning("special_file", text)]


def _warning(code: str, text: str) -> Notice:
    return Notice(severity=Severity.SEVERITY_WARNING, code=code, text=text)
