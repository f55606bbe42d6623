"""What a watcher promises, whichever system it sits on.

A watcher is a set of dirty paths, never a queue of truth: it says where to look, and what is there is found
out by looking. Loss is part of the contract (``subtrees``, ``root_gone``). How changes are noticed is left to
the modules beside this one, what is done about them to the sync engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pollinator.wire.places import PROJECT_FILE

IGNORE_FILE = b".pollinatorignore"
"""Files of this name say what is skipped. The one in the folder that holds the root does so too."""

SPEC_FILE = PROJECT_FILE.encode()
"""What the folder that holds the root has as well. It says what to run."""

COOKIE_DIR = b".pollinator-cookies"
"""Directory for the marker files of watchers that need them; always ignored."""

Skip: TypeAlias = Callable[[bytes], bool]
"""Says whether a directory, relative to the root, is of no interest with all that is in it."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Where to look; paths are relative to the watched root, ``b""`` is the root itself.

    A path may name a file, a link, a directory or nothing any more. A directory in ``paths`` changed itself
    (its mode) or is gone; one whose contents are unknown is in ``subtrees``. When a path that was a directory
    is gone, all that was below it is gone too and is not named one by one.
    """

    paths: frozenset[bytes] = frozenset()
    """Each may have changed."""
    subtrees: frozenset[bytes] = frozenset()
    """Anything below each of these may have changed: they need a stat pass. None lies below another."""
    writing: frozenset[bytes] = frozenset()
    """Written to and, as far as is known, not closed yet."""
    beside: bool = False
    """A file beside the root that matters may have changed: also where nobody can tell."""
    root_gone: bool = False
    """The root was deleted, moved, replaced or unmounted. The watcher is of no use any more."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.paths or self.subtrees or self.root_gone)

    def covers(self, path: bytes) -> bool:
        """Whether a change of ``path`` is announced here."""
        return path in self.paths or any(up in self.subtrees for up in lineage(path))

    def announces(self, path: bytes) -> bool:
        """The same, or that of a directory above it which is gone or new, and with it all that was below."""
        return self.covers(path) or any(up in self.paths for up in lineage(path))


class Watch(Protocol):
    """Notices changes below one directory. ``drain`` and ``wait`` are for one thread, ``close`` for any."""

    @property
    def kind(self) -> str:
        """How it watches: ``inotify``, ``watchdog`` or ``poll``."""
        ...

    @property
    def degraded(self) -> str:
        """Why it is not at its best, with what to do; empty when it is."""
        ...

    def start(self) -> None:
        """Begin. What changed earlier is not announced: the caller looks at everything once, after this."""
        ...

    def drain(self) -> Changes:
        """Everything since the last call, surely with every change that was completed before this call."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until something may be pending; ``False`` when nothing was within the time."""
        ...

    def refresh(self) -> None:
        """The caller skips other directories than before: watch those, and announce the root as a subtree."""
        ...

    def close(self) -> None:
        """Stop. A ``wait`` under way returns. Closing twice is harmless."""
        ...


def lineage(path: bytes) -> Iterator[bytes]:
    """``path`` and every directory above it, the root (``b""``) last."""
    while path:
        yield path
        path = path.rpartition(b"/")[0]
    yield b""


def topmost(subtrees: Iterable[bytes]) -> frozenset[bytes]:
    """Without those that lie below another."""
    given = frozenset(subtrees)
    if b"" in given:
        return frozenset((b"",))
    return frozenset(path for path in given if not any(up in given for up in lineage(path) if up != path))
