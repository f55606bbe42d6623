"""A user at work in a project: changes on disk, told to the watch and the stamps of a test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from support.syncing import CoarseStamps, LateWatch


class Disk:
    """Changes a project as its user does, and tells the watch and the stamps. Paths are relative to cfs.

    What cannot be done is left undone: a random sequence of changes is always a legal one.
    """

    def __init__(self, root: Path, stamps: CoarseStamps, watch: Callable[[], LateWatch | None]) -> None:
        self.root = root
        self._cfs = str(root / "cfs")
        self._stamps = stamps
        self._watch = watch
        for name in ("src", "data", "result"):
            os.makedirs(f"{self._cfs}/{name}")

    def write(self, path: str, data: bytes) -> None:
        """Write into a file in place; make it and the folders above it, if they are missing."""
        if not self._make_way(path) or os.path.isdir(self._at(path)) or os.path.islink(self._at(path)):
            return
        Path(self._at(path)).write_bytes(data)
        self._stamps.written(self._at(path))
        self._changed(path)

    def save(self, path: str, data: bytes) -> None:
        """Replace a file at once, as careful editors do."""
        if not self._make_way(path) or os.path.isdir(self._at(path)):
            return
        fresh = Path(self._cfs, "result", "fresh")
        fresh.write_bytes(data)
        fresh.replace(self._at(path))
        self._stamps.written(self._at(path))
        self._changed(path)

    def read(self, path: str) -> bytes:
        """The contents of a file."""
        return Path(self._at(path)).read_bytes()

    def make_folder(self, path: str) -> None:
        """Make a folder."""
        if self._make_way(path) and not os.path.lexists(self._at(path)):
            os.mkdir(self._at(path))
            self._tell(lambda watch: watch.appeared(os.fsencode(path)))

    def link(self, path: str, target: str) -> None:
        """Make a link."""
        if self._make_way(path) and not os.path.lexists(self._at(path)):
            os.symlink(target, self._at(path))
            self._changed(path)

    def remove(self, path: str) -> None:
        """Remove something, a folder with all below it."""
        if not self._there(path):
            return
        if self._is_folder(path):
            shutil.rmtree(self._at(path))
            self._tell(lambda watch: watch.left(os.fsencode(path)))
        else:
            os.unlink(self._at(path))
            self._changed(path)

    def move(self, old: str, new: str) -> None:
        """Rename something, to where nothing is or a file over a file."""
        if not self._there(old) or f"{new}/".startswith(f"{old}/") or not self._make_way(new):
            return
        folder = self._is_folder(old)
        if os.path.lexists(self._at(new)) and (folder or self._is_folder(new)):
            return
        os.rename(self._at(old), self._at(new))
        if folder:
            self._tell(lambda watch: watch.left(os.fsencode(old)))
            self._tell(lambda watch: watch.appeared(os.fsencode(new)))
        else:
            self._stamps.touched(self._at(new))
            self._changed(old)
            self._changed(new)

    def set_mode(self, path: str, mode: int) -> None:
        """Change permissions."""
        if self._there(path) and not os.path.islink(self._at(path)):
            os.chmod(self._at(path), mode | (0o700 if self._is_folder(path) else 0o400))
            self._stamps.touched(self._at(path))
            self._changed(path)

    def _at(self, path: str) -> str:
        return f"{self._cfs}/{path}"

    def _is_folder(self, path: str) -> bool:
        return os.path.isdir(self._at(path)) and not os.path.islink(self._at(path))

    def _there(self, path: str) -> bool:
        """It is, and not behind a link."""
        return os.path.lexists(self._at(path)) and self._make_way(path)

    def _make_way(self, path: str) -> bool:
        """Make the folders above; false when something else is in the way."""
        parts = path.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            if not os.path.lexists(self._at(above)):
                os.mkdir(self._at(above))
                self._tell(lambda watch, made=above: watch.appeared(os.fsencode(made)))  # type: ignore[misc]
            elif not self._is_folder(above):
                return False
        return True

    def _changed(self, path: str) -> None:
        self._tell(lambda watch: watch.changed(os.fsencode(path)))

    def _tell(self, event: Callable[[LateWatch], None]) -> None:
        watch = self._watch()
        if watch is not None:
            event(watch)
