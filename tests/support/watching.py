"""What the watcher tests share: running watches, random changes, a mirror kept up by a watch alone."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from pollinator.daemon.scan import Kind, Stamp, look, scan
from pollinator.daemon.watch.base import Changes, Skip, Watch
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import Events


def nothing(_path: bytes) -> bool:
    """Skips no directory."""
    return False


@contextmanager
def started(watch: Watch) -> Generator[Watch]:
    """The watch, started and drained once; closed at the end."""
    try:
        watch.start()
        watch.drain()
        yield watch
    finally:
        watch.close()


@contextmanager
def inotify(root: Path, skip: Skip = nothing, events: Events | None = None) -> Generator[Watch]:
    """A running inotify watch."""
    with started(InotifyWatch(root, skip, events=events)) as watch:
        yield watch


class Mirror:
    """What is on disk, as far as a watch has told: the sync engine's view, without contents."""

    def __init__(self, root: Path) -> None:
        self.root = os.fsencode(root)
        self.seen: dict[bytes, Stamp] = {}
        self.apply(Changes(subtrees=frozenset((b"",))))

    def apply(self, changes: Changes) -> None:
        """Look where the changes say, nowhere else."""
        for path in changes.paths:
            self._look(path)
        for path in changes.subtrees:
            self._forget(path)
            if path:
                self._look(path)
            self.seen.update(
                (found, _stamp(kind, info)) for found, kind, info in scan(self.root, path) if found
            )

    def truth(self) -> dict[bytes, Stamp]:
        """What is on disk."""
        return {path: _stamp(kind, info) for path, kind, info in scan(self.root)}

    def _look(self, path: bytes) -> None:
        found = look(self.root, path) if path else None
        if found is None or found[1] is not Kind.DIRECTORY:
            self._forget(path)
        if found is not None:
            self.seen[path] = _stamp(found[1], found[2])

    def _forget(self, path: bytes) -> None:
        if not path:
            self.seen.clear()
            return
        self.seen.pop(path, None)
        for below in [known for known in self.seen if known.startswith(path + b"/")]:
            del self.seen[below]


def _stamp(kind: Kind, info: os.stat_result) -> Stamp:
    if kind is Kind.DIRECTORY:
        # Its size and times change with its entries, which are announced themselves.
        return Stamp(0, 0, 0, 0, 0, info.st_mode)
    return Stamp.of(info)


CROWDED = 80
"""With more entries than this, only deletions follow."""


class Mischief:
    """Random changes below a directory; each call makes one and answers with the paths it changed."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root = os.fsencode(root)
        self._outside = self._root + b".outside"
        os.makedirs(self._outside, exist_ok=True)
        self._random = random.Random(seed)
        self._count = 0
        self._directories: list[bytes] = []
        self._files: list[bytes] = []
        self._kinds = [
            self._create, self._create, self._append, self._nested, self._rename, self._replace,
            self._delete, self._move_directory, self._move_out, self._move_in, self._swap, self._chmod,
        ]  # fmt: skip

    def __call__(self) -> list[bytes]:
        """Make a change."""
        found = sorted((path, kind) for path, kind, _ in scan(self._root))
        self._directories = [b"", *(path for path, kind in found if kind is Kind.DIRECTORY)]
        self._files = [path for path, kind in found if kind is Kind.FILE]
        return (self._delete if len(found) > CROWDED else self._random.choice(self._kinds))()

    def _create(self) -> list[bytes]:
        return [self._write(self._fresh(self._directory()))]

    def _append(self) -> list[bytes]:
        path = self._file()
        with open(self._at(path), "ab") as file:
            file.write(b"more")
        return [path]

    def _nested(self) -> list[bytes]:
        path = self._fresh(self._directory())
        below = path + b"/" + b"/".join(self._random.choice((b"p", b"q")) for _ in range(3))
        os.makedirs(self._at(below))
        return [path, below, self._write(below + b"/leaf")]

    def _rename(self) -> list[bytes]:
        old, new = self._file(), self._fresh(self._directory())
        os.rename(self._at(old), self._at(new))
        return [old, new]

    def _replace(self) -> list[bytes]:
        old, new = self._file(), self._file()
        if old == new:
            return []  # The system does nothing then.
        os.replace(self._at(old), self._at(new))
        return [old, new]

    def _delete(self) -> list[bytes]:
        path = self._file() if self._random.random() < 0.7 else self._directory()
        if not path:
            return []
        if os.path.isdir(self._at(path)):
            shutil.rmtree(self._at(path))
        else:
            os.unlink(self._at(path))
        return [path]

    def _move_directory(self) -> list[bytes]:
        old, into = self._directory(), self._directory()
        if not old or into == old or into.startswith(old + b"/"):
            return []
        new = self._fresh(into)
        os.rename(self._at(old), self._at(new))
        return [old, new, self._write(new + b"/after")]

    def _move_out(self) -> list[bytes]:
        path = self._directory()
        if not path:
            return []
        self._count += 1
        gone = os.path.join(self._outside, b"%d" % self._count)
        os.rename(self._at(path), gone)
        Path(os.fsdecode(gone), "unseen").write_text("not in the tree")
        return [path]

    def _move_in(self) -> list[bytes]:
        waiting = sorted(os.listdir(self._outside))
        if not waiting:
            return []
        new = self._fresh(self._directory())
        os.rename(os.path.join(self._outside, self._random.choice(waiting)), self._at(new))
        return [new, self._write(new + b"/late")]

    def _swap(self) -> list[bytes]:
        """A directory is moved into the new one that takes its place."""
        path = self._directory()
        if not path:
            return []
        aside = self._fresh(b"")
        os.rename(self._at(path), self._at(aside))
        os.makedirs(self._at(path))
        os.rename(self._at(aside), self._at(path + b"/inner"))
        return [path, path + b"/inner", self._write(path + b"/inner/deep"), self._write(path + b"/own")]

    def _chmod(self) -> list[bytes]:
        path = self._file()
        os.chmod(self._at(path), self._random.choice((0o600, 0o644, 0o755)))
        return [path]

    def _write(self, path: bytes) -> bytes:
        with open(self._at(path), "wb") as file:
            file.write(b"some")
        return path

    def _fresh(self, directory: bytes) -> bytes:
        self._count += 1
        return os.path.join(directory, b"%d" % self._count)

    def _at(self, path: bytes) -> bytes:
        return os.path.join(self._root, path)

    def _directory(self) -> bytes:
        return self._random.choice(self._directories)

    def _file(self) -> bytes:
        return self._random.choice(self._files) if self._files else self._write(self._fresh(b""))
