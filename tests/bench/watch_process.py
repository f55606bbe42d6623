"""A watcher alone in a process of its own: ours, or watchdog's as it comes.

``python -m bench.watch_process ours|watchdog ROOT``. Each line on standard input is a command, answered by a
line of JSON: ``mark`` forgets what was seen, ``barrier`` waits for everything that happened before, and tells
the CPU time since the mark and how many files of the tree were not named.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from pollinator.daemon.watch.base import Changes
from pollinator.daemon.watch.inotify import InotifyWatch

COOKIE = ".cookie"
PATIENCE_S = 60.0

Named = Callable[[bytes], bool]


class Ours:
    """The daemon's watcher. Its barrier is one drain."""

    def __init__(self, root: Path) -> None:
        self._watch = InotifyWatch(root, lambda _: False)
        self._watch.start()
        self.mark()

    def mark(self) -> None:
        """Forget."""
        self._watch.drain()

    def barrier(self) -> Named:
        """What tells whether a file was named since the mark, by itself or with all around it."""
        changes = self._watch.drain()
        return lambda path: changes.covers(path) or _below_named(changes, path)


class Stock:
    """watchdog's observer with a handler that notes paths. Its barrier is a file that it must name."""

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)
        self._seen: set[bytes] = set()
        self._cookie = root / COOKIE
        self._arrived = threading.Event()
        handler = FileSystemEventHandler()
        handler.on_any_event = self._note  # type: ignore[method-assign] # a subclass would do just this
        observer = Observer()
        observer.schedule(handler, str(root), recursive=True)
        observer.start()

    def mark(self) -> None:
        """Forget."""
        self.barrier()
        self._seen = set()

    def barrier(self) -> Named:
        """Ask again when the question was lost: it says nothing of a queue that was full."""
        self._arrived.clear()
        deadline = time.monotonic() + PATIENCE_S
        while not self._arrived.is_set() and time.monotonic() < deadline:
            self._cookie.write_bytes(b"")
            self._arrived.wait(1.0)
        self._cookie.unlink()
        seen = self._seen
        return lambda path: os.path.join(self._root, path) in seen

    def _note(self, event: FileSystemEvent) -> None:
        path = os.fsencode(event.src_path)
        self._seen.add(path)
        if path.endswith(COOKIE.encode()):
            self._arrived.set()


def _below_named(changes: Changes, path: bytes) -> bool:
    """A new directory is named, and looked at with all that is in it."""
    steps = path.split(b"/")
    return any(b"/".join(steps[:count]) in changes.paths for count in range(1, len(steps)))


def files_below(root: Path) -> list[bytes]:
    """All files, named from the root."""
    found: list[bytes] = []
    top = os.fsencode(root)
    for folder, _, names in os.walk(top):
        below = folder[len(top) + 1 :] + b"/"
        found += [below + name for name in names]
    return found


def main() -> None:
    """Obey until standard input ends."""
    kind, root = sys.argv[1], Path(sys.argv[2])
    watcher = Ours(root) if kind == "ours" else Stock(root)
    marked_s = 0.0
    answer: dict[str, float]
    for line in sys.stdin:
        if line.strip() == "mark":
            watcher.mark()
            marked_s = time.process_time()
            answer = {}
        else:
            started = time.perf_counter()
            named = watcher.barrier()
            answer = {
                "cpu_ms": (time.process_time() - marked_s) * 1000,
                "barrier_ms": (time.perf_counter() - started) * 1000,
            }
            counted = time.perf_counter()
            files = files_below(root)
            answer["missed"] = sum(not named(path) for path in files)
            answer["files"] = len(files)
            answer["overflow"] = float(named(b"never/made"))
            answer["counting_ms"] = (time.perf_counter() - counted) * 1000
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    # watchdog's threads would go on.
    os._exit(0)


if __name__ == "__main__":
    main()
